//! `wsgi.file_wrapper`: a file that the kernel sends by itself (`sendfile`) where that is possible.

use std::os::fd::{BorrowedFd, RawFd};

use pyo3::PyTraverseError;
use pyo3::exceptions::PyStopIteration;
use pyo3::gc::PyVisit;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyString;
use reactor::Direction;
use rustix::fs::FileType;
use rustix::io::Errno;

use crate::args::from_python;
use crate::cell::Made;
use crate::errors::errno_error;
use crate::ffi::descriptor;
use crate::wsgi::handler::{Handler, attributes, plain_socket};
use crate::wsgi::{send, stint};

/// An application's result that consists of a file's content, from its position on.
#[pyclass(frozen, name = "FileWrapper", module = "gevent.pywsgi")]
#[derive(Debug)]
pub struct FileWrapper {
    filelike: Made<Py<PyAny>>,
    #[pyo3(get)]
    blksize: usize,
}

#[pymethods]
impl FileWrapper {
    /// :param filelike: A binary file, or anything else with a method ``read``.
    /// :param blksize: The number of bytes of one read, where the file has to be read.
    #[new]
    #[pyo3(signature = (filelike, blksize = 65536))]
    fn new(filelike: Py<PyAny>, #[pyo3(from_py_with = from_python)] blksize: usize) -> Self {
        Self {
            filelike: Made::new(filelike),
            blksize,
        }
    }

    /// The file.
    #[getter]
    fn filelike(&self, py: Python<'_>) -> Py<PyAny> {
        self.filelike.clone_ref(py)
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let name = intern!(py, "read");
        let data = self.filelike.bind(py).call_method1(name, (self.blksize,))?;
        if data.is_truthy()? {
            Ok(data)
        } else {
            Err(PyStopIteration::new_err(()))
        }
    }

    /// Close the file.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        match self.filelike.bind(py).getattr_opt(intern!(py, "close"))? {
            Some(close) => close.call0().map(drop),
            None => Ok(()),
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(self.filelike.peek())
    }
}

/// Returns true if `read` returns the bytes of the descriptor's file unchanged, as a `FileIO` and a buffered file of
/// `open` do. Any other object with a `fileno` may decode what it reads, as that of `gzip.open` does.
fn reads_as_it_is(file: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = file.py();
    let io = py.import(intern!(py, "_io"))?;
    let is = |object: &Bound<'_, PyAny>, name: &Bound<'_, PyString>| {
        Ok::<_, PyErr>(object.get_type().is(io.getattr(name)?))
    };
    // Attributes of the object itself come before the methods of its class.
    let is_altered = |object: &Bound<'_, PyAny>| {
        let own = object.getattr(intern!(py, "__dict__"))?;
        for name in [
            intern!(py, "read"),
            intern!(py, "tell"),
            intern!(py, "fileno"),
        ] {
            if own.contains(name)? {
                return Ok::<_, PyErr>(true);
            }
        }
        Ok(false)
    };
    let raw = intern!(py, "FileIO");
    if is(file, raw)? {
        return Ok(!is_altered(file)?);
    }
    let writes = is(file, intern!(py, "BufferedRandom"))?;
    if !writes && !is(file, intern!(py, "BufferedReader"))? {
        return Ok(false);
    }
    let under = file.getattr(intern!(py, "raw"))?;
    if !is(&under, raw)? || is_altered(file)? || is_altered(&under)? {
        return Ok(false);
    }
    if writes {
        // Bytes that were written to it may not be in the file yet.
        file.call_method0(intern!(py, "flush"))?;
    }
    Ok(true)
}

/// Returns the descriptor of a regular file, its position, and the number of bytes after that; `None` for a file that
/// has to be read.
fn regular(file: &Bound<'_, PyAny>) -> Option<(RawFd, u64, u64)> {
    let py = file.py();
    if !reads_as_it_is(file).unwrap_or(false) {
        return None;
    }
    let readable = file.call_method0(intern!(py, "readable")).ok()?;
    if !readable.is_truthy().unwrap_or(false) {
        return None;
    }
    let fd: RawFd = file
        .call_method0(intern!(py, "fileno"))
        .ok()?
        .extract()
        .ok()?;
    let position: u64 = file
        .call_method0(intern!(py, "tell"))
        .ok()?
        .extract()
        .ok()?;
    let status = descriptor::borrowed(fd, |fd| rustix::fs::fstat(fd))?.ok()?;
    if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
        return None;
    }
    // The kernel makes up the files of /proc and /sys as they are read, and states a size of 0 or of a page for them. They
    // occupy no block, as the empty and the wholly sparse files do, which cost little to read.
    if status.st_blocks == 0 {
        return None;
    }
    let size = u64::try_from(status.st_size).ok()?;
    Some((fd, position, size.saturating_sub(position)))
}

/// Sends the response with the file as its body; returns false if the file has to be read instead.
///
/// # Errors
/// Returns the errors of sending.
pub fn send(handler: &Handler<'_>, wrapper: &Bound<'_, FileWrapper>) -> PyResult<bool> {
    let py = handler.py();
    let this = attributes(handler);
    let Some(socket) = plain_socket(handler) else {
        return Ok(false);
    };
    let file = wrapper.get().filelike.bind(py);
    let Some((fd, mut position, size)) = regular(file) else {
        return Ok(false);
    };
    this.exchange(py, |exchange| {
        if exchange.left.is_none() {
            exchange.announce(size);
        }
    });
    let head = send::take_head(handler)?;
    send::transmit(handler, &mut [std::io::IoSlice::new(&head)])?;
    super::buffer_pool::keep_buffer(py, head);
    let mut left = this
        .exchange(py, |exchange| exchange.left)
        .unwrap_or(size)
        .min(size);
    if this.is_head(py) {
        return Ok(true);
    }
    while left > 0 {
        let part = stint::part(py, usize::try_from(left).unwrap_or(usize::MAX));
        let sent = socket.get().call(py, Direction::Write, false, |_, out| {
            descriptor::borrowed(fd, |file: BorrowedFd<'_>| {
                rustix::fs::sendfile(out, file, Some(&mut position), part)
            })
            .unwrap_or(Err(Errno::BADF))
        });
        match sent {
            Ok(0) => break,
            Ok(count) => {
                left -= count as u64;
                this.exchange(py, |exchange| {
                    exchange.response_length += count as u64;
                    exchange.left = exchange.left.map(|left| left.saturating_sub(count as u64));
                });
                if left > 0 {
                    stint::give_way(py)?;
                }
            }
            Err(Errno::AGAIN) => {
                if let Err(error) = send::wait_writable(handler, socket.get(), Direction::Write, 0)
                {
                    return Err(send::broke(handler, error));
                }
            }
            Err(Errno::INTR) => py.check_signals()?,
            Err(error) => {
                let error = errno_error(error.raw_os_error());
                return Err(send::broke(handler, error));
            }
        }
    }
    Ok(true)
}
