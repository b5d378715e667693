//! `StreamTransport`, the base class of the transports of stream sockets: it passes the received bytes to its protocol.
//!
//! `gevent.aio`'s class, which is derived from it, has the operations that happen once in a connection's life.

use pyo3::exceptions::PyTypeError;
use pyo3::gc::PyVisit;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};
use pyo3::{PyTraverseError, PyTypeInfo};
use reactor::Direction;

use crate::args::from_python;
use crate::asyncio::base::AsyncioLoop;
use crate::asyncio::out::OutBuffer;
use crate::asyncio::transport::BaseTransport;
use crate::asyncio::{stream_read, stream_write, turn};
use crate::cell::GilCell;

/// The state of a stream of data, behind its cell.
pub struct Flow {
    pub(super) empty_waiter: Option<Py<PyAny>>,
    pub(super) out: OutBuffer,
    pub(super) high: usize,
    pub(super) low: usize,
    /// True if the protocol supplies the memory that is received into.
    pub(super) is_buffered: bool,
    /// True once nothing more is written; the sending side is then closed when everything is sent.
    pub(super) is_ended: bool,
    pub(super) protocol_paused: bool,
    /// True if the last read found more than fits on the stack.
    pub(super) plenty: bool,
}

/// The base class of transports of stream sockets.
#[pyclass(frozen, subclass, extends = BaseTransport, module = "gevent._core", name = "StreamTransport")]
#[derive(Debug)]
pub struct StreamTransport {
    pub(super) flow: GilCell<Flow>,
    pub(super) is_unix: bool,
}

impl StreamTransport {
    /// Does the work that is due when its source is worth trying in a direction.
    ///
    /// # Errors
    /// `KeyboardInterrupt` and `SystemExit` of the protocol, and the error that its `connection_lost` raises.
    pub fn ready(slf: &Bound<'_, Self>, direction: Direction) -> PyResult<()> {
        let work = || match direction {
            Direction::Read => stream_read::read_ready(slf),
            Direction::Write => stream_write::write_ready(slf),
        };
        slf.as_super().get().run_ready(slf.py(), direction, work)
    }

    /// Reports an error that ends the connection.
    ///
    /// # Errors
    /// `KeyboardInterrupt` and `SystemExit`, which propagate, and the error that reporting raises.
    pub fn fail(slf: &Bound<'_, Self>, error: PyErr, message: &str) -> PyResult<()> {
        let py = slf.py();
        if turn::ends_loop(py, &error) {
            return Err(error);
        }
        let error = error.into_value(py);
        slf.call_method1(intern!(py, "_fatal_error"), (error, message))?;
        Ok(())
    }
}

#[pymethods]
impl StreamTransport {
    #[new]
    #[pyo3(signature = (r#loop, sock, *_args, **_kwargs))]
    fn new(
        r#loop: Py<AsyncioLoop>,
        sock: Bound<'_, PyAny>,
        _args: &Bound<'_, PyTuple>,
        _kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let family: i32 = sock.getattr(intern!(sock.py(), "family"))?.extract()?;
        let stream = Self {
            flow: GilCell::new(Flow {
                empty_waiter: None,
                out: OutBuffer::default(),
                high: 64 * 1024,
                low: 16 * 1024,
                is_buffered: false,
                is_ended: false,
                protocol_paused: false,
                plenty: false,
            }),
            is_unix: family == libc::AF_UNIX,
        };
        Ok(PyClassInitializer::from(BaseTransport::new(r#loop, sock)?).add_subclass(stream))
    }

    /// Send `data`, bytes or the like, now or as soon as that is possible.
    fn write(slf: &Bound<'_, Self>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        stream_write::write(slf, data)
    }

    /// Send the bytes, or the like, that an iterable yields.
    fn writelines(slf: &Bound<'_, Self>, list_of_data: &Bound<'_, PyAny>) -> PyResult<()> {
        stream_write::writelines(slf, list_of_data)
    }

    /// Close the sending side once everything is sent.
    fn write_eof(slf: &Bound<'_, Self>) -> PyResult<()> {
        stream_write::write_eof(slf)
    }

    /// Returns how many bytes have still to be sent.
    fn get_write_buffer_size(&self, py: Python<'_>) -> usize {
        self.flow.with(py, |flow| flow.out.len())
    }

    /// Close the transport once everything is sent; the protocol's `connection_lost` is called then.
    fn close(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let base = slf.as_super().get();
        let closes = base.endpoint.with(py, |endpoint| {
            !std::mem::replace(&mut endpoint.is_closing, true)
        });
        if !closes {
            return Ok(());
        }
        base.end_reading(py);
        let is_done = slf.get().flow.with(py, |flow| flow.out.is_empty());
        if is_done {
            base.endpoint.with(py, |endpoint| endpoint.lost += 1);
            slf.call_method1(intern!(py, "_schedule_connection_lost"), (py.None(),))?;
        }
        Ok(())
    }

    /// Close the transport without sending what is buffered.
    fn _force_close(slf: &Bound<'_, Self>, exc: Option<Bound<'_, PyAny>>) -> PyResult<()> {
        let py = slf.py();
        let base = slf.as_super().get();
        let was_lost = base.endpoint.with(py, |endpoint| {
            let was_lost = endpoint.lost > 0;
            endpoint.is_closing |= !was_lost;
            endpoint.lost += u32::from(!was_lost);
            was_lost
        });
        if was_lost {
            return Ok(());
        }
        let out = slf
            .get()
            .flow
            .with(py, |flow| std::mem::take(&mut flow.out));
        drop(out);
        base.end_reading(py);
        slf.call_method1(intern!(py, "_schedule_connection_lost"), (exc,))?;
        Ok(())
    }

    /// Have another protocol called from now on.
    fn set_protocol(slf: &Bound<'_, Self>, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = protocol.py();
        let class = py
            .import(intern!(py, "asyncio.protocols"))?
            .getattr(intern!(py, "BufferedProtocol"))?;
        let is_buffered = protocol.is_instance(&class)?;
        slf.get()
            .flow
            .with(py, |flow| flow.is_buffered = is_buffered);
        slf.as_super().get().set_protocol(protocol);
        Ok(())
    }

    #[getter]
    fn _eof(&self, py: Python<'_>) -> bool {
        self.flow.with(py, |flow| flow.is_ended)
    }

    #[getter]
    fn _protocol_paused(&self, py: Python<'_>) -> bool {
        self.flow.with(py, |flow| flow.protocol_paused)
    }

    #[setter(_protocol_paused)]
    fn set_protocol_paused(&self, py: Python<'_>, value: bool) {
        self.flow.with(py, |flow| flow.protocol_paused = value);
    }

    #[getter]
    fn _empty_waiter(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.flow.with(py, |flow| {
            let waiter = flow.empty_waiter.as_ref();
            waiter.map(|waiter| waiter.clone_ref(py))
        })
    }

    #[setter(_empty_waiter)]
    fn set_empty_waiter(&self, py: Python<'_>, waiter: Option<Py<PyAny>>) {
        let old = self
            .flow
            .with(py, |flow| std::mem::replace(&mut flow.empty_waiter, waiter));
        drop(old);
    }

    /// The sizes of the buffer, in bytes, at which the protocol resumes and pauses writing: ``(low, high)``.
    #[getter]
    fn _limits(&self, py: Python<'_>) -> (usize, usize) {
        self.flow.with(py, |flow| (flow.low, flow.high))
    }

    #[setter(_limits)]
    fn set_limits(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = from_python)] limits: (usize, usize),
    ) {
        self.flow.with(py, |flow| (flow.low, flow.high) = limits);
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let visit_all = |flow: &Flow| visit.call(&flow.empty_waiter);
        self.flow.peek(&visit, visit_all).unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        self.set_empty_waiter(py, None);
    }
}

/// Refuses data that is not bytes or the like, as asyncio does.
///
/// # Errors
/// `TypeError`.
pub fn check_data(data: &Bound<'_, PyAny>) -> PyResult<()> {
    use pyo3::types::{PyByteArray, PyMemoryView};
    let is_bytes_like = PyBytes::is_type_of(data)
        || PyByteArray::is_type_of(data)
        || PyMemoryView::is_type_of(data);
    if is_bytes_like {
        return Ok(());
    }
    let kind = data.get_type();
    Err(PyTypeError::new_err(format!(
        "data argument must be a bytes-like object, not '{}'",
        kind.name()?
    )))
}
