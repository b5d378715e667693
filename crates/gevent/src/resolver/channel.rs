//! What Python has of look-ups: a channel that they go through, and a handle on each.

use std::collections::HashMap;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use futures_util::FutureExt;
use pyo3::PyTraverseError;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use tokio::task::AbortHandle;

use crate::cell::GilCell;
use crate::errors::os_error;
use crate::event_loop::loop_::Loop;
use crate::event_loop::ready::Task;
use crate::ffi::fork;
use crate::hub;
use crate::resolver::lookup::{Lookups, Question, Settings};
use crate::resolver::resolv_conf::ServerAddress;
use crate::resolver::server::Answer;
use crate::resolver::service;
use crate::resolver::status::Status;

/// What the callback gets in place of a status when the channel was closed: c-ares' `ARES_EDESTRUCTION`.
const CLOSED: i32 = 16;

/// Who waits for a look-up.
struct Waiting {
    callback: Py<PyAny>,
    loop_: Py<Loop>,
}

/// A look-up that is under way.
struct Pending {
    waiting: Waiting,
    question: Question,
    /// The channel.
    owner: u64,
    task: AbortHandle,
    /// The count of forks of the process that runs it.
    forks: u64,
}

/// All look-ups that are under way. The service's thread knows them by number, so that it never holds a Python object.
static PENDING: GilCell<Option<HashMap<u64, Pending>>> = GilCell::in_static(None);
static NUMBERS: AtomicU64 = AtomicU64::new(1);

fn number() -> u64 {
    NUMBERS.fetch_add(1, Relaxed)
}

fn take(py: Python<'_>, number: u64) -> Option<Pending> {
    PENDING.with(py, |all| all.as_mut()?.remove(&number))
}

fn take_all_of(py: Python<'_>, owner: u64) -> Vec<(u64, Pending)> {
    let mut taken: Vec<(u64, Pending)> = PENDING.with(py, |all| {
        all.iter_mut()
            .flat_map(|all| all.extract_if(|_, pending| pending.owner == owner))
            .collect()
    });
    taken.sort_by_key(|(number, _)| *number);
    taken
}

impl Pending {
    /// Ends the work on it; who waits for it is still to be told.
    fn stop(self) -> Waiting {
        if self.forks == fork::count() {
            self.task.abort();
        } else {
            // It is the parent's.
            std::mem::forget(self.task);
        }
        self.waiting
    }
}

impl Waiting {
    /// Calls the callback, in the hub.
    fn finish(self, py: Python<'_>, status: i32, answer: Answer) {
        self.loop_.get().count_ref(-1);
        let addresses: Vec<String> = answer.addresses.iter().map(IpAddr::to_string).collect();
        let args = (status, answer.name, answer.aliases, addresses);
        if let Err(error) = self.callback.call1(py, args) {
            hub::handle_error(py, self.loop_.get(), Some(self.callback), error);
        }
    }

    /// Has the callback called with a failure.
    fn finish_soon(self, py: Python<'_>, status: i32) {
        let loop_ = self.loop_.clone_ref(py);
        let finish = move |py: Python<'_>| {
            self.finish(py, status, Answer::default());
            Ok(())
        };
        loop_.get().push(py, Task::Native(Box::new(finish)));
    }
}

fn deliver(py: Python<'_>, number: u64, outcome: Result<Answer, Status>) {
    let Some(pending) = take(py, number) else {
        return;
    };
    match outcome {
        Ok(answer) => pending.waiting.finish(py, 0, answer),
        Err(status) => pending.waiting.finish(py, status as i32, Answer::default()),
    }
}

/// A look-up that was asked for.
#[pyclass(frozen, name = "LookUp", module = "gevent.resolver.cares")]
pub struct LookUp {
    number: u64,
}

#[pymethods]
impl LookUp {
    /// Have it end without the callback being called; nothing where it has ended.
    fn cancel(&self, py: Python<'_>) {
        if let Some(pending) = take(py, self.number) {
            let waiting = pending.stop();
            waiting.loop_.get().count_ref(-1);
        }
    }
}

/// A way to look up names, with settings and servers of its own.
///
/// A callback is called in the hub of `loop`, with a status of c-ares (0: it succeeded), a name, its aliases, and its
/// addresses as strings.
#[pyclass(frozen, name = "NameService", module = "gevent.resolver.cares")]
pub struct NameService {
    number: u64,
    loop_: GilCell<Option<Py<Loop>>>,
    lookups: GilCell<Option<Arc<Lookups>>>,
    forks: AtomicU64,
}

impl NameService {
    fn current(&self, py: Python<'_>) -> PyResult<(Py<Loop>, Arc<Lookups>)> {
        self.follow_fork(py)?;
        match (self.loop_.get_ref(py), self.lookups.cloned(py)) {
            (Some(loop_), Some(lookups)) => Ok((loop_, lookups)),
            _ => Err(PyRuntimeError::new_err("this name service is closed")),
        }
    }

    /// In a forked child, has new servers asked what was under way: the parent gets what its servers answer.
    fn follow_fork(&self, py: Python<'_>) -> PyResult<()> {
        if self.forks.swap(fork::count(), Relaxed) == fork::count() {
            return Ok(());
        }
        let Some(parents) = self.lookups.cloned(py) else {
            return Ok(());
        };
        let fresh = Arc::new(Lookups::new(parents.settings().clone()));
        std::mem::forget(self.lookups.replace(py, Some(fresh)));
        std::mem::forget(parents);
        for (number, pending) in take_all_of(py, self.number) {
            let question = pending.question.clone();
            let waiting = pending.stop();
            let callback = waiting.callback.clone_ref(py);
            match self.start(py, number, question, callback) {
                Ok(()) => waiting.loop_.get().count_ref(-1),
                // There can be no thread.
                Err(_) => waiting.finish_soon(py, Status::ConnRefused as i32),
            }
        }
        Ok(())
    }

    fn ask(&self, py: Python<'_>, question: Question, callback: Py<PyAny>) -> PyResult<LookUp> {
        let number = number();
        self.start(py, number, question, callback)?;
        Ok(LookUp { number })
    }

    fn start(
        &self,
        py: Python<'_>,
        number: u64,
        question: Question,
        callback: Py<PyAny>,
    ) -> PyResult<()> {
        let (loop_, lookups) = self.current(py)?;
        let inbox = loop_
            .get()
            .inbox(py)
            .ok_or_else(|| PyRuntimeError::new_err("operation on destroyed loop"))?;
        let handle = service::handle(py).map_err(|error| os_error(&error))?;
        let asked = question.clone();
        let task = handle.spawn(async move {
            // Whatever happens in there, somebody waits for its end.
            let looked_up = AssertUnwindSafe(lookups.run(&asked)).catch_unwind().await;
            let outcome = looked_up.unwrap_or(Err(Status::BadResp));
            inbox.send(Task::Native(Box::new(move |py| {
                deliver(py, number, outcome);
                Ok(())
            })));
        });
        loop_.get().count_ref(1);
        let pending = Pending {
            waiting: Waiting { callback, loop_ },
            question,
            owner: self.number,
            task: task.abort_handle(),
            forks: fork::count(),
        };
        PENDING.with(py, |all| {
            all.get_or_insert_default().insert(number, pending)
        });
        Ok(())
    }
}

fn addresses(servers: Vec<String>) -> PyResult<Vec<ServerAddress>> {
    let parse = |server: String| {
        ServerAddress::parse(&server).ok_or_else(|| PyValueError::new_err((server,)))
    };
    servers.into_iter().map(parse).collect()
}

#[pymethods]
impl NameService {
    #[new]
    #[pyo3(signature = (r#loop, *, servers, flags, timeout, tries, ndots, udp_port, tcp_port, resolv_conf, hosts))]
    #[expect(clippy::too_many_arguments)]
    fn new(
        r#loop: Py<Loop>,
        servers: Option<Vec<String>>,
        flags: u32,
        timeout: Option<Duration>,
        tries: Option<usize>,
        ndots: Option<usize>,
        udp_port: u16,
        tcp_port: u16,
        resolv_conf: PathBuf,
        hosts: PathBuf,
    ) -> PyResult<Self> {
        let settings = Settings {
            flags,
            timeout,
            tries,
            ndots,
            udp_port,
            tcp_port,
            servers: servers.map(addresses).transpose()?,
            resolv_conf,
            hosts,
            local_domain: std::env::var("LOCALDOMAIN").ok(),
            res_options: std::env::var("RES_OPTIONS").ok(),
        };
        Ok(Self {
            number: number(),
            loop_: GilCell::new(Some(r#loop)),
            lookups: GilCell::new(Some(Arc::new(Lookups::new(settings)))),
            forks: AtomicU64::new(fork::count()),
        })
    }

    /// Look up the addresses of a name; `sorted`: in the order in which to try them.
    fn addresses(
        &self,
        py: Python<'_>,
        callback: Py<PyAny>,
        name: Vec<u8>,
        v4: bool,
        v6: bool,
        sorted: bool,
    ) -> PyResult<LookUp> {
        let question = Question::Addresses {
            name,
            v4,
            v6,
            sorted,
        };
        self.ask(py, question, callback)
    }

    /// Look up the names of an address.
    fn names(&self, py: Python<'_>, callback: Py<PyAny>, address: IpAddr) -> PyResult<LookUp> {
        self.ask(py, Question::Names(address), callback)
    }

    /// Ask these servers from now on, in place of those known before.
    fn set_servers(&self, py: Python<'_>, servers: Vec<String>) -> PyResult<()> {
        let servers = addresses(servers)?;
        let (_, lookups) = self.current(py)?;
        let mut settings = lookups.settings().clone();
        settings.servers = Some(servers);
        let old = self
            .lookups
            .replace(py, Some(Arc::new(Lookups::new(settings))));
        drop(old);
        Ok(())
    }

    /// In a forked child, go on with what was under way.
    fn after_fork(&self, py: Python<'_>) -> PyResult<()> {
        self.follow_fork(py)
    }

    /// End: callbacks of look-ups that are under way get the status 16.
    fn close(&self, py: Python<'_>) {
        if self.forks.load(Relaxed) == fork::count() {
            drop(self.lookups.take(py));
        } else {
            std::mem::forget(self.lookups.take(py));
        }
        drop(self.loop_.take(py));
        for (_, pending) in take_all_of(py, self.number) {
            pending.stop().finish_soon(py, CLOSED);
        }
    }

    #[getter]
    fn r#loop(&self, py: Python<'_>) -> Option<Py<Loop>> {
        self.loop_.get_ref(py)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.loop_
            .peek(&visit, |loop_| visit.call(loop_))
            .unwrap_or(Ok(()))
    }
}
