//! Accepts the connections of a server. Each wake-up accepts all that wait.
//!
//! The steps of a server are Python methods: a subclass or an instance may override `do_read`, `do_handle`, `full` and
//! others, which are then called. Steps that are not overridden are done here without a Python call.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use crate::greenlets::connection;
use crate::greenlets::greenlet::Greenlet;
use crate::hub;
use crate::servers::steps::own_steps;
use crate::sockets::socket::SocketBase;
use crate::sockets::socket::open_close::socket_class;
use crate::structured::interruption::ends_program;
use crate::waiting::restarting::to_its_end;

/// The steps of one server that need no call of Python: accepting, and spawning a handler.
struct Steps<'py> {
    server: Bound<'py, PyAny>,
    attributes: Bound<'py, PyDict>,
    /// True if the server is never full.
    endless: bool,
    /// The socket on which connections are accepted, if `do_read` is not overridden.
    listener: Option<Bound<'py, SocketBase>>,
    /// The handler, and the function that closes a connection, if each connection is handled in a greenlet of its own.
    handling: Option<[Bound<'py, PyAny>; 2]>,
}

impl<'py> Steps<'py> {
    fn of(server: &Bound<'py, PyAny>) -> PyResult<Self> {
        let py = server.py();
        let own = own_steps(py)?;
        let class = server.get_type();
        let attributes = server
            .getattr(pyo3::intern!(py, "__dict__"))?
            .cast_into::<PyDict>()?;
        let is_own = |name: &Bound<'py, PyString>, own: &Py<PyAny>| {
            Ok::<_, PyErr>(!attributes.contains(name)? && class.getattr(name)?.is(own))
        };
        let listener = if is_own(pyo3::intern!(py, "do_read"), &own.do_read)? {
            let exact = socket_class(py)?;
            attributes
                .get_item(pyo3::intern!(py, "socket"))?
                .filter(|socket| socket.get_type().is(exact))
                .map(|socket| socket.cast_into::<SocketBase>())
                .transpose()?
        } else {
            None
        };
        let spawns = is_own(pyo3::intern!(py, "do_handle"), &own.do_handle)?
            && is_own(pyo3::intern!(py, "_spawn"), &own.spawn)?;
        let handling = if spawns {
            Some([
                server.getattr(pyo3::intern!(py, "_handle"))?,
                server.getattr(pyo3::intern!(py, "do_close"))?,
            ])
        } else {
            None
        };
        Ok(Self {
            endless: is_own(pyo3::intern!(py, "full"), &own.full)?,
            server: server.clone(),
            attributes,
            listener,
            handling,
        })
    }

    /// Returns true if these steps still apply after a connection was handled.
    fn hold(&self) -> PyResult<bool> {
        let py = self.server.py();
        let (Some(listener), Some(_), true) = (&self.listener, &self.handling, self.endless) else {
            // An overriding method of the program ran, and may have changed the server.
            return Ok(false);
        };
        let now = self.attributes.get_item(pyo3::intern!(py, "socket"))?;
        Ok(now.is_some_and(|now| now.is(listener)))
    }

    fn is_full(&self) -> PyResult<bool> {
        let name = pyo3::intern!(self.server.py(), "full");
        Ok(!self.endless && self.server.call_method0(name)?.is_truthy()?)
    }

    /// Returns the arguments of the handler, or `None` if no connection waits.
    fn read(&self) -> PyResult<Option<Bound<'py, PyTuple>>> {
        if let Some(listener) = &self.listener {
            return SocketBase::accept_if_any(listener);
        }
        let py = self.server.py();
        let read = self.server.call_method0(pyo3::intern!(py, "do_read"))?;
        if !read.is_truthy()? {
            return Ok(None);
        }
        match read.cast_into::<PyTuple>() {
            Ok(args) => Ok(Some(args)),
            Err(other) => {
                let args: Vec<_> = other.into_inner().try_iter()?.collect::<PyResult<_>>()?;
                PyTuple::new(py, args).map(Some)
            }
        }
    }

    fn handle(&self, args: &Bound<'py, PyTuple>) -> PyResult<()> {
        let py = self.server.py();
        let (Some([handle, close]), Some(function)) = (&self.handling, connection::function(py))
        else {
            let name = pyo3::intern!(py, "do_handle");
            return self.server.call_method1(name, args).map(drop);
        };
        let call = PyTuple::new(py, [handle, close, args.as_any()])?;
        let spawned = Greenlet::spawned(function.bind(py).clone(), call, None);
        if spawned.is_err() {
            close.call1(args)?;
        }
        spawned.map(drop)
    }
}

/// Accept the connections that wait for `server`, at most `max_accept`, and have each handled.
///
/// Stop accepting for a while when the server is full or an error occurs. An error that ends the program, such as
/// `KeyboardInterrupt`, does not stop it.
#[pyfunction]
pub fn take_in(server: &Bound<'_, PyAny>) -> PyResult<()> {
    accept_some(server).or_else(|failure| {
        let name = pyo3::intern!(server.py(), "_reading_failed");
        failed(server, failure, |failure| {
            server.call_method1(name, (failure,)).map(drop)
        })
    })
}

/// Hands an error that ends the program to the hub, and any other to `hold_back`, which has the server stop for a while.
fn failed(
    server: &Bound<'_, PyAny>,
    failure: PyErr,
    hold_back: impl Fn(&Bound<'_, PyAny>) -> PyResult<()>,
) -> PyResult<()> {
    let py = server.py();
    if ends_program(failure.value(py)) {
        let context = Some(server.clone().unbind());
        hub::handle_error(py, hub::current_loop(py)?.get(), context, failure);
        return Ok(());
    }
    let failure = failure.into_value(py).into_bound(py).into_any();
    to_its_end(py, || hold_back(&failure))
}

fn accept_some(server: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = server.py();
    let most: usize = server.getattr(pyo3::intern!(py, "max_accept"))?.extract()?;
    let mut steps = Steps::of(server)?;
    for taken in 0..most {
        if taken > 0 && !steps.hold()? {
            let started = server.getattr(pyo3::intern!(py, "started"))?;
            if !started.is_truthy()? {
                return Ok(());
            }
            steps = Steps::of(server)?;
        }
        if steps.is_full()? {
            let name = pyo3::intern!(py, "_wait_for_room");
            return to_its_end(py, || server.call_method0(name).map(drop));
        }
        let read = steps.read()?;
        if taken == 0 {
            let least = server.getattr(pyo3::intern!(py, "min_delay"))?;
            server.setattr(pyo3::intern!(py, "delay"), least)?;
        }
        let Some(args) = read else {
            return Ok(());
        };
        if let Err(failure) = steps.handle(&args) {
            if ends_program(failure.value(py)) {
                // The error may have come before `do_handle` could close the connection.
                let name = pyo3::intern!(py, "do_close");
                to_its_end(py, || server.call_method1(name, &args).map(drop))?;
            }
            let name = pyo3::intern!(py, "_handling_failed");
            return failed(server, failure, |failure| {
                server.call_method1(name, (&args, failure)).map(drop)
            });
        }
    }
    Ok(())
}
