//! Runs a connection: it handles one request after the other, and keeps no buffers while it waits for the next one.
//!
//! `handle` parks from a small frame, see `ffi::blocking`: an idle connection's greenlet has no Python frame and hardly
//! any stack.

use std::ffi::CStr;
use std::io::IoSlice;
use std::time::Duration;

use pyo3::exceptions::{PyBlockingIOError, PyOSError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use reactor::{Direction, Time};
use rustix::io::Errno;
use rustix::net::RecvFlags;

use crate::errors::is_ssl_error;
use crate::ffi::attribute;
use crate::ffi::blocking::{Blocking, First, Step as Stop};
use crate::ffi::clock;
use crate::ffi::text;
use crate::registered::TLS_SOCKET;
use crate::sockets::socket::SocketBase;
use crate::sockets::socket::readiness::{Begun, WaitSlot};
use crate::waiting::deadline::Deadline;
use crate::waiting::park::{self, park};
use crate::waiting::wait::{Outcome, WaitRef};
use crate::wsgi::buffer_pool::BLOCK;
use crate::wsgi::exchange::Slot;
use crate::wsgi::handler::{Handler, WSGIHandler, attributes, call, reader, refresh, service};
use crate::wsgi::overriding::{Step, Steps};
use crate::wsgi::request::{self, READING, Received};
use crate::wsgi::request_file::{RequestFile, Source, is_timeout};
use crate::wsgi::service::Service;
use crate::wsgi::statistics::{self, Stage};
use crate::wsgi::{access_log, errors, finish, send};

/// The number of requests in a row after which other greenlets get to run.
const BATCH: u32 = 32;

/// The implementation of `WSGIHandler.handle`.
pub struct Handle;

impl Blocking for Handle {
    type Owner = WSGIHandler;
    const NAME: &'static CStr = c"handle";
    const DOC: &'static CStr = c"handle($self)\n--\n\n\
Handle the connection's requests, one after the other, and close it.";
    const PARAMETERS: &'static [&'static str] = &[];

    fn begin(slf: &Bound<'_, WSGIHandler>, _: &[Option<Bound<'_, PyAny>>]) -> PyResult<First> {
        begin(slf).map(Into::into)
    }
}

/// Begins with a connection's first request.
///
/// # Errors
/// Returns the error that is thrown into the greenlet, or that an overridden step raises.
pub fn begin(handler: &Handler<'_>) -> PyResult<Stop> {
    let py = handler.py();
    let counted = attributes(handler)
        .state
        .with(py, |state| std::mem::replace(&mut state.counted, true));
    if !counted {
        service(handler)?.get().enter(py);
        statistics::connection_began();
    }
    go_on(handler)
}

/// The state that a parked connection needs to go on.
struct Parked {
    handler: Py<WSGIHandler>,
    socket: Py<SocketBase>,
    slot: WaitSlot,
    /// Its place among the idle ones.
    idle: usize,
}

impl Parked {
    /// Removes the connection from the waiting ones, as it has woken up.
    fn resume(&self, py: Python<'_>) -> PyResult<()> {
        let handler = self.handler.bind(py);
        let counted = is_counted(handler);
        if service(handler)?.get().resume(py, self.idle, counted) {
            attributes(handler)
                .state
                .with(py, |state| state.evicted = true);
        }
        Ok(())
    }
}

fn is_counted(handler: &Handler<'_>) -> bool {
    attributes(handler)
        .state
        .with(handler.py(), |state| state.counted)
}

fn go_on(handler: &Handler<'_>) -> PyResult<Stop> {
    let stopped = converse(handler);
    stop(handler, stopped)
}

/// Parks a connection that waits for more, or ends it.
#[inline(never)]
fn stop(handler: &Handler<'_>, stopped: PyResult<Option<Py<SocketBase>>>) -> PyResult<Stop> {
    let py = handler.py();
    let stopped = stopped.and_then(|waiting| match waiting {
        Some(socket) => wait_for_more(handler, socket).map(Some),
        None => Ok(None),
    });
    match stopped {
        Ok(Some((wait, parked))) => {
            wait.set_then(
                py,
                Box::new(move |py, wait, woken| woke(py, parked, wait, woken)),
            );
            Ok(Stop::Park(wait))
        }
        Ok(None) => {
            finish::finish(handler)?;
            Ok(Stop::Done(py.None()))
        }
        Err(error) => {
            finish::finish(handler)?;
            Err(error)
        }
    }
}

/// Goes on with a parked connection after its wait has ended: handles the requests that came, or ends it.
fn woke(py: Python<'_>, parked: Parked, wait: &WaitRef, woken: Outcome) -> PyResult<Stop> {
    let handler = parked.handler.bind(py);
    parked.resume(py)?;
    let socket = parked.socket.get();
    match socket.end_wait(py, Direction::Read, parked.slot, wait, woken) {
        Ok(()) => go_on(handler),
        Err(error) => match late(handler, error) {
            Ok(answered) => {
                if let Some(Received::Refused(status, response)) = answered {
                    refuse(handler, &status, &response)?;
                }
                finish::finish(handler)?;
                Ok(Stop::Done(py.None()))
            }
            Err(error) => {
                finish::finish(handler)?;
                Err(error)
            }
        },
    }
}

/// Handles an error of waiting for a request. Returns the answer to send (408, for a head that does not come in time),
/// or `None` to end the connection without one; an error that is not the connection's is returned as it is.
fn late<'py>(handler: &Handler<'py>, error: PyErr) -> PyResult<Option<Received<'py>>> {
    let py = handler.py();
    if !error.is_instance_of::<PyOSError>(py) {
        return Err(error);
    }
    let begun = attributes(handler)
        .state
        .with(py, |state| state.head_due.is_some());
    if !is_timeout(py, &error) || !begun {
        return Ok(None);
    }
    request::head_timeout(handler).map(Some)
}

/// Registers the connection's wait for more bytes, and frees the memory that it needs only while it is busy.
fn wait_for_more(handler: &Handler<'_>, socket: Py<SocketBase>) -> PyResult<(WaitRef, Parked)> {
    let py = handler.py();
    let this = attributes(handler);
    let service = service(handler)?;
    let mut due = this.state.with(py, |state| state.head_due);
    let begun = due.is_some();
    if !begun {
        this.forget(py);
        let reader = reader(handler)?;
        reader.get().release(py);
        if matches!(*reader.get().source, Source::Object(_)) {
            // It may be woken by a part of a TLS record, which brings no byte of a request.
            due = Some(idle_due(handler, service.get()));
        }
    }
    let Begun { wait, slot } =
        socket
            .get()
            .begin_wait(py, Direction::Read, &mut deadline(due, service.get()))?;
    let fresh = this.state.with(py, |state| state.fresh);
    let idle = service
        .get()
        .idle(py, &wait, is_counted(handler), fresh, begun);
    let handler = handler.clone().unbind();
    Ok((
        wait,
        Parked {
            handler,
            socket,
            slot,
            idle,
        },
    ))
}

/// Returns when an idle connection ends.
fn idle_due(handler: &Handler<'_>, service: &Service) -> Time {
    attributes(handler).state.with(handler.py(), |state| {
        *state.idle_due.get_or_insert_with(|| {
            let limit = super::request_file::seconds(service.idle_timeout);
            limit.map_or(Time::FAR, |limit| Time::now().after(limit))
        })
    })
}

fn deadline(due: Option<Time>, service: &Service) -> Deadline {
    Deadline::seconds(match due {
        Some(due) if due != Time::FAR => {
            let left = due.until(Time::now()).max(Duration::from_millis(1));
            Some(left.as_secs_f64())
        }
        Some(_) => None,
        None => service.idle_timeout,
    })
}

/// Returns true if requests are read from the connection itself, and not from a file that `__init__` was given.
pub fn is_native(handler: &Handler<'_>) -> bool {
    attributes(handler).state.with(handler.py(), |state| {
        let reader = state.reader.as_ref();
        reader.is_some_and(|reader| !request::is_foreign(reader.get()))
    })
}

/// Handles the requests that have come. Returns the socket to wait for, or `None` when the connection is over.
fn converse(handler: &Handler<'_>) -> PyResult<Option<Py<SocketBase>>> {
    let py = handler.py();
    for count in 1_u32.. {
        if count.is_multiple_of(BATCH) {
            park::yield_now(py)?;
        }
        let stays = match probe(handler) {
            Ok(Seen::Request) => request::respond(handler),
            Ok(Seen::Handled(stays)) => Ok(stays),
            Ok(Seen::Nothing(socket)) => return Ok(Some(socket)),
            Err(error) => Err(error),
        };
        match stays {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// The result of probing a connection for a request.
enum Seen {
    /// A request to respond to.
    Request,
    /// A request was handled. True if another one may follow.
    Handled(bool),
    /// Nothing has come yet: this socket is to be waited for.
    Nothing(Py<SocketBase>),
}

#[inline(never)]
fn probe(handler: &Handler<'_>) -> PyResult<Seen> {
    let steps = refresh(handler)?;
    let by_steps = steps.meets(READING) || steps.meets(Steps::of(&[Step::HandleOneRequest]));
    if by_steps || !is_native(handler) {
        return one_by_steps(handler).map(Seen::Handled);
    }
    Ok(match attempt(handler)? {
        Attempt::Wait(socket) => Seen::Nothing(socket),
        Attempt::Came(Received::Request) => Seen::Request,
        Attempt::Came(Received::End) => Seen::Handled(false),
        Attempt::Came(Received::Refused(status, response)) => {
            refuse(handler, &status, &response)?;
            Seen::Handled(false)
        }
    })
}

fn one_by_steps(handler: &Handler<'_>) -> PyResult<bool> {
    let py = handler.py();
    attributes(handler).renew(py);
    attributes(handler).exchange(py, |exchange| {
        exchange.time_start = clock::wall_time();
        exchange.time_finish = 0.0;
    });
    let result = call(handler, Step::HandleOneRequest, ())?;
    if let Ok(answer) = result.cast::<PyTuple>()
        && answer.len() == 2
    {
        let (status, response) = (answer.get_item(0)?, answer.get_item(1)?);
        let response = response.cast_into::<PyBytes>()?;
        refuse(handler, &status, &response)?;
        return Ok(false);
    }
    result.is_truthy()
}

/// The result of one attempt to read a request.
enum Attempt<'py> {
    /// A request, its refusal, or the end of the connection.
    Came(Received<'py>),
    /// Nothing has come yet: this socket is to be waited for.
    Wait(Py<SocketBase>),
}

/// Waits for a request, from a frame of any size.
///
/// # Errors
/// Returns the error that is thrown into the greenlet.
pub fn receive<'py>(handler: &Handler<'py>) -> PyResult<Received<'py>> {
    let py = handler.py();
    loop {
        let socket = match attempt(handler)? {
            Attempt::Came(received) => return Ok(received),
            Attempt::Wait(socket) => socket,
        };
        let (wait, parked) = wait_for_more(handler, socket)?;
        let woken = park(py, &wait);
        parked.resume(py)?;
        let socket = parked.socket.get();
        if let Err(error) = socket.end_wait(py, Direction::Read, parked.slot, &wait, woken) {
            return late(handler, error).map(|answer| answer.unwrap_or(Received::End));
        }
    }
}

/// Tries to read a request, without waiting where it can be waited for later.
fn attempt<'py>(handler: &Handler<'py>) -> PyResult<Attempt<'py>> {
    let py = handler.py();
    let this = attributes(handler);
    let reader = reader(handler)?;
    let file = reader.get();
    let service = service(handler)?;
    let service = service.get();
    if this.state.with(py, |state| {
        state.head_due.is_none() && state.exchange.is_some()
    }) {
        this.renew(py);
    }
    loop {
        if file.available(py) > 0 {
            let decoded = this.exchange(py, |exchange| {
                file.peek(py, |bytes| exchange.head.decode(bytes, &service.policy))
            });
            match decoded {
                Ok(Some(length)) => {
                    file.consume(py, length);
                    this.state.with(py, |state| state.head_due = None);
                    request::took_head(handler);
                    return Ok(Attempt::Came(Received::Request));
                }
                Ok(None) => set_due(handler, service),
                Err(refusal) => {
                    let line = this.exchange(py, |exchange| exchange.head.request_line().to_vec());
                    let line = if line.is_empty() {
                        first_line(handler)?
                    } else {
                        line
                    };
                    let text = text::from_latin1(py, &line)?.into_any().unbind();
                    this.put(py, Slot::Requestline, Some(text));
                    let error = errors::refused(py, refusal, Some(&line));
                    return request::client_error(handler, error).map(Attempt::Came);
                }
            }
        }
        let (fresh, evicted) = this.state.with(py, |state| (state.fresh, state.evicted));
        let ends = evicted || service.ends_idle(py, fresh);
        match &*file.source {
            Source::Socket(socket) => match file.try_fill(py, socket.get(), ends) {
                Ok(0) => return Ok(Attempt::Came(Received::End)),
                Ok(_) => {}
                Err(Errno::AGAIN) if ends => return Ok(Attempt::Came(Received::End)),
                Err(Errno::AGAIN) if gives_way(handler, service) => {
                    return Ok(Attempt::Came(Received::End));
                }
                Err(Errno::AGAIN) => return Ok(Attempt::Wait(socket.clone_ref(py))),
                Err(Errno::INTR) => py.check_signals()?,
                Err(_) => return Ok(Attempt::Came(Received::End)),
            },
            Source::Object(object) => {
                if let Some(parks) = fill_or_park(file, object.bind(py))? {
                    match parks {
                        Filled::Some => continue,
                        Filled::None => return Ok(Attempt::Came(Received::End)),
                        Filled::Wait(_) if ends || gives_way(handler, service) => {
                            return Ok(Attempt::Came(Received::End));
                        }
                        Filled::Wait(socket) => return Ok(Attempt::Wait(socket)),
                    }
                }
                if ends {
                    return Ok(Attempt::Came(Received::End));
                }
                match fill(handler, file, service)? {
                    None => {}
                    Some(received) => return Ok(Attempt::Came(received)),
                }
            }
            Source::File(_) if ends => return Ok(Attempt::Came(Received::End)),
            Source::File(_) => match fill(handler, file, service)? {
                None => {}
                Some(received) => return Ok(Attempt::Came(received)),
            },
        }
    }
}

/// Returns true if this connection, which is idle after a request, is to end so that another one which waits for room
/// can be accepted.
fn gives_way(handler: &Handler<'_>, service: &Service) -> bool {
    let py = handler.py();
    let idle = attributes(handler)
        .state
        .with(py, |state| !state.fresh && state.head_due.is_none());
    idle && service.takes_room(py)
}

/// The result of one attempt to receive.
enum Filled {
    Some,
    None,
    /// Nothing came; this socket can be waited for as a plain one can.
    Wait(Py<SocketBase>),
}

/// Receives without waiting from an object whose class is derived from `SocketBase`, such as a TLS socket. Returns
/// `None` for any other object, and where TLS has to send before it can receive: the caller then waits by the object's
/// own methods.
fn fill_or_park(file: &RequestFile, object: &Bound<'_, PyAny>) -> PyResult<Option<Filled>> {
    let py = object.py();
    let Ok(base) = object.cast::<SocketBase>() else {
        return Ok(None);
    };
    if is_quiet(object, base.get())? {
        return Ok(Some(Filled::Wait(base.clone().unbind())));
    }
    let receive = || object.call_method1(intern!(py, "recv"), (BLOCK,));
    match base.get().without_waiting(py, receive) {
        Ok(data) => Ok(Some(if file.append(&data)? {
            Filled::Some
        } else {
            Filled::None
        })),
        Err(error) if error.is_instance_of::<PyBlockingIOError>(py) => {
            Ok(Some(Filled::Wait(base.clone().unbind())))
        }
        Err(error) if is_ssl_error(py, &error, "SSLWantReadError") => {
            Ok(Some(Filled::Wait(base.clone().unbind())))
        }
        Err(error) if is_ssl_error(py, &error, "SSLWantWriteError") => Ok(None),
        Err(error) if error.is_instance_of::<PyOSError>(py) => Ok(Some(Filled::None)),
        Err(error) => Err(error),
    }
}

/// Returns true if a connection with TLS has nothing to read: no byte is decrypted, and none has come. The kernel is
/// asked first, because `recv` would raise an exception in this case, which costs several times as much.
fn is_quiet(object: &Bound<'_, PyAny>, base: &SocketBase) -> PyResult<bool> {
    let py = object.py();
    // The class is only looked up for sockets with TLS, as the module `ssl` may be missing.
    if attribute::find(object, intern!(py, "_sslobj"))?.is_none()
        || !object.get_type().is(TLS_SOCKET.get(py)?)
    {
        return Ok(false);
    }
    let decrypted: usize = object.call_method0(intern!(py, "pending"))?.extract()?;
    if decrypted > 0 {
        return Ok(false);
    }
    let peeked = base.call(py, Direction::Read, true, |_, fd| {
        let mut byte = [0_u8; 1];
        rustix::net::recv(fd, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT).map(drop)
    });
    Ok(peeked == Err(Errno::AGAIN))
}

/// Waits for more from a source that cannot be waited for later; returns `None` once more has come.
fn fill<'py>(
    handler: &Handler<'py>,
    file: &RequestFile,
    service: &Service,
) -> PyResult<Option<Received<'py>>> {
    let py = handler.py();
    let due = attributes(handler).state.with(py, |state| state.head_due);
    let (timeout, stage) = match due {
        Some(due) if due != Time::FAR => (Some(due.until(Time::now()).as_secs_f64()), Stage::Head),
        Some(_) => (None, Stage::Head),
        None => (service.idle_timeout, Stage::Idle),
    };
    file.set_deadline(py, timeout, stage);
    match file.fill(py, BLOCK) {
        Ok(true) => Ok(None),
        Ok(false) => Ok(Some(Received::End)),
        Err(error) => late(handler, error).map(|answer| Some(answer.unwrap_or(Received::End))),
    }
}

/// Sets the deadline of a head, of which the first bytes have come.
fn set_due(handler: &Handler<'_>, service: &Service) {
    attributes(handler).state.with(handler.py(), |state| {
        state.fresh = false;
        state.idle_due = None;
        state.head_due.get_or_insert_with(|| {
            let limit = super::request_file::seconds(service.header_timeout);
            limit.map_or(Time::FAR, |limit| Time::now().after(limit))
        });
    });
}

/// Returns the first line that a client sent, for the log.
fn first_line(handler: &Handler<'_>) -> PyResult<Vec<u8>> {
    const MOST: usize = 256;
    let reader = reader(handler)?;
    Ok(reader.get().peek(handler.py(), |bytes| {
        let line = bytes
            .split(|&byte| byte == b'\n')
            .next()
            .unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        line[..line.len().min(MOST)].to_vec()
    }))
}

/// Answers a request that is refused, and logs it.
fn refuse(
    handler: &Handler<'_>,
    status: &Bound<'_, PyAny>,
    answer: &Bound<'_, PyBytes>,
) -> PyResult<()> {
    let py = handler.py();
    let this = attributes(handler);
    this.put(py, Slot::Status, Some(status.clone().unbind()));
    this.state.with(py, |state| {
        (state.close_connection, state.lingers) = (true, true)
    });
    match send::transmit(handler, &mut [IoSlice::new(answer.as_bytes())]) {
        Err(error) if !error.is_instance_of::<PyOSError>(py) => return Err(error),
        _ => {}
    }
    this.put(py, Slot::Status, Some(status.clone().unbind()));
    let code = status
        .str()
        .ok()
        .and_then(|code| code.to_str().ok()?.parse().ok());
    statistics::request_refused(code.unwrap_or(400));
    this.exchange(py, |exchange| {
        exchange.response_length = 0;
        exchange.time_finish = clock::wall_time();
        if exchange.time_start == 0.0 {
            exchange.time_start = exchange.time_finish;
        }
    });
    access_log::request_done(handler)
}

/// Implements `handle_one_request`.
///
/// # Errors
/// Returns the error that an overridden step raises, or one that is thrown into the greenlet.
pub fn handle_one_request<'py>(handler: &Handler<'py>) -> PyResult<Bound<'py, PyAny>> {
    let py = handler.py();
    let received = if refresh(handler)?.meets(READING) || !is_native(handler) {
        request::receive_by_steps(handler)?
    } else {
        receive(handler)?
    };
    match received {
        Received::End => Ok(py.None().into_bound(py)),
        Received::Refused(status, response) => {
            Ok(PyTuple::new(py, [status, response.into_any()])?.into_any())
        }
        Received::Request => match request::respond(handler)? {
            true => Ok(true.into_pyobject(py)?.to_owned().into_any()),
            false => Ok(py.None().into_bound(py)),
        },
    }
}
