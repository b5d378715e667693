//! `rfile`: the bytes that a connection has received and not consumed yet. It receives more of them when they are
//! needed.

use std::time::Duration;

use pyo3::PyTraverseError;
use pyo3::exceptions::{PyStopIteration, PyTimeoutError};
use pyo3::gc::PyVisit;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use reactor::{Direction, Time};
use rustix::io::Errno;

use crate::args::from_python;
use crate::cell::{GilCell, Made};
use crate::errors::errno_error;
use crate::ffi::buffer::{Frozen, Writable};
use crate::ffi::descriptor;
use crate::sockets::socket::SocketBase;
use crate::waiting::deadline::Deadline;
use crate::wsgi::allowance::Allowance;
use crate::wsgi::buffer_pool::{self, BLOCK};
use crate::wsgi::statistics::Stage;
use crate::wsgi::stint::{self, Stint};

/// The shortest wait, in seconds: a timeout of zero would switch a socket into non-blocking mode.
pub const LEAST: f64 = 0.001;

/// The origin of the bytes.
#[derive(Debug)]
pub enum Source {
    /// A plain socket of this package.
    Socket(Py<SocketBase>),
    /// Any object with the methods of a socket, such as one that speaks TLS.
    Object(Py<PyAny>),
    /// A file that the handler was given.
    File(Py<PyAny>),
}

struct State {
    buffer: Vec<u8>,
    at: usize,
    ended: bool,
    closed: bool,
    /// The time that is left to wait for more; none if it is not limited.
    allowance: Option<Allowance>,
    /// The stage that the connection is at while it waits for more.
    stage: Option<Stage>,
    /// Counts what is received until other greenlets have their turn.
    stint: Stint,
}

/// A binary file of what a client sends, as `WSGIHandler.rfile` is one.
#[pyclass(frozen, weakref, name = "RequestFile", module = "gevent._core")]
#[derive(Debug)]
pub struct RequestFile {
    pub(crate) source: Made<Source>,
    state: GilCell<State>,
}

impl RequestFile {
    /// Returns a file over `source` that has received nothing yet.
    pub fn over(source: Source) -> Self {
        Self {
            source: Made::new(source),
            state: GilCell::new(State {
                buffer: Vec::new(),
                at: 0,
                ended: false,
                closed: false,
                allowance: None,
                stage: None,
                stint: Stint::default(),
            }),
        }
    }

    /// Shows the bytes that are not consumed to a closure, which must not call Python and must not drop an object.
    #[inline]
    pub fn peek<R>(&self, py: Python<'_>, view: impl FnOnce(&[u8]) -> R) -> R {
        self.state.with(py, |state| view(&state.buffer[state.at..]))
    }

    /// Returns how many bytes are there without receiving.
    #[inline]
    pub fn available(&self, py: Python<'_>) -> usize {
        self.peek(py, <[u8]>::len)
    }

    /// Consumes `count` of the bytes that are there.
    #[inline]
    pub fn consume(&self, py: Python<'_>, count: usize) {
        self.state.with(py, |state| {
            state.at += count;
            if state.at >= state.buffer.len() {
                state.buffer.clear();
                state.at = 0;
            }
        });
    }

    /// Sets the number of seconds to wait for more (`None` for no limit), and the stage that the connection is counted
    /// at meanwhile.
    pub fn set_allowance(
        &self,
        py: Python<'_>,
        allowance: Option<Allowance>,
        stage: Option<Stage>,
    ) {
        self.state.with(py, |state| {
            (state.allowance, state.stage) = (allowance, stage)
        });
    }

    /// Sets the number of seconds that all reads may take together (`None` for no limit), and the stage that the
    /// connection is counted at meanwhile.
    pub fn set_deadline(&self, py: Python<'_>, timeout: Option<f64>, stage: Stage) {
        // Received bytes do not extend this time: no rate is high enough.
        let allowance = timeout.map(|timeout| Allowance::new(timeout, Some(f64::INFINITY)));
        self.set_allowance(py, allowance, Some(stage));
    }

    /// Counts the connection at its stage while `wait` waits for more.
    fn counted<R>(&self, py: Python<'_>, wait: impl FnOnce() -> R) -> R {
        let stage = self.state.with(py, |state| state.stage);
        if let Some(stage) = stage {
            stage.enter();
        }
        let waited = wait();
        if let Some(stage) = stage {
            stage.leave();
        }
        waited
    }

    /// Returns the number of seconds to wait at most now.
    fn left(&self, py: Python<'_>) -> Option<f64> {
        self.state.with(py, |state| {
            state.allowance.map(|allowance| allowance.left())
        })
    }

    /// Counts the time since `begin` as spent waiting.
    fn spend(&self, py: Python<'_>, begin: Time) {
        self.state.with(py, |state| {
            if let Some(allowance) = &mut state.allowance {
                allowance.spend(begin);
            }
        });
    }

    /// Returns true if the kernel has bytes for the client that it has not sent.
    pub fn is_sending(&self, py: Python<'_>) -> bool {
        let socket = match &*self.source {
            Source::Socket(socket) => socket.bind(py),
            Source::Object(object) => match object.bind(py).cast::<SocketBase>() {
                Ok(socket) => socket,
                Err(_) => return false,
            },
            Source::File(_) => return false,
        };
        let unsent = socket.get().call(py, Direction::Write, true, |_, fd| {
            Ok(descriptor::unsent(fd))
        });
        unsent.is_ok_and(|bytes| bytes > 0)
    }

    /// Counts received bytes, which may extend the time, and lets other greenlets run if it is their turn.
    fn earn(&self, py: Python<'_>, bytes: usize) -> PyResult<()> {
        let due = self.state.with(py, |state| {
            if let Some(allowance) = &mut state.allowance {
                allowance.earn(bytes as u64);
            }
            state.stint.counts(py, bytes)
        });
        if due { stint::give_way(py) } else { Ok(()) }
    }

    /// Returns the buffer to the pool, if there are no bytes in it.
    pub fn release(&self, py: Python<'_>) {
        let buffer = self.state.with(py, |state| {
            if state.at < state.buffer.len() {
                return Vec::new();
            }
            state.at = 0;
            std::mem::take(&mut state.buffer)
        });
        buffer_pool::keep_buffer(py, buffer);
    }

    /// Returns the buffer to the pool, and drops the bytes in it.
    pub fn release_all(&self, py: Python<'_>) {
        let buffer = self.state.with(py, |state| {
            (state.at, state.ended) = (0, true);
            std::mem::take(&mut state.buffer)
        });
        buffer_pool::keep_buffer(py, buffer);
    }

    /// Receives from a plain socket without waiting, and returns the number of bytes, 0 at the end. With `force` the
    /// system call is made even when the socket is known not to be ready.
    ///
    /// # Errors
    /// Returns `AGAIN` when there is nothing to receive, or the error that the system call reports.
    pub fn try_fill(
        &self,
        py: Python<'_>,
        socket: &SocketBase,
        force: bool,
    ) -> rustix::io::Result<usize> {
        let (mut buffer, at) = self
            .state
            .with(py, |state| (std::mem::take(&mut state.buffer), state.at));
        if at > 0 {
            buffer.drain(..at);
        }
        if buffer.capacity() == 0 {
            buffer = buffer_pool::buffer(py);
        }
        if buffer.capacity() == buffer.len() {
            buffer.reserve(buffer.len().max(BLOCK));
        }
        let got = socket.call(py, Direction::Read, force, |state, fd| {
            state.append(py, fd, &mut buffer)
        });
        self.state.with(py, |state| {
            state.buffer = buffer;
            state.at = 0;
            state.ended |= got == Ok(0);
        });
        got
    }

    /// Receives up to `most` bytes into `target` without a copy, if no received bytes are left in this buffer.
    fn try_fill_into(
        &self,
        py: Python<'_>,
        socket: &SocketBase,
        target: &mut Vec<u8>,
    ) -> rustix::io::Result<usize> {
        let got = socket.call(py, Direction::Read, false, |state, fd| {
            state.append(py, fd, target)
        });
        if got == Ok(0) {
            self.state.with(py, |state| state.ended = true);
        }
        got
    }

    /// Waits until there is more; returns false at the end.
    ///
    /// # Errors
    /// Returns `TimeoutError`, the `OSError` of receiving, or an error that is thrown into the greenlet.
    pub fn fill(&self, py: Python<'_>, wanted: usize) -> PyResult<bool> {
        if self.state.with(py, |state| state.ended) {
            return Ok(false);
        }
        match &*self.source {
            Source::Socket(socket) => {
                let socket = socket.get();
                self.persist(py, socket, || self.try_fill(py, socket, false))
                    .map(|got| got > 0)
            }
            Source::Object(socket) => {
                let timeout = self.left(py);
                let begin = timeout.is_some().then(Time::now);
                let data = self.counted(py, || {
                    receive(socket.bind(py), timeout.map(|left| left.max(LEAST)))
                });
                if let Some(begin) = begin {
                    self.spend(py, begin);
                }
                self.append(&data?)
            }
            Source::File(file) => {
                let name = intern!(py, "readline");
                let data = file
                    .bind(py)
                    .call_method1(name, (wanted.clamp(1, BLOCK),))?;
                self.append(&data)
            }
        }
    }

    /// Appends bytes that were received by other means; returns false if there are none, which means the end.
    ///
    /// # Errors
    /// Returns `TypeError` when it is not bytes-like.
    pub fn append(&self, data: &Bound<'_, PyAny>) -> PyResult<bool> {
        let py = data.py();
        let data = Frozen::of(data)?;
        let bytes = data.bytes(py);
        self.state.with(py, |state| {
            state.ended = bytes.is_empty();
            state.buffer.extend_from_slice(bytes);
        });
        self.earn(py, bytes.len())?;
        Ok(!bytes.is_empty())
    }

    fn persist(
        &self,
        py: Python<'_>,
        socket: &SocketBase,
        mut attempt: impl FnMut() -> rustix::io::Result<usize>,
    ) -> PyResult<usize> {
        loop {
            match attempt() {
                Ok(got) => {
                    self.earn(py, got)?;
                    return Ok(got);
                }
                Err(Errno::AGAIN) => {}
                Err(Errno::INTR) => {
                    py.check_signals()?;
                    continue;
                }
                Err(error) => return Err(errno_error(error.raw_os_error())),
            }
            let mut deadline = Deadline::seconds(self.left(py).map(|left| left.max(LEAST)));
            let begin = Time::now();
            self.state.with(py, |state| state.stint.waits());
            let waited = self.counted(py, || socket.wait_ready(py, Direction::Read, &mut deadline));
            self.spend(py, begin);
            waited?;
        }
    }

    /// Moves up to `most` bytes into `target`: those that are there, or else those that come next. Returns their
    /// number, 0 at the end.
    ///
    /// # Errors
    /// Fails as [`fill`](Self::fill).
    pub fn take_into(&self, py: Python<'_>, target: &mut Vec<u8>, most: usize) -> PyResult<usize> {
        if self.available(py) == 0 {
            if let Source::Socket(socket) = &*self.source
                && most >= BLOCK
                && !self.state.with(py, |state| state.ended)
            {
                // The room is exactly what is wanted, so that no byte after that is received into it.
                let mut part = std::mem::take(target);
                let length = part.len();
                part.reserve_exact(most);
                let got = if part.capacity() - length == most {
                    let socket = socket.get();
                    Some(self.persist(py, socket, || self.try_fill_into(py, socket, &mut part)))
                } else {
                    None
                };
                *target = part;
                if let Some(got) = got {
                    return got;
                }
            }
            if !self.fill(py, most)? {
                return Ok(0);
            }
        }
        let count = self.peek(py, |bytes| {
            let count = bytes.len().min(most);
            target.extend_from_slice(&bytes[..count]);
            count
        });
        self.consume(py, count);
        Ok(count)
    }

    /// Takes up to `most` bytes, but none after a line feed; takes fewer at the end.
    ///
    /// # Errors
    /// Fails as [`fill`](Self::fill).
    pub fn take_line(&self, py: Python<'_>, most: usize) -> PyResult<Vec<u8>> {
        let mut line = Vec::new();
        while line.len() < most {
            if self.available(py) == 0 && !self.fill(py, most - line.len())? {
                break;
            }
            let (count, whole) = self.peek(py, |bytes| {
                let bytes = &bytes[..bytes.len().min(most - line.len())];
                let end = memchr::memchr(b'\n', bytes);
                let count = end.map_or(bytes.len(), |end| end + 1);
                line.extend_from_slice(&bytes[..count]);
                (count, end.is_some())
            });
            self.consume(py, count);
            if whole {
                break;
            }
        }
        Ok(line)
    }
}

/// Receives from an object with the methods of a socket; the object's own timeout limits the wait.
fn receive<'py>(socket: &Bound<'py, PyAny>, timeout: Option<f64>) -> PyResult<Bound<'py, PyAny>> {
    let py = socket.py();
    let Some(seconds) = timeout else {
        return socket.call_method1(intern!(py, "recv"), (BLOCK,));
    };
    let before = socket.call_method0(intern!(py, "gettimeout"))?;
    socket.call_method1(intern!(py, "settimeout"), (seconds,))?;
    let data = socket.call_method1(intern!(py, "recv"), (BLOCK,));
    let after = socket.call_method1(intern!(py, "settimeout"), (before,));
    let data = data?;
    after?;
    Ok(data)
}

/// Returns true if an error says that the other side took too long.
pub fn is_timeout(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PyTimeoutError>(py)
}

/// Converts a number of seconds; returns `None` for a very long time.
pub fn seconds(value: Option<f64>) -> Option<Duration> {
    value.and_then(|value| Duration::try_from_secs_f64(value.max(0.0)).ok())
}

fn limit(size: Option<isize>) -> usize {
    match size {
        Some(size) => usize::try_from(size).unwrap_or(usize::MAX),
        None => usize::MAX,
    }
}

#[pymethods]
impl RequestFile {
    /// Read `size` bytes, or fewer at the end; without `size`, read all bytes up to the end.
    #[pyo3(signature = (size = None, /))]
    fn read<'py>(
        &self,
        py: Python<'py>,
        #[pyo3(from_py_with = from_python)] size: Option<isize>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let most = limit(size);
        let mut data = Vec::new();
        while data.len() < most {
            let left = (most - data.len()).min(64 * BLOCK);
            if self.take_into(py, &mut data, left)? == 0 {
                break;
            }
        }
        Ok(PyBytes::new(py, &data))
    }

    /// Read at most `size` bytes, as soon as there are any.
    #[pyo3(signature = (size = None, /))]
    fn read1<'py>(
        &self,
        py: Python<'py>,
        #[pyo3(from_py_with = from_python)] size: Option<isize>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let mut data = Vec::new();
        let most = limit(size).min(BLOCK);
        if most > 0 {
            self.take_into(py, &mut data, most)?;
        }
        Ok(PyBytes::new(py, &data))
    }

    /// Return the bytes that were received already, without waiting, for a program that goes on with another protocol.
    fn read_available<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let data = self.peek(py, <[u8]>::to_vec);
        self.consume(py, data.len());
        PyBytes::new(py, &data)
    }

    /// Read a line, or at most `size` bytes of it; return no bytes at the end.
    #[pyo3(signature = (size = None, /))]
    fn readline<'py>(
        &self,
        py: Python<'py>,
        #[pyo3(from_py_with = from_python)] size: Option<isize>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let line = self.take_line(py, limit(size))?;
        Ok(PyBytes::new(py, &line))
    }

    /// Read into a buffer; return the number of bytes, which is less than its size only at the end.
    #[pyo3(signature = (buffer, /))]
    fn readinto(&self, py: Python<'_>, buffer: &Bound<'_, PyAny>) -> PyResult<usize> {
        let mut memory = Writable::of(buffer, "readinto")?;
        let size = memory.len();
        let mut data = Vec::new();
        while data.len() < size {
            let left = size - data.len();
            if self.take_into(py, &mut data, left)? == 0 {
                break;
            }
        }
        memory.put(&data);
        Ok(data.len())
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let line = self.take_line(py, usize::MAX)?;
        if line.is_empty() {
            return Err(PyStopIteration::new_err(()));
        }
        Ok(PyBytes::new(py, &line))
    }

    /// True if `close` was called.
    #[getter]
    fn closed(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.closed)
    }

    /// Stop reading. This does not close the connection.
    fn close(&self, py: Python<'_>) {
        let buffer = self.state.with(py, |state| {
            (state.closed, state.ended) = (true, true);
            state.at = 0;
            std::mem::take(&mut state.buffer)
        });
        buffer_pool::keep_buffer(py, buffer);
    }

    /// Return the descriptor's number.
    fn fileno(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self._sock(py).call_method0(py, intern!(py, "fileno"))
    }

    fn readable(&self) -> bool {
        true
    }

    /// This file itself, as it has no other buffer under its own.
    #[getter]
    fn raw(slf: Py<Self>) -> Py<Self> {
        slf
    }

    /// The socket, or the file that stands for it.
    #[getter]
    fn _sock(&self, py: Python<'_>) -> Py<PyAny> {
        match &*self.source {
            Source::Socket(socket) => socket.clone_ref(py).into_any(),
            Source::Object(object) | Source::File(object) => object.clone_ref(py),
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self.source.peek() {
            Some(Source::Socket(socket)) => visit.call(socket),
            Some(Source::Object(object) | Source::File(object)) => visit.call(object),
            None => Ok(()),
        }
    }
}
