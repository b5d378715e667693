//! The end of a connection: its memory is given back, and its client is given time to read the last answer.

use pyo3::exceptions::PyOSError;
use pyo3::intern;
use pyo3::prelude::*;
use reactor::{Direction, Time};
use rustix::io::Errno;
use rustix::net::Shutdown;

use crate::ffi::attribute;
use crate::sockets::socket::SocketBase;
use crate::waiting::deadline::Deadline;
use crate::waiting::park;
use crate::wsgi::buffer_pool;
use crate::wsgi::handler::{Handler, attributes, service};
use crate::wsgi::request_file::{LEAST, Source, seconds};
use crate::wsgi::service::Service;
use crate::wsgi::statistics::{self, Stage};

/// Ends the connection.
///
/// # Errors
/// Returns the error that is thrown into the greenlet, or that closing raises.
pub fn finish(handler: &Handler<'_>) -> PyResult<()> {
    let py = handler.py();
    let this = attributes(handler);
    let service = service(handler)?;
    let (socket, reader, lingers, broken, upgraded) = this.state.with(py, |state| {
        (
            state.socket.take(),
            state.reader.take(),
            state.lingers && !state.broken,
            state.broken,
            std::mem::take(&mut state.upgraded),
        )
    });
    if upgraded {
        Stage::Upgraded.leave();
    }
    let rfile = this.state.with(py, |state| state.rfile.take());
    this.forget(py);
    if let Some(reader) = &reader {
        reader.get().release_all(py);
    }
    let ended = match reader.as_ref().map(|reader| &*reader.get().source) {
        Some(Source::Socket(plain)) if lingers => linger(plain.bind(py), service.get()),
        Some(Source::Object(object)) if !broken => {
            let object = object.bind(py);
            say_farewell(object);
            match object.cast::<SocketBase>() {
                Ok(base) if lingers => linger(base, service.get()),
                _ => Ok(()),
            }
        }
        _ => Ok(()),
    };
    let counted = this
        .state
        .with(py, |state| std::mem::take(&mut state.counted));
    if counted {
        service.get().leave(py);
        statistics::connection_ended();
    }
    let closed = match &socket {
        Some(socket) if !socket.is_none(py) => {
            socket.call_method0(py, intern!(py, "close")).map(drop)
        }
        _ => Ok(()),
    };
    drop((socket, reader, rfile));
    let released = release_websocket(handler);
    ended.and(closed).and(released)
}

/// Breaks the circle of a handler and the WebSocket that its attribute holds: both would wait for the collector.
fn release_websocket(handler: &Handler<'_>) -> PyResult<()> {
    let py = handler.py();
    let Some(own) = attribute::own(handler.as_any()).filter(|own| !own.is_empty()) else {
        return Ok(());
    };
    let name = intern!(py, "websocket");
    let Some(websocket) = own.get_item(name)?.filter(|websocket| !websocket.is_none()) else {
        return Ok(());
    };
    own.del_item(name)?;
    match websocket.getattr_opt(intern!(py, "_connection_over"))? {
        Some(over) => over.call0().map(drop),
        None => Ok(()),
    }
}

/// Sends the closing alert of TLS, without waiting, so that the other side can distinguish the end of a
/// response from a connection that was cut (RFC 8446 section 6.1).
fn say_farewell(object: &Bound<'_, PyAny>) {
    let py = object.py();
    let Ok(base) = object.cast::<SocketBase>() else {
        return;
    };
    let Ok(Some(tls)) = object.getattr_opt(intern!(py, "_sslobj")) else {
        return;
    };
    if tls.is_none() {
        return;
    }
    let shut_down = || tls.call_method0(intern!(py, "shutdown"));
    // An error is ignored: the connection then ends without the alert.
    drop(base.get().without_waiting(py, shut_down));
}

/// Reads and drops bytes until the client has had time to read the answer: if the connection were closed with bytes
/// unread, the kernel would reset it, and the client could lose the answer (RFC 9112 section 9.6). It stops when the
/// client closes its side, after `linger_timeout` seconds of silence, and after `linger_time` seconds in any case.
fn linger(socket: &Bound<'_, SocketBase>, service: &Service) -> PyResult<()> {
    let py = socket.py();
    let socket = socket.get();
    let shut = socket.call(py, Direction::Write, true, |_, fd| {
        rustix::net::shutdown(fd, Shutdown::Write)
    });
    let Some(whole) = seconds(Some(service.linger_time)) else {
        return Ok(());
    };
    if shut.is_err() || whole.is_zero() {
        return Ok(());
    }
    Stage::Lingering.enter();
    let drained = drain(py, socket, service, Time::now().after(whole));
    Stage::Lingering.leave();
    drained
}

/// Reads and drops bytes, until the time `end` at the latest.
fn drain(py: Python<'_>, socket: &SocketBase, service: &Service, end: Time) -> PyResult<()> {
    loop {
        let mut scrap = buffer_pool::buffer(py);
        let got = socket.call(py, Direction::Read, false, |state, fd| {
            state.append(py, fd, &mut scrap)
        });
        buffer_pool::keep_buffer(py, scrap);
        let left = end.until(Time::now());
        if left.is_zero() {
            return Ok(());
        }
        match got {
            Ok(0) => return Ok(()),
            // A client that sends without a pause does not keep the others waiting.
            Ok(_) => park::yield_now(py)?,
            Err(Errno::AGAIN) => {
                let left = left.as_secs_f64().min(service.linger_timeout).max(LEAST);
                let mut deadline = Deadline::seconds(Some(left));
                match socket.wait_ready(py, Direction::Read, &mut deadline) {
                    Ok(()) => {}
                    Err(error) if error.is_instance_of::<PyOSError>(py) => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
            Err(Errno::INTR) => py.check_signals()?,
            Err(_) => return Ok(()),
        }
    }
}
