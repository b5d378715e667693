//! The Python classes for look-ups: a channel that they go through, and a handle on each.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use dns::{Question, ServerAddress, Settings};
use pyo3::PyTraverseError;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::gc::PyVisit;
use pyo3::prelude::*;

use crate::args::from_python;
use crate::cell::GilCell;
use crate::event_loop::loop_::Loop;
use crate::ffi::fork;
use crate::resolver::driver::Driver;
use crate::resolver::state::{Ends, Request};
use crate::resolver::system;

/// The status that a callback gets when the channel was closed: c-ares' `ARES_EDESTRUCTION`.
const CLOSED: i32 = 16;

/// A handle on a look-up that a program has begun.
#[pyclass(frozen, name = "LookUp", module = "gevent.resolver.cares")]
#[derive(Debug)]
pub struct LookUp {
    driver: GilCell<Option<Arc<Driver>>>,
    number: u64,
}

#[pymethods]
impl LookUp {
    /// End the look-up without calling the callback. Nothing happens if it has ended.
    fn cancel(&self, py: Python<'_>) {
        if let Some(driver) = self.driver.take(py) {
            drop(driver.cancel(py, self.number));
        }
    }
}

/// A channel through which names are looked up, with settings and servers of its own.
///
/// A callback is called in the hub of `loop`, with a status of c-ares (0: it succeeded), a name, its aliases, and its
/// addresses as strings.
#[pyclass(frozen, name = "NameService", module = "gevent.resolver.cares")]
#[derive(Debug)]
pub struct NameService {
    driver: GilCell<Option<Arc<Driver>>>,
    /// The count of forks of the process that the sockets belong to.
    forks: AtomicU64,
}

impl NameService {
    fn current(&self, py: Python<'_>) -> PyResult<Arc<Driver>> {
        self.follow_fork(py);
        self.driver
            .cloned(py)
            .ok_or_else(|| PyRuntimeError::new_err("this name service is closed"))
    }

    fn follow_fork(&self, py: Python<'_>) {
        if self.forks.swap(fork::count(), Relaxed) != fork::count()
            && let Some(driver) = self.driver.cloned(py)
        {
            driver.restart(py);
        }
    }

    fn start(
        &self,
        py: Python<'_>,
        question: Question,
        sorted: bool,
        callback: Py<PyAny>,
    ) -> PyResult<LookUp> {
        let driver = self.current(py)?;
        let request = Request {
            question,
            sorted,
            callback,
        };
        let number = driver.start(py, request);
        Ok(LookUp {
            driver: GilCell::new(Some(driver)),
            number,
        })
    }
}

fn addresses(servers: Vec<String>) -> PyResult<Vec<ServerAddress>> {
    let parse = |server: String| {
        ServerAddress::parse(&server, system::interface)
            .ok_or_else(|| PyValueError::new_err((server,)))
    };
    servers.into_iter().map(parse).collect()
}

#[pymethods]
impl NameService {
    #[new]
    #[pyo3(signature = (r#loop, *, servers, flags, timeout, tries, ndots, udp_port, tcp_port, resolv_conf, hosts, nsswitch_conf, gai_conf))]
    #[expect(clippy::too_many_arguments)]
    fn new(
        r#loop: Py<Loop>,
        #[pyo3(from_py_with = from_python)] servers: Option<Vec<String>>,
        #[pyo3(from_py_with = from_python)] flags: u32,
        #[pyo3(from_py_with = from_python)] timeout: Option<Duration>,
        #[pyo3(from_py_with = from_python)] tries: Option<usize>,
        #[pyo3(from_py_with = from_python)] ndots: Option<usize>,
        #[pyo3(from_py_with = from_python)] udp_port: u16,
        #[pyo3(from_py_with = from_python)] tcp_port: u16,
        resolv_conf: PathBuf,
        hosts: PathBuf,
        nsswitch_conf: PathBuf,
        gai_conf: PathBuf,
    ) -> PyResult<Self> {
        let settings = Settings {
            flags,
            timeout,
            tries,
            ndots,
            servers: servers.map(addresses).transpose()?,
            local_domain: std::env::var("LOCALDOMAIN").ok(),
            res_options: std::env::var("RES_OPTIONS").ok(),
        };
        let ends = Ends {
            udp_port,
            tcp_port,
            resolv_conf,
            hosts,
            nsswitch_conf,
            gai_conf,
        };
        Ok(Self {
            driver: GilCell::new(Some(Arc::new(Driver::new(r#loop, ends, settings)))),
            forks: AtomicU64::new(fork::count()),
        })
    }

    /// Look up the addresses of a name. With `sorted` they are in the order in which to try them.
    fn addresses(
        &self,
        py: Python<'_>,
        callback: Py<PyAny>,
        #[pyo3(from_py_with = from_python)] name: Vec<u8>,
        v4: bool,
        v6: bool,
        sorted: bool,
    ) -> PyResult<LookUp> {
        let question = Question::Addresses { name, v4, v6 };
        self.start(py, question, sorted, callback)
    }

    /// Look up the names of an address.
    fn names(&self, py: Python<'_>, callback: Py<PyAny>, address: IpAddr) -> PyResult<LookUp> {
        self.start(py, Question::Names(address), false, callback)
    }

    /// Return true if the system's own look-ups would find the same, as nothing but the file of hosts and name servers
    /// is configured.
    fn is_complete(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.current(py)?.is_complete(py))
    }

    /// Ask these servers from now on, in place of those known before.
    fn set_servers(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = from_python)] servers: Vec<String>,
    ) -> PyResult<()> {
        let servers = addresses(servers)?;
        self.current(py)?.set_servers(py, servers);
        Ok(())
    }

    /// Go on, in a forked child, with the look-ups that were under way.
    fn after_fork(&self, py: Python<'_>) {
        self.follow_fork(py);
    }

    /// Close the channel. The callbacks of look-ups that are under way get the status 16.
    fn close(&self, py: Python<'_>) {
        self.follow_fork(py);
        if let Some(driver) = self.driver.take(py) {
            driver.close(py, CLOSED);
        }
    }

    #[getter]
    fn r#loop(&self, py: Python<'_>) -> Option<Py<Loop>> {
        self.driver
            .cloned(py)
            .map(|driver| driver.loop_().clone_ref(py))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.driver
            .peek(&visit, |driver| {
                driver
                    .as_ref()
                    .map_or(Ok(()), |driver| visit.call(driver.loop_()))
            })
            .unwrap_or(Ok(()))
    }
}
