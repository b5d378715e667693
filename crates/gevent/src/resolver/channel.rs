//! What Python has of look-ups: a channel that they go through, and a handle on each.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

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
static PENDING: GilCell<Option<HashMap<u64, Pending>>> = GilCell::new(None);
static NUMBERS: AtomicU64 = AtomicU64::new(1);

fn number() -> u64 {
    NUMBERS.fetch_add(1, Relaxed)
}

fn take(py: Python<'_>, number: u64) -> Option<Pending> {
    PENDING.with(py, |all| all.as_mut()?.remove(&number))
}

fn take_all_of(py: Python<'_>, owner: u64) -> Vec<Pending> {
    let mut taken: Vec<(u64, Pending)> = PENDING.with(py, |all| {
        all.iter_mut()
            .flat_map(|all| all.extract_if(|_, pending| pending.owner == owner))
            .collect()
    });
    taken.sort_by_key(|(number, _)| *number);
    taken.into_iter().map(|(_, pending)| pending).collect()
}

impl Pending {
    /// Has it not be gone on with.
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
    fn finish(
        self,
        py: Python<'_>,
        status: i32,
        answer: Option<(String, Vec<String>, Vec<IpAddr>)>,
    ) {
        self.loop_.get().count_ref(-1);
        let (name, aliases, addresses) = answer.unwrap_or_default();
        let addresses: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
        let called = self.callback.call1(py, (status, name, aliases, addresses));
        if let Err(error) = called {
            hub::handle_error(py, self.loop_.get(), Some(self.callback), error);
        }
    }
}

fn deliver(py: Python<'_>, number: u64, outcome: Result<Answer, Status>) {
    let Some(pending) = take(py, number) else {
        return;
    };
    match outcome {
        Ok(Answer {
            name,
            aliases,
            addresses,
            ..
        }) => pending
            .waiting
            .finish(py, 0, Some((name, aliases, addresses))),
        Err(status) => pending.waiting.finish(py, status as i32, None),
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
        for pending in take_all_of(py, self.number) {
            let question = pending.question.clone();
            let waiting = pending.stop();
            waiting.loop_.get().count_ref(-1);
            self.start(py, question, waiting.callback)?;
        }
        Ok(())
    }

    fn start(&self, py: Python<'_>, question: Question, callback: Py<PyAny>) -> PyResult<LookUp> {
        let (loop_, lookups) = self.current(py)?;
        let inbox = loop_
            .get()
            .inbox(py)
            .ok_or_else(|| PyRuntimeError::new_err("operation on destroyed loop"))?;
        let handle = service::handle(py).map_err(|error| os_error(&error))?;
        let number = number();
        let asked = question.clone();
        let task = handle.spawn(async move {
            let outcome = lookups.run(&asked).await;
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
        Ok(LookUp { number })
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
        resolv_conf: std::path::PathBuf,
        hosts: std::path::PathBuf,
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
        self.start(py, question, callback)
    }

    /// Look up the names of an address.
    fn names(&self, py: Python<'_>, callback: Py<PyAny>, address: IpAddr) -> PyResult<LookUp> {
        self.start(py, Question::Names(address), callback)
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
        for pending in take_all_of(py, self.number) {
            let waiting = pending.stop();
            let loop_ = waiting.loop_.clone_ref(py);
            loop_.get().push(
                py,
                Task::Native(Box::new(move |py| {
                    waiting.finish(py, CLOSED, None);
                    Ok(())
                })),
            );
        }
    }

    #[getter]
    fn r#loop(&self, py: Python<'_>) -> Option<Py<Loop>> {
        self.loop_.get_ref(py)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.loop_.peek(|loop_| visit.call(loop_)).unwrap_or(Ok(()))
    }
}
