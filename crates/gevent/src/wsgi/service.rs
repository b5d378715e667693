//! The state that a server's connections share: its limits, and the list of idle connections, which end first when the
//! server stops.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};

use http1::{Leniency, Limits, Policy};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use slab::Slab;
use wait::WaitQueue;

use crate::args::from_python;
use crate::cell::GilCell;
use crate::hub;
use crate::waiting::park::park;
use crate::waiting::reason::{Reason, WaitKind};
use crate::waiting::wait::{Wait, WaitRef};
use crate::waiting::waiters::{join, wake_all};
use crate::wsgi::statistics::Stage;

/// The limits of a server and the state of its connections.
#[pyclass(frozen, name = "HttpService", module = "gevent._core")]
#[derive(Debug)]
pub struct Service {
    pub(crate) policy: Policy,
    /// The seconds that a request's head may take, from its first byte on.
    pub(crate) header_timeout: Option<f64>,
    /// The seconds to wait for more of a body.
    pub(crate) body_timeout: Option<f64>,
    /// The seconds to wait for a request.
    pub(crate) idle_timeout: Option<f64>,
    /// The seconds to wait for the client to take more of a response.
    pub(crate) write_timeout: Option<f64>,
    /// The bytes a second that a client has to send of a body, or to take of a response, for that to go on.
    pub(crate) min_rate: Option<f64>,
    /// The seconds that a connection is read from after its last response, while the client still sends; and how many of
    /// them it may be silent.
    pub(crate) linger_time: f64,
    pub(crate) linger_timeout: f64,
    /// The most bytes of a body that the application did not read and that are skipped to keep the connection.
    pub(crate) max_discard: u64,
    /// True if gevent's behaviour is kept where it is wrong by today's rules but its tests ask for it.
    pub(crate) like_gevent: bool,
    /// True if the server's class does not override the method that makes environments.
    pub(crate) plain: bool,
    /// True if the last line for the log was lost.
    pub(crate) log_is_lost: AtomicBool,
    state: GilCell<State>,
}

/// The connections that are to end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
enum Stopping {
    #[default]
    None,
    /// The connections from which a request, or a part of one, has come.
    Known,
    /// All connections, including those that have just come.
    All,
}

#[derive(Default)]
struct State {
    /// The connections that wait for a client.
    idle: Slab<Idle>,
    /// The number of waits that began so far.
    waits: u64,
    /// True if another connection waits for room, and none was idle to make it.
    room_is_wanted: bool,
    /// The number of connections that are neither idle nor over.
    busy: usize,
    stopping: Stopping,
    /// The waits for the end of the last connection.
    drained: WaitQueue<WaitRef>,
}

/// A connection that waits for its client.
struct Idle {
    wait: Weak<Wait>,
    /// True if nothing has ever come from the client.
    fresh: bool,
    /// True if a part of a request has come.
    begun: bool,
    /// The number of its wait: the smallest has waited longest.
    number: u64,
    /// True if it is to make room for another one.
    evicted: bool,
}

/// Returns the stage of a connection that waits for its client.
fn stage_of(fresh: bool, begun: bool) -> Stage {
    match (fresh, begun) {
        (_, true) => Stage::Head,
        (true, false) => Stage::New,
        (false, false) => Stage::Idle,
    }
}

impl State {
    fn is_drained(&self) -> bool {
        self.busy == 0 && self.idle.is_empty()
    }
}

static DEFAULT: PyOnceLock<Py<Service>> = PyOnceLock::new();

impl Service {
    /// Returns the service of a server, or a shared one for an object that has none.
    ///
    /// # Errors
    /// Returns the error that reading the server's attribute raises.
    pub fn of(server: &Bound<'_, PyAny>) -> PyResult<Py<Self>> {
        let py = server.py();
        if let Some(own) = server.getattr_opt(pyo3::intern!(py, "_service"))?
            && let Ok(own) = own.cast::<Self>()
        {
            return Ok(own.clone().unbind());
        }
        let shared = DEFAULT.get_or_try_init(py, || Py::new(py, Self::default()))?;
        Ok(shared.clone_ref(py))
    }

    /// Notes that a connection waits for a request, and returns the key for [`resume`](Self::resume). A connection that
    /// was counted as busy is not counted while it waits.
    pub fn idle(
        &self,
        py: Python<'_>,
        wait: &WaitRef,
        counted: bool,
        fresh: bool,
        begun: bool,
    ) -> usize {
        let key = self.state.with(py, |state| {
            state.waits += 1;
            state.idle.insert(Idle {
                wait: Arc::downgrade(wait),
                fresh,
                begun,
                number: state.waits,
                evicted: false,
            })
        });
        stage_of(fresh, begun).enter();
        if counted {
            self.leave(py);
        }
        key
    }

    /// Notes that a connection has stopped waiting; returns true if it is to end, to make room for another one.
    pub fn resume(&self, py: Python<'_>, key: usize, counted: bool) -> bool {
        let idle = self.state.with(py, |state| {
            state.busy += usize::from(counted);
            state.idle.try_remove(key)
        });
        idle.is_some_and(|idle| {
            stage_of(idle.fresh, idle.begun).leave();
            idle.evicted
        })
    }

    /// Returns true if a connection that would be idle now is to end, as another one waits for room. It returns true
    /// once only, so that one connection ends.
    #[inline]
    pub fn takes_room(&self, py: Python<'_>) -> bool {
        self.state
            .with(py, |state| std::mem::take(&mut state.room_is_wanted))
    }

    /// Counts a new connection.
    pub fn enter(&self, py: Python<'_>) {
        self.state.with(py, |state| state.busy += 1);
    }

    /// Counts a busy connection as over.
    pub fn leave(&self, py: Python<'_>) {
        let waiting = self.state.with(py, |state| {
            state.busy = state.busy.saturating_sub(1);
            (state.is_drained() && !state.drained.is_empty()).then(|| state.drained.take_all())
        });
        if let Some(waiting) = waiting {
            wake_all(py, waiting);
        }
    }

    /// Returns true if connections are to end after the request that they are at.
    #[inline]
    pub fn is_stopping(&self, py: Python<'_>) -> bool {
        self.state
            .with(py, |state| state.stopping != Stopping::None)
    }

    /// Returns true if a connection that has no request now is to end; `fresh` says that nothing has ever come from it.
    #[inline]
    pub fn ends_idle(&self, py: Python<'_>, fresh: bool) -> bool {
        let from = if fresh {
            Stopping::All
        } else {
            Stopping::Known
        };
        self.state.with(py, |state| state.stopping >= from)
    }
}

impl Default for Service {
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            header_timeout: None,
            body_timeout: None,
            idle_timeout: None,
            write_timeout: None,
            min_rate: None,
            linger_time: 30.0,
            linger_timeout: 5.0,
            max_discard: 1 << 20,
            like_gevent: false,
            plain: false,
            log_is_lost: AtomicBool::new(false),
            state: GilCell::new(State::default()),
        }
    }
}

#[pymethods]
impl Service {
    #[new]
    #[pyo3(signature = (*, strict, like_gevent, plain, header_timeout, body_timeout, idle_timeout, write_timeout, min_rate,
        linger_time, linger_timeout, max_request_line, max_header_bytes, max_headers, max_body, max_discard))]
    #[allow(clippy::too_many_arguments, reason = "each is a named setting")]
    fn new(
        strict: bool,
        like_gevent: bool,
        plain: bool,
        #[pyo3(from_py_with = from_python)] header_timeout: Option<f64>,
        #[pyo3(from_py_with = from_python)] body_timeout: Option<f64>,
        #[pyo3(from_py_with = from_python)] idle_timeout: Option<f64>,
        #[pyo3(from_py_with = from_python)] write_timeout: Option<f64>,
        #[pyo3(from_py_with = from_python)] min_rate: Option<f64>,
        #[pyo3(from_py_with = from_python)] linger_time: Option<f64>,
        #[pyo3(from_py_with = from_python)] linger_timeout: Option<f64>,
        #[pyo3(from_py_with = from_python)] max_request_line: usize,
        #[pyo3(from_py_with = from_python)] max_header_bytes: usize,
        #[pyo3(from_py_with = from_python)] max_headers: usize,
        #[pyo3(from_py_with = from_python)] max_body: Option<u64>,
        #[pyo3(from_py_with = from_python)] max_discard: u64,
    ) -> Self {
        let limits = Limits {
            request_line: max_request_line,
            head: max_header_bytes,
            fields: max_headers,
            body: max_body.unwrap_or(u64::MAX),
            ..Limits::default()
        };
        let leniency = if strict {
            Leniency::default()
        } else {
            Leniency {
                stays_after_both: like_gevent,
                ..Leniency::ALL
            }
        };
        Self {
            policy: Policy { limits, leniency },
            header_timeout,
            body_timeout,
            idle_timeout,
            write_timeout,
            min_rate,
            linger_time: linger_time.unwrap_or(0.0),
            linger_timeout: linger_timeout.unwrap_or(f64::INFINITY),
            max_discard,
            like_gevent,
            plain,
            log_is_lost: AtomicBool::new(false),
            state: GilCell::new(State::default()),
        }
    }

    /// The number of connections that handle a request.
    #[getter]
    fn busy(&self, py: Python<'_>) -> usize {
        self.state.with(py, |state| state.busy)
    }

    /// The number of connections that wait for a request.
    #[getter]
    fn waiting(&self, py: Python<'_>) -> usize {
        self.state.with(py, |state| state.idle.len())
    }

    /// End the connections: idle ones now, unless they are `fresh`, the others after the request they are at.
    ///
    /// A connection is fresh while nothing has come from it: its request may be on its way. With `fresh`, those end, too.
    #[pyo3(signature = (fresh = false))]
    fn stop(&self, py: Python<'_>, fresh: bool) {
        let idle = self.state.with(py, |state| {
            state.stopping = if fresh {
                Stopping::All
            } else {
                Stopping::Known
            };
            let ending = state.idle.iter().filter(|(_, idle)| fresh || !idle.fresh);
            ending
                .filter_map(|(_, idle)| idle.wait.upgrade())
                .collect::<Vec<_>>()
        });
        for wait in idle {
            wait.wake_none(py);
        }
    }

    /// End the connection that is idle longest, to make room for another one; where none is idle, the first that will be.
    fn make_room(&self, py: Python<'_>) {
        let evicted = self.state.with(py, |state| {
            let idle = state.idle.iter_mut().map(|(_, idle)| idle);
            let longest = idle
                .filter(|idle| !idle.begun && !idle.evicted)
                .min_by_key(|idle| (idle.fresh, idle.number));
            let Some(longest) = longest else {
                state.room_is_wanted = true;
                return None;
            };
            longest.evicted = true;
            longest.wait.upgrade()
        });
        if let Some(wait) = evicted {
            wait.wake_none(py);
        }
    }

    /// Note that there is room, so that no connection has to end for another one.
    fn has_room(&self, py: Python<'_>) {
        self.state.with(py, |state| state.room_is_wanted = false);
    }

    /// Wait until no connection of `server` is left, for at most `timeout` seconds; return true if none is left.
    #[pyo3(signature = (server, timeout = None))]
    fn join(
        &self,
        server: &Bound<'_, PyAny>,
        #[pyo3(from_py_with = from_python)] timeout: Option<f64>,
    ) -> PyResult<bool> {
        let py = server.py();
        if self.state.with(py, |state| state.is_drained()) {
            return Ok(true);
        }
        let wait = hub::new_wait_for(py, Reason::on(WaitKind::Join, server))?;
        if let Some(delay) = super::request_file::seconds(timeout) {
            wait.expire_after(py, delay, true);
        }
        let ticket = self
            .state
            .with(py, |state| join(&mut state.drained, py, wait.clone()));
        let woken = park(py, &wait);
        let mine = self.state.with(py, |state| state.drained.leave(ticket));
        drop(mine);
        woken?;
        Ok(self.state.with(py, |state| state.is_drained()))
    }
}
