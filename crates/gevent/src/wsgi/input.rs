//! `wsgi.input`: the body of a request, read as the application asks for it.

use http1::{Body, Framing, Limits, Refusal};
use pyo3::PyTraverseError;
use pyo3::exceptions::{PyOSError, PyOverflowError, PyStopIteration};
use pyo3::gc::PyVisit;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::args::from_python;
use crate::cell::{GilCell, Made};
use crate::ffi::buffer::Writable;
use crate::wsgi::allowance::Allowance;
use crate::wsgi::buffer_pool::BLOCK;
use crate::wsgi::errors::{BodyTimeout, InvalidClientInput};
use crate::wsgi::exchange::Slot;
use crate::wsgi::handler::{Handler, attributes, reader};
use crate::wsgi::request_file::{RequestFile, Source, is_timeout};
use crate::wsgi::statistics::Stage;

/// The most bytes that one system call receives into what an application will get.
const LARGEST: u64 = 64 * BLOCK as u64;

struct State {
    body: Body,
    /// True while the client waits to be asked for the body.
    expected: bool,
    /// True once an error has made it impossible to know where the body ends, so that no further bytes can be read.
    failed: bool,
    /// True if the client waited to be asked for the body, and got a response in place of that.
    unasked: bool,
}

/// The body of a request, as a binary file.
#[pyclass(frozen, subclass, name = "Input", module = "gevent.pywsgi")]
#[derive(Debug)]
pub struct Input {
    reader: Made<Py<RequestFile>>,
    rfile: Option<Py<PyAny>>,
    socket: Option<Py<PyAny>>,
    #[pyo3(get)]
    content_length: Option<u64>,
    #[pyo3(get)]
    chunked_input: bool,
    max_discard: u64,
    /// True if a body that ends with its connection is an error of the application's, as with gevent.
    blames_application: bool,
    state: GilCell<State>,
}

/// The largest number of bytes to read. Any integer is accepted: a negative number, and one beyond the range of
/// `usize`, mean all bytes that there are.
struct Size(usize);

impl<'a, 'py> FromPyObject<'a, 'py> for Size {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        match object.extract::<i64>() {
            Ok(size) => Ok(Self(usize::try_from(size).unwrap_or(usize::MAX))),
            Err(error) if error.is_instance_of::<PyOverflowError>(object.py()) => {
                Ok(Self(usize::MAX))
            }
            Err(error) => Err(error),
        }
    }
}

fn size_of(size: Option<Size>) -> usize {
    size.map_or(usize::MAX, |size| size.0)
}

impl Input {
    /// Returns the input of the request that a handler has read.
    ///
    /// # Errors
    /// Returns `TypeError` when the handler was not initialised.
    pub fn of_request<'py>(
        handler: &Handler<'py>,
        framing: Framing,
        expected: bool,
    ) -> PyResult<Bound<'py, Self>> {
        let py = handler.py();
        let this = attributes(handler);
        let reader = reader(handler)?;
        let (service, socket) = this.state.with(py, |state| {
            let service = state.service.as_ref().map(|service| service.clone_ref(py));
            let socket = expected.then(|| state.socket.as_ref().map(|socket| socket.clone_ref(py)));
            (service, socket.flatten())
        });
        let service = service.as_ref().map(Py::get);
        let body = match service {
            Some(service) => {
                Body::new(framing, &service.policy.limits).with_leniency(service.policy.leniency)
            }
            None => Body::new(framing, &Limits::default()),
        };
        let allowance = service.and_then(|service| {
            let timeout = service.body_timeout?;
            Some(Allowance::new(timeout, service.min_rate))
        });
        reader.get().set_allowance(py, allowance, Some(Stage::Body));
        let input = Self {
            reader: Made::new(reader),
            rfile: None,
            socket,
            content_length: match framing {
                Framing::Length(length) => Some(length),
                _ => None,
            },
            chunked_input: framing == Framing::Chunked,
            max_discard: service.map_or(LARGEST, |service| service.max_discard),
            blames_application: service.is_some_and(|service| service.like_gevent),
            state: GilCell::new(State {
                body,
                expected,
                failed: false,
                unasked: false,
            }),
        };
        Bound::new(py, input)
    }

    /// Sends `100 Continue` if the client waits for that.
    fn ask(&self, py: Python<'_>) -> PyResult<()> {
        let due = self
            .state
            .with(py, |state| std::mem::take(&mut state.expected));
        if due && let Some(socket) = &self.socket {
            let text = PyBytes::new(py, http1::response::CONTINUE);
            socket.call_method1(py, intern!(py, "sendall"), (text,))?;
        }
        Ok(())
    }

    /// Stops asking for the body, as the response has begun. The application may read on, as a client that was not
    /// asked may send the body all the same; but bytes that it leaves unread are not waited for.
    pub fn response_began(&self, py: Python<'_>) {
        if self.socket.is_some() {
            self.state.with(py, |state| {
                state.unasked |= state.expected && !self.is_there(py, &state.body);
                state.expected = false;
            });
        }
    }

    /// Returns true if the rest of the body is known to be short enough to be skipped to keep the connection.
    fn can_be_skipped(&self, py: Python<'_>) -> bool {
        let (mut body, lost) = self.state.with(py, |state| {
            let lost = state.failed || state.expected || state.unasked;
            (state.body.clone(), lost)
        });
        if body.is_done() {
            return true;
        }
        if !self.chunked_input {
            let there = self.is_there(py, &body);
            return there || (!lost && body.contiguous() <= self.max_discard);
        }
        if lost {
            return false;
        }
        // The length of a body in chunks is known once the last chunk has been received.
        self.reader.get().peek(py, |bytes| {
            let mut at = 0;
            loop {
                match body.decode(&bytes[at..]) {
                    Ok(step) if step.done => return true,
                    Ok(step) if step.consumed > 0 => at += step.consumed,
                    _ => return false,
                }
            }
        })
    }

    /// Returns true if the whole rest of a body with a length has been received.
    fn is_there(&self, py: Python<'_>, body: &Body) -> bool {
        !self.chunked_input && self.reader.get().available(py) as u64 >= body.contiguous()
    }

    fn fill(&self, py: Python<'_>, wanted: usize) -> PyResult<()> {
        match self.reader.get().fill(py, wanted) {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.cut_short(py)),
            Err(error) => Err(self.late(py, error)),
        }
    }

    fn late(&self, py: Python<'_>, error: PyErr) -> PyErr {
        self.state.with(py, |state| state.failed = true);
        if is_timeout(py, &error) {
            return BodyTimeout::new_err("the request's body took too long (body_timeout)");
        }
        error
    }

    /// Returns the error of a body that ends with its connection, which the client caused.
    fn cut_short(&self, py: Python<'_>) -> PyErr {
        let position = self.state.with(py, |state| {
            state.failed = true;
            state.body.received()
        });
        let text = if self.chunked_input {
            "unexpected end of file while parsing chunked data".to_owned()
        } else {
            format!("unexpected end of file while reading request at position {position}")
        };
        if self.blames_application {
            PyOSError::new_err(text)
        } else {
            InvalidClientInput::new_err(text)
        }
    }

    fn refused(&self, py: Python<'_>, refusal: Refusal) -> PyErr {
        self.state.with(py, |state| state.failed = true);
        let made = py
            .get_type::<InvalidClientInput>()
            .call1((refusal.to_string(), refusal.status()));
        made.map_or_else(|error| error, PyErr::from_value)
    }

    /// Reads up to `most` bytes, of one line if `line`.
    fn pull(&self, py: Python<'_>, most: usize, line: bool) -> PyResult<Vec<u8>> {
        let reader = self.reader.get();
        let mut data = Vec::new();
        if most > 0 {
            self.ask(py)?;
        }
        while data.len() < most {
            let (done, failed, next) = self.state.with(py, |state| {
                (state.body.is_done(), state.failed, state.body.contiguous())
            });
            if done {
                break;
            }
            if failed {
                return Err(InvalidClientInput::new_err(
                    "the request's body cannot be read any further, as an earlier read failed",
                ));
            }
            if next == 0 {
                if reader.available(py) == 0 {
                    self.fill(py, BLOCK)?;
                }
                let step = reader.peek(py, |bytes| {
                    let end = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |end| end + 1);
                    self.state
                        .with(py, |state| state.body.decode(&bytes[..end]))
                });
                reader.consume(
                    py,
                    step.map_err(|refusal| self.refused(py, refusal))?.consumed,
                );
                continue;
            }
            let wanted = (most - data.len()).min(next.min(LARGEST) as usize);
            let mut whole = false;
            let got = if line {
                if reader.available(py) == 0 {
                    self.fill(py, wanted)?;
                }
                let got = reader.peek(py, |bytes| {
                    let bytes = &bytes[..bytes.len().min(wanted)];
                    let end = memchr::memchr(b'\n', bytes);
                    whole = end.is_some();
                    let count = end.map_or(bytes.len(), |end| end + 1);
                    data.extend_from_slice(&bytes[..count]);
                    count
                });
                reader.consume(py, got);
                got
            } else {
                match reader.take_into(py, &mut data, wanted) {
                    Ok(0) => return Err(self.cut_short(py)),
                    Ok(got) => got,
                    Err(error) => return Err(self.late(py, error)),
                }
            };
            self.state.with(py, |state| state.body.advance(got as u64));
            if whole {
                break;
            }
        }
        Ok(data)
    }

    /// Returns true if the body was received whole.
    pub fn is_done(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.body.is_done())
    }

    /// Returns true if reading it has failed.
    pub fn has_failed(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.failed) && !self.blames_application
    }

    /// Skips the rest of the body, which the application did not read; returns false if the connection cannot be used
    /// any more.
    ///
    /// # Errors
    /// Returns the error that is thrown into the greenlet.
    pub fn discard(&self, py: Python<'_>) -> PyResult<bool> {
        let mut left = self.max_discard;
        loop {
            let (done, lost) = self.state.with(py, |state| {
                let waits = state.expected || state.unasked;
                let lost = state.failed || (waits && !self.is_there(py, &state.body));
                (state.body.is_done(), lost)
            });
            if done {
                return Ok(true);
            }
            if lost || left == 0 {
                return Ok(false);
            }
            self.state.with(py, |state| state.expected = false);
            match self.pull(py, left.min(4 * BLOCK as u64) as usize, false) {
                Ok(data) => left -= data.len() as u64,
                Err(error) if error.is_instance_of::<PyOSError>(py) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }
}

#[pymethods]
impl Input {
    /// :param rfile: A binary file to read from.
    /// :param content_length: The number of bytes of the body, or None if there is no body.
    /// :param socket: The socket to send ``100 Continue`` to, if the client waits for that.
    /// :param chunked_input: True if the body comes in chunks.
    #[new]
    #[pyo3(signature = (rfile, content_length, socket = None, chunked_input = false))]
    fn new(
        rfile: &Bound<'_, PyAny>,
        #[pyo3(from_py_with = from_python)] content_length: Option<u64>,
        socket: Option<Py<PyAny>>,
        chunked_input: bool,
    ) -> PyResult<Self> {
        let py = rfile.py();
        let reader = match rfile.cast::<RequestFile>() {
            Ok(reader) => reader.clone().unbind(),
            Err(_) => Py::new(py, RequestFile::over(Source::File(rfile.clone().unbind())))?,
        };
        let framing = match content_length {
            _ if chunked_input => Framing::Chunked,
            Some(length) => Framing::Length(length),
            None => Framing::None,
        };
        Ok(Self {
            reader: Made::new(reader),
            rfile: Some(rfile.clone().unbind()),
            content_length,
            chunked_input,
            max_discard: LARGEST,
            blames_application: false,
            state: GilCell::new(State {
                body: Body::new(framing, &Limits::default()),
                expected: socket.is_some(),
                failed: false,
                unasked: false,
            }),
            socket,
        })
    }

    /// Read `length` bytes, or fewer at the end; without `length`, read all bytes up to the end.
    ///
    /// :raises OSError: The client ended before the body did.
    #[pyo3(signature = (length = None))]
    fn read<'py>(&self, py: Python<'py>, length: Option<Size>) -> PyResult<Bound<'py, PyBytes>> {
        let data = self.pull(py, size_of(length), false)?;
        Ok(PyBytes::new(py, &data))
    }

    /// Read a line, or at most `size` bytes of it; return no bytes at the end.
    #[pyo3(signature = (size = None))]
    fn readline<'py>(&self, py: Python<'py>, size: Option<Size>) -> PyResult<Bound<'py, PyBytes>> {
        let data = self.pull(py, size_of(size), true)?;
        Ok(PyBytes::new(py, &data))
    }

    /// Return all lines. `hint` is of no effect, as in gevent.
    #[pyo3(signature = (hint = None))]
    fn readlines<'py>(
        &self,
        py: Python<'py>,
        hint: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyList>> {
        drop(hint);
        let lines = PyList::empty(py);
        loop {
            let line = self.pull(py, usize::MAX, true)?;
            if line.is_empty() {
                return Ok(lines);
            }
            lines.append(PyBytes::new(py, &line))?;
        }
    }

    /// Read into a buffer; return the number of bytes, which is less than its size only at the end.
    #[pyo3(signature = (buffer, /))]
    fn readinto(&self, py: Python<'_>, buffer: &Bound<'_, PyAny>) -> PyResult<usize> {
        let mut memory = Writable::of(buffer, "readinto")?;
        let size = memory.len();
        let data = self.pull(py, size, false)?;
        memory.put(&data);
        Ok(data.len())
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let line = self.pull(py, usize::MAX, true)?;
        if line.is_empty() {
            return Err(PyStopIteration::new_err(()));
        }
        Ok(PyBytes::new(py, &line))
    }

    /// Return the next line.
    fn next<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        self.__next__(py)
    }

    /// The file that the body is read from.
    #[getter]
    fn rfile(&self, py: Python<'_>) -> Py<PyAny> {
        match &self.rfile {
            Some(rfile) => rfile.clone_ref(py),
            None => self.reader.clone_ref(py).into_any(),
        }
    }

    /// The socket to send ``100 Continue`` to, if the client waits for that.
    #[getter]
    fn socket(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.socket.as_ref().map(|socket| socket.clone_ref(py))
    }

    /// The number of bytes that were read so far.
    #[getter]
    fn position(&self, py: Python<'_>) -> u64 {
        self.state.with(py, |state| state.body.received())
    }

    /// True if reading sends ``100 Continue`` to a client that waits for it.
    #[getter]
    fn send_100_continue_enabled(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.expected) || self.socket.is_none()
    }

    #[setter]
    fn set_send_100_continue_enabled(&self, py: Python<'_>, value: bool) {
        self.state.with(py, |state| state.expected &= value);
    }

    fn _discard(&self, py: Python<'_>) -> PyResult<()> {
        self.discard(py).map(drop)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(self.reader.peek())?;
        visit.call(&self.rfile)?;
        visit.call(&self.socket)
    }
}

/// Returns true if the rest of a request's body may be skipped after the response, as far as that is known before the
/// response.
pub fn can_be_skipped(handler: &Handler<'_>) -> bool {
    let py = handler.py();
    match attributes(handler).get(py, Slot::WsgiInput) {
        Some(input) => match input.cast::<Input>() {
            Ok(input) => input.get().can_be_skipped(py),
            Err(_) => true,
        },
        None => true,
    }
}

/// Returns true if the client's fault kept a request's body from being read.
pub fn has_failed(handler: &Handler<'_>) -> bool {
    let py = handler.py();
    attributes(handler)
        .get(py, Slot::WsgiInput)
        .is_some_and(|input| {
            let input = input.cast::<Input>();
            input.is_ok_and(|input| input.get().has_failed(py))
        })
}

/// Notes in the input of a request that the response begins.
pub fn response_begins(handler: &Handler<'_>) {
    let py = handler.py();
    if let Some(input) = attributes(handler).get(py, Slot::WsgiInput)
        && let Ok(input) = input.cast::<Input>()
    {
        input.get().response_began(py);
    }
}
