//! The methods of `gevent.pywsgi.WSGIHandler`, which together handle a connection. This file has their Python
//! signatures and the constructor; the work of each is done in the file of its theme.

use pyo3::exceptions::PyAssertionError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString, PyTuple, PyType};

use crate::args::from_python;
use crate::ffi::text;
use crate::registered::{HEADERS_FACTORY, SOCKET};
use crate::sockets::socket::SocketBase;
use crate::wsgi::attributes::Attributes;
use crate::wsgi::handler::{Handler, WSGIHandler, attributes, leave_http};
use crate::wsgi::overriding;
use crate::wsgi::request_file::{RequestFile, Source};
use crate::wsgi::responder::Responder;
use crate::wsgi::service::Service;
use crate::wsgi::{
    access_log, connection, environ, error_log, failure, request, response, run, send,
};

/// Returns the way to read from a socket: natively from a plain one, and by the methods of any other object.
fn source_of(socket: &Bound<'_, PyAny>) -> PyResult<Source> {
    let py = socket.py();
    if socket.get_type().is(SOCKET.get(py)?) {
        return Ok(Source::Socket(
            socket.clone().cast_into::<SocketBase>()?.unbind(),
        ));
    }
    Ok(Source::Object(socket.clone().unbind()))
}

fn remote_of(address: &Bound<'_, PyAny>) -> PyResult<Option<(Py<PyString>, Py<PyString>)>> {
    let Ok(address) = address.cast::<PyTuple>() else {
        return Ok(None);
    };
    if address.len() < 2 {
        return Ok(None);
    }
    Ok(Some((
        address.get_item(0)?.str()?.unbind(),
        address.get_item(1)?.str()?.unbind(),
    )))
}

#[pymethods]
impl WSGIHandler {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "(sock, address, server, rfile=None)")]
    fn new(
        _args: &Bound<'_, PyTuple>,
        _kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyClassInitializer<Self> {
        PyClassInitializer::from(Attributes::blank()).add_subclass(Self)
    }

    /// :param sock: The connection.
    /// :param address: The client's address.
    /// :param server: The `WSGIServer`, or an object with its attributes.
    /// :param rfile: A binary file to read requests from instead of *sock*.
    #[pyo3(signature = (sock, address, server, rfile = None))]
    fn __init__(
        slf: &Handler<'_>,
        sock: &Bound<'_, PyAny>,
        address: &Bound<'_, PyAny>,
        server: &Bound<'_, PyAny>,
        rfile: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let py = slf.py();
        let source = match rfile {
            Some(file) if !file.is_none() => Source::File(file.clone().unbind()),
            _ => source_of(sock)?,
        };
        let reader = Py::new(py, RequestFile::over(source))?;
        let visible = match rfile {
            Some(file) if !file.is_none() => file.clone().unbind(),
            _ => reader.clone_ref(py).into_any(),
        };
        let service = Service::of(server)?;
        let remote = remote_of(address)?;
        let steps = overriding::overridden(slf.as_any())?;
        let old = attributes(slf).state.with(py, |state| {
            state.steps = steps;
            (
                state.socket.replace(sock.clone().unbind()),
                state.client_address.replace(address.clone().unbind()),
                state.server.replace(server.clone().unbind()),
                state.rfile.replace(visible),
                state.reader.replace(reader),
                state.service.replace(service),
                std::mem::replace(&mut state.remote, remote),
            )
        });
        drop(old);
        Ok(())
    }

    /// The class of the error that is raised in an application that breaks the rules of WSGI.
    #[classattr]
    #[pyo3(name = "ApplicationError")]
    fn application_error(py: Python<'_>) -> Py<PyAny> {
        py.get_type::<PyAssertionError>().into_any().unbind()
    }

    /// The error numbers which only mean that the client is gone.
    #[classattr]
    fn ignored_socket_errors() -> (i32, i32) {
        (libc::EPIPE, libc::ECONNRESET)
    }

    #[classattr]
    fn protocol_version() -> &'static str {
        "HTTP/1.1"
    }

    /// Handle one request. Return true if the connection goes on, None to end it, or a pair of status and response to
    /// send the response and end it.
    fn handle_one_request<'py>(slf: &Handler<'py>) -> PyResult<Bound<'py, PyAny>> {
        connection::handle_one_request(slf)
    }

    /// Read and return the request line; return an empty string when the client sends no more.
    fn read_requestline<'py>(slf: &Handler<'py>) -> PyResult<Bound<'py, PyAny>> {
        request::read_requestline(slf)
    }

    /// Read the rest of the head that begins with this line, and set the attributes that it states; return true.
    ///
    /// :raises ValueError: The head is not that of a valid request.
    fn read_request(slf: &Handler<'_>, raw_requestline: &Bound<'_, PyAny>) -> PyResult<bool> {
        request::read_request(slf, raw_requestline)
    }

    /// Read header fields from a binary file; return them as a message.
    #[pyo3(name = "MessageClass", signature = (*args))]
    fn message_class<'py>(
        slf: &Handler<'py>,
        args: &Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        HEADERS_FACTORY.get(slf.py())?.call1(args)
    }

    fn _check_http_version(slf: &Handler<'_>) -> PyResult<bool> {
        request::check_http_version(slf)
    }

    /// Return a new WSGI environment for the request.
    fn get_environ<'py>(slf: &Handler<'py>) -> PyResult<Bound<'py, PyAny>> {
        environ::get_environ(slf)
    }

    fn _headers<'py>(slf: &Handler<'py>) -> PyResult<Bound<'py, PyAny>> {
        environ::variables(slf)?
            .as_any()
            .try_iter()
            .map(Bound::into_any)
    }

    fn _connection_upgrade_requested(slf: &Handler<'_>) -> PyResult<bool> {
        environ::connection_upgrade_requested(slf)
    }

    /// Have the application produce one response, and handle the errors that it raises.
    fn handle_one_response(slf: &Handler<'_>) -> PyResult<()> {
        run::handle_one_response(slf)
    }

    /// Call the application and send what it returns.
    fn run_application(slf: &Handler<'_>) -> PyResult<()> {
        run::run_application(slf)
    }

    /// Send what the application returned.
    fn process_result(slf: &Handler<'_>) -> PyResult<()> {
        run::process_result(slf)
    }

    /// WSGI's `start_response`: set how to respond; return the function that sends parts of the body.
    ///
    /// :raises ValueError: *status* or *headers* may not be sent: the status is outside 200-599, a name or value is
    ///     invalid, or the length of the body is stated twice.
    /// :raises UnicodeError: A string has characters outside of ISO-8859-1.
    /// :raises AssertionError: The function was called before, and there is no *exc_info*.
    #[pyo3(signature = (status, headers, exc_info = None))]
    fn start_response<'py>(
        slf: &Handler<'py>,
        status: &Bound<'py, PyAny>,
        headers: &Bound<'py, PyAny>,
        exc_info: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        response::start_response(slf, status, headers, exc_info)?;
        Responder::of(slf)?.getattr(intern!(slf.py(), "write"))
    }

    /// Complete `response_headers` before they are sent.
    fn finalize_headers(slf: &Handler<'_>) -> PyResult<()> {
        response::finalize_headers(slf)
    }

    /// Send a part of the body, after the head if that was not sent yet.
    fn write(slf: &Handler<'_>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        send::write(slf, data)
    }

    fn _write_with_headers(slf: &Handler<'_>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        send::write_with_headers(slf, data)
    }

    fn _write(slf: &Handler<'_>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        send::write_body(slf, data)
    }

    fn _sendall(slf: &Handler<'_>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        send::sendall(slf, data)
    }

    /// Note that a 101 was sent by other means than `write`: the limits of requests no longer apply to the bytes that
    /// follow.
    fn _leave_http(slf: &Handler<'_>) {
        leave_http(slf);
    }

    /// Write a line to the server's access log.
    fn log_request(slf: &Handler<'_>) -> PyResult<()> {
        access_log::log_request(slf)
    }

    /// Return the line of the access log.
    fn format_request<'py>(slf: &Handler<'py>) -> PyResult<Bound<'py, PyString>> {
        let line = access_log::format_request(slf)?;
        text::from_latin1(slf.py(), &line)
    }

    /// Write a message, formatted with its arguments, to the server's error log.
    #[pyo3(signature = (msg, *args))]
    fn log_error(
        slf: &Handler<'_>,
        msg: &Bound<'_, PyAny>,
        args: &Bound<'_, PyTuple>,
    ) -> PyResult<()> {
        error_log::log_error(slf, msg, args)
    }

    /// Report an error of the application, and respond with 500 if nothing was sent yet.
    fn handle_error(
        slf: &Handler<'_>,
        t: &Bound<'_, PyAny>,
        v: &Bound<'_, PyAny>,
        tb: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        failure::handle_error(slf, t, v, tb)
    }

    fn _log_error(
        slf: &Handler<'_>,
        t: &Bound<'_, PyAny>,
        v: &Bound<'_, PyAny>,
        tb: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        failure::report(slf, t, v, tb)
    }

    fn _handle_client_error<'py>(
        slf: &Handler<'py>,
        ex: &Bound<'py, PyAny>,
    ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyBytes>)> {
        failure::handle_client_error(slf, ex)
    }

    fn _send_error_response_if_possible(
        slf: &Handler<'_>,
        #[pyo3(from_py_with = from_python)] error_code: u16,
    ) -> PyResult<()> {
        failure::send_error_response(slf, error_code)
    }

    /// Prints the exception that is being handled, for unexpected errors of a request.
    #[classattr]
    fn _print_unexpected_exc(py: Python<'_>) -> PyResult<Py<PyAny>> {
        let function = py.import("traceback")?.getattr("print_exc")?;
        let method = py.import("builtins")?.getattr("staticmethod")?;
        method.call1((function,)).map(Bound::unbind)
    }

    /// Drops values that a subclass states for attributes of its instances: each request sets them anew, and they would
    /// hide what it sets.
    #[classmethod]
    #[pyo3(signature = (**kwargs))]
    fn __init_subclass__(
        class: &Bound<'_, PyType>,
        kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<()> {
        let py = class.py();
        let own = py.get_type::<Self>();
        let above = py
            .import(intern!(py, "builtins"))?
            .getattr(intern!(py, "super"))?
            .call1((own, class))?;
        above
            .getattr(intern!(py, "__init_subclass__"))?
            .call((), kwargs)?;
        let stated = class.getattr(intern!(py, "__dict__"))?;
        for name in py.get_type::<Attributes>().dir()? {
            if !name.cast::<PyString>()?.to_str()?.starts_with("__") && stated.contains(&name)? {
                let value = stated.get_item(&name)?;
                if !value.get_type().hasattr(intern!(py, "__get__"))? {
                    class.delattr(name.cast::<PyString>()?)?;
                }
            }
        }
        Ok(())
    }
}
