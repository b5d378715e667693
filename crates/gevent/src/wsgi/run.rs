//! The call of the application, and the handling of its result or error.
//!
//! An application that waits is suspended above these frames and those of [`super::serve`] and [`super::connection`],
//! which are copied at each of its switches. So the work before and after a call of Python is done in functions of its
//! own, which are not on the stack during the call.

use pyo3::exceptions::PyOSError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};

use crate::ffi::clock;
use crate::wsgi::body_part::check_part;
use crate::wsgi::error_log::log_text;
use crate::wsgi::exchange::Slot;
use crate::wsgi::file_wrapper::{self, FileWrapper};
use crate::wsgi::handler::{Handler, attributes, call, is_overridden, refresh};
use crate::wsgi::overriding::{Step, Steps};
use crate::wsgi::responder::Responder;
use crate::wsgi::send::{self, SENDING};
use crate::wsgi::{access_log, failure, input, statistics};

/// The steps by which a subclass may respond without the application's `start_response`.
const RESPONDING: Steps = Steps::of(&[
    Step::RunApplication,
    Step::StartResponse,
    Step::HandleOneResponse,
]);

/// Implements `handle_one_response`.
///
/// # Errors
/// Returns the error that an overridden step raises outside of the application.
pub fn handle_one_response(handler: &Handler<'_>) -> PyResult<()> {
    begin_response(handler);
    let run = if is_overridden(handler, Step::RunApplication) {
        call(handler, Step::RunApplication, ()).map(drop)
    } else {
        run_application(handler)
    };
    end_response(handler, run)
}

#[inline(never)]
fn end_response(handler: &Handler<'_>, run: PyResult<()>) -> PyResult<()> {
    let py = handler.py();
    let this = attributes(handler);
    this.response_over(py);
    let sent = this.exchange(py, |exchange| exchange.headers_sent);
    let failed = run.is_err();
    let dealt = match run {
        Ok(()) => Ok(()),
        Err(error) => deal_with(handler, error),
    };
    this.exchange(py, |exchange| {
        exchange.time_finish = clock::wall_time();
    });
    count(handler, sent && failed);
    access_log::request_done(handler)?;
    dealt
}

/// Counts the request for the statistics. It is `aborted` if it broke off after its response had begun.
#[inline]
fn count(handler: &Handler<'_>, aborted: bool) {
    let py = handler.py();
    let (sent, code, upgraded) = attributes(handler).state.with(py, |state| {
        let exchange = state.exchange.as_deref();
        (
            exchange.is_some_and(|exchange| exchange.headers_sent),
            exchange.and_then(|exchange| exchange.code),
            state.upgraded,
        )
    });
    let status = match code {
        _ if upgraded => 101,
        Some(code) if sent => u16::try_from(code.abs()).unwrap_or(0),
        _ => 0,
    };
    statistics::request_ended(status, aborted);
}

/// Resets the response if a subclass overrides a step here, as an earlier response may have left its state.
#[inline(never)]
fn begin_response(handler: &Handler<'_>) {
    let py = handler.py();
    let old = attributes(handler).exchange(py, |exchange| {
        exchange.time_start = clock::wall_time();
        exchange.headers_sent = false;
        exchange.response_use_chunked = false;
        exchange.connection_upgraded = false;
        exchange.response_length = 0;
        exchange.out.clear();
        [
            exchange.put(Slot::Status, None),
            exchange.put(Slot::Result, None),
            exchange.put(Slot::ResponseHeaders, None),
        ]
    });
    drop(old);
}

fn deal_with(handler: &Handler<'_>, error: PyErr) -> PyResult<()> {
    let py = handler.py();
    let this = attributes(handler);
    if let Some(code) = failure::client_error_code(py, &error) {
        let error = error.into_value(py).into_bound(py).into_any();
        if is_overridden(handler, Step::HandleClientError) {
            call(handler, Step::HandleClientError, (error,))?;
        } else {
            failure::handle_client_error(handler, &error)?;
        }
        return send_error(handler, code);
    }
    if error.is_instance_of::<PyOSError>(py) {
        let broken = this.state.with(py, |state| state.broken) || input::has_failed(handler);
        if broken || failure::is_ignored(handler, &error)? {
            this.state.with(py, |state| state.close_connection = true);
            return Ok(());
        }
        if failure::ends_websocket(handler, &error)? {
            this.state.with(py, |state| state.close_connection = true);
            return failure::websocket_ended(handler, error);
        }
    }
    let value = error.into_value(py).into_bound(py).into_any();
    let traceback = value.getattr(intern!(py, "__traceback__"))?;
    let class = value.get_type().into_any();
    if is_overridden(handler, Step::HandleError) {
        call(handler, Step::HandleError, (class, value, traceback)).map(drop)
    } else {
        failure::handle_error(handler, &class, &value, &traceback)
    }
}

fn send_error(handler: &Handler<'_>, code: u16) -> PyResult<()> {
    if is_overridden(handler, Step::SendErrorResponse) {
        call(handler, Step::SendErrorResponse, (code,)).map(drop)
    } else {
        failure::send_error_response(handler, code)
    }
}

/// Implements `run_application`.
///
/// # Errors
/// Returns the error that the application raises, and the errors of sending.
pub fn run_application(handler: &Handler<'_>) -> PyResult<()> {
    let [application, environ, start_response] = parties(handler)?;
    let returned = application.call1((environ, start_response));
    take_result(handler, returned)
}

/// Returns the application and its two arguments.
#[inline(never)]
fn parties<'py>(handler: &Handler<'py>) -> PyResult<[Bound<'py, PyAny>; 3]> {
    let py = handler.py();
    let this = attributes(handler);
    let of = |slot| {
        this.get(py, slot)
            .unwrap_or_else(|| py.None().into_bound(py))
    };
    let start_response = Responder::of(handler)?.into_any();
    Ok([of(Slot::Application), of(Slot::Environ), start_response])
}

/// Sends what the application returned, and closes it.
#[inline(never)]
fn take_result(handler: &Handler<'_>, returned: PyResult<Bound<'_, PyAny>>) -> PyResult<()> {
    let py = handler.py();
    let result = returned?;
    let this = attributes(handler);
    this.put(py, Slot::Result, Some(result.clone().unbind()));
    let steps = refresh(handler)?;
    let processed = if steps.meets(Steps::of(&[Step::ProcessResult])) {
        call(handler, Step::ProcessResult, ()).map(drop)
    } else {
        process_result(handler)
    };
    this.put(py, Slot::Result, None);
    if result.is_exact_instance_of::<PyList>() || result.is_exact_instance_of::<PyTuple>() {
        return processed;
    }
    let closed = match result.getattr_opt(intern!(py, "close")) {
        Ok(Some(close)) => close.call0().map(drop),
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    // An error of closing comes first, as in a `finally` block, so that an interrupt meanwhile is not lost.
    closed.and(processed)
}

/// Implements `process_result`.
///
/// # Errors
/// Returns the error that running the result raises, and the errors of sending.
pub fn process_result(handler: &Handler<'_>) -> PyResult<()> {
    let py = handler.py();
    let this = attributes(handler);
    let steps = this.state.with(py, |state| state.steps);
    let result = this
        .get(py, Slot::Result)
        .unwrap_or_else(|| py.None().into_bound(py));
    if !steps.meets(SENDING) && send_at_once(handler, &result)? {
        end_of_body(handler);
        return Ok(());
    }
    let write = |data: &Bound<'_, PyAny>| {
        if is_overridden(handler, Step::Write) {
            call(handler, Step::Write, (data,)).map(drop)
        } else {
            send::write(handler, data)
        }
    };
    for data in result.try_iter()? {
        let data = data?;
        if data.is_truthy()? {
            if is_complete(handler) && !steps.meets(SENDING) {
                break;
            }
            write(&data)?;
        }
    }
    if !this.exchange(py, |exchange| exchange.headers_sent) {
        if this.has_status(py) {
            write(PyBytes::new(py, b"").as_any())?;
        } else if !steps.meets(RESPONDING) {
            // The application may have caught the error of `start_response`. There is nothing to send, as in gevent, so
            // the connection ends. An application that took the connection over did not need to call it.
            if !this.exchange(py, |exchange| exchange.upgrade_offered) {
                log_text(handler, send::NOT_STARTED, Vec::new())?;
            }
            this.state.with(py, |state| state.close_connection = true);
            return Ok(());
        }
    }
    if this.exchange(py, |exchange| exchange.response_use_chunked) {
        send::end_chunks(handler)?;
    }
    if !steps.meets(SENDING) {
        end_of_body(handler);
    }
    Ok(())
}

/// Returns true if the response is sent, so that nothing more can follow: to a request for the head alone, or with all the
/// bytes that were announced. A body that has no end, as a stream's, would otherwise be made for ever, as only sending
/// shows that the client has left.
fn is_complete(handler: &Handler<'_>) -> bool {
    let py = handler.py();
    let this = attributes(handler);
    let (sent, left) = this.exchange(py, |exchange| (exchange.headers_sent, exchange.left));
    sent && (left == Some(0) || this.is_head(py))
}

/// Closes the connection after a body that is shorter than announced, as the client could not find its end otherwise.
fn end_of_body(handler: &Handler<'_>) {
    let py = handler.py();
    let this = attributes(handler);
    let short = this.exchange(py, |exchange| exchange.left.is_some_and(|left| left > 0));
    if short && !this.is_head(py) {
        this.state.with(py, |state| state.close_connection = true);
    }
}

/// Sends a result that is complete by one system call; returns false if it is not complete.
fn send_at_once(handler: &Handler<'_>, result: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = handler.py();
    let this = attributes(handler);
    let (code, sent) = this.exchange(py, |exchange| (exchange.code, exchange.headers_sent));
    if sent || !this.has_status(py) || matches!(code, Some(204 | 304)) {
        return Ok(false);
    }
    if let Ok(file) = result.cast_exact::<FileWrapper>() {
        return file_wrapper::send(handler, file);
    }
    let list = result.cast_exact::<PyList>().ok();
    let first = match (list, result.cast_exact::<PyTuple>()) {
        (Some(list), _) if list.len() == 1 => [list.get_item(0)?],
        (None, Ok(tuple)) if tuple.len() == 1 => [tuple.get_item(0)?],
        (None, Err(_)) => return Ok(false),
        (list, tuple) => {
            let parts: Vec<_> = match (list, tuple) {
                (Some(list), _) => list.iter().collect(),
                (None, Ok(tuple)) => tuple.iter().collect(),
                (None, Err(_)) => return Ok(false),
            };
            return send_all_of(handler, &parts);
        }
    };
    send_all_of(handler, &first)
}

/// Sends the head with a body that consists of these parts; returns false if they are not all bytes objects.
fn send_all_of(handler: &Handler<'_>, parts: &[Bound<'_, PyAny>]) -> PyResult<bool> {
    if !parts
        .iter()
        .all(|part| part.is_exact_instance_of::<PyBytes>())
    {
        parts.iter().try_for_each(check_part)?;
        return Ok(false);
    }
    let head = send::take_head(handler)?;
    let sent = send::send_parts(handler, Some(&head), parts, true);
    super::buffer_pool::keep_buffer(handler.py(), head);
    sent.map(|()| true)
}
