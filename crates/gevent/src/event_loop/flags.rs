//! Names of the backends and flags that a loop is created with, and of the events that watchers report.
//!
//! There is one backend here. The others that are common on Linux are accepted and named in return, since configurations
//! and programs name them, but epoll does the work.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyList, PyString};

use crate::args::from_python;
use crate::ffi::thread;

/// The backend that does the work.
pub const EPOLL: u32 = 4;
/// The backends that a loop may be asked to use: select, poll and epoll.
const SUPPORTED: u32 = 7;
const BACKENDS: u32 = 0xFF;
/// Added to the flags of every loop.
const ALWAYS: u32 = 0x0300_0000;

const FLAGS: [(u32, &str); 12] = [
    (32, "port"),
    (8, "kqueue"),
    (128, "linux_iouring"),
    (64, "linux_aio"),
    (EPOLL, "epoll"),
    (2, "poll"),
    (1, "select"),
    (0x0100_0000, "noenv"),
    (0x0200_0000, "forkcheck"),
    (0x0010_0000, "noinotify"),
    (0x0020_0000, "signalfd"),
    (0x0040_0000, "nosigmask"),
];

const EVENTS: [(i64, &str); 16] = [
    (1, "READ"),
    (2, "WRITE"),
    (128, "_IOFDSET"),
    (512, "PERIODIC"),
    (1024, "SIGNAL"),
    (2048, "CHILD"),
    (4096, "STAT"),
    (8192, "IDLE"),
    (16384, "PREPARE"),
    (32768, "CHECK"),
    (65536, "EMBED"),
    (131_072, "FORK"),
    (262_144, "CLEANUP"),
    (524_288, "ASYNC"),
    (16_777_216, "CUSTOM"),
    (-2_147_483_648, "ERROR"),
];

/// Returns events in words, such as `READ|WRITE`; bits without a name appear as a number.
pub fn events_to_str(mut events: i64) -> String {
    let mut words = Vec::new();
    for (bit, name) in EVENTS {
        if events & bit != 0 {
            words.push(name.to_owned());
            events &= !bit;
        }
    }
    if events != 0 {
        words.push(format!("{events:#x}"));
    }
    words.join("|")
}

/// Returns the flags of a loop that was asked for `flags`.
///
/// # Errors
/// Returns the errors of `_flags_to_int` and `_check_flags`.
pub fn of_loop(flags: Option<&Bound<'_, PyAny>>) -> PyResult<u32> {
    let flags = _flags_to_int(flags)?;
    _check_flags(flags)?;
    Ok(flags | ALWAYS)
}

/// Returns the number of the best backend of those in `flags`, or of all when it names none.
pub fn backend(flags: u32) -> u32 {
    match flags & SUPPORTED {
        0 => EPOLL,
        asked => 1 << asked.ilog2(),
    }
}

/// Returns the name of a backend, or of a flag.
pub fn name(flag: u32) -> &'static str {
    FLAGS
        .iter()
        .find(|(bit, _)| *bit == flag)
        .map_or("unknown", |(_, name)| name)
}

fn parse(name: &str) -> PyResult<u32> {
    let wanted = name.trim().to_lowercase();
    if let Some((bit, _)) = FLAGS.iter().find(|(_, name)| *name == wanted) {
        return Ok(*bit);
    }
    let mut names = FLAGS.map(|(_, name)| name);
    names.sort_unstable();
    Err(PyValueError::new_err(format!(
        "Invalid backend or flag: '{}'\nPossible values: {}",
        name.trim(),
        names.join(", ")
    )))
}

/// Return the number that `flags` stands for: None, a number, names separated by commas, or a list of names.
///
/// Raises `ValueError` for an unknown name.
#[pyfunction]
#[pyo3(signature = (flags))]
pub fn _flags_to_int(flags: Option<&Bound<'_, PyAny>>) -> PyResult<u32> {
    let Some(flags) = flags else { return Ok(0) };
    thread::enter();
    if flags.is_instance_of::<PyInt>() {
        return flags.extract();
    }
    let mut result = 0;
    if let Ok(text) = flags.cast::<PyString>() {
        for name in text
            .to_str()?
            .split(',')
            .filter(|name| !name.trim().is_empty())
        {
            result |= parse(name)?;
        }
    } else {
        for name in flags.try_iter()? {
            result |= parse(name?.cast::<PyString>()?.to_str()?)?;
        }
    }
    Ok(result)
}

/// Return the names in the number `flags`; bits without a name stay a number.
#[pyfunction]
pub fn _flags_to_list(
    py: Python<'_>,
    #[pyo3(from_py_with = from_python)] mut flags: u32,
) -> PyResult<Bound<'_, PyList>> {
    let result = PyList::empty(py);
    for (bit, name) in FLAGS {
        if flags & bit != 0 {
            result.append(name)?;
            flags &= !bit;
        }
    }
    if flags != 0 {
        result.append(flags)?;
    }
    Ok(result)
}

/// Raise `ValueError` if the number `flags` names backends and none of them is supported.
#[pyfunction]
pub fn _check_flags(#[pyo3(from_py_with = from_python)] flags: u32) -> PyResult<()> {
    let asked = flags & BACKENDS;
    if asked == 0 || asked & SUPPORTED != 0 {
        return Ok(());
    }
    let names: Vec<_> = FLAGS
        .iter()
        .filter(|(bit, _)| asked & bit != 0)
        .map(|(_, name)| *name)
        .collect();
    Err(PyValueError::new_err(format!(
        "Unsupported backend: {}",
        names.join("|")
    )))
}

/// Return the events in the number `events` in words, such as "READ|WRITE".
#[pyfunction]
pub fn _events_to_str(#[pyo3(from_py_with = from_python)] events: i64) -> String {
    events_to_str(events)
}

/// Return the names of the backends that a loop can be created with.
#[pyfunction]
pub fn supported_backends() -> [&'static str; 3] {
    ["epoll", "poll", "select"]
}

/// Adds the functions to the extension module.
///
/// # Errors
/// Returns the error that adding to a module raises.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(_flags_to_int, module)?)?;
    module.add_function(wrap_pyfunction!(_flags_to_list, module)?)?;
    module.add_function(wrap_pyfunction!(_check_flags, module)?)?;
    module.add_function(wrap_pyfunction!(_events_to_str, module)?)?;
    module.add_function(wrap_pyfunction!(supported_backends, module)?)
}

#[cfg(test)]
mod tests {
    use super::{EPOLL, backend, events_to_str, name};

    #[test]
    fn the_best_backend_that_was_asked_for_is_named() {
        for (flags, wanted) in [(0, "epoll"), (1, "select"), (3, "poll"), (7, "epoll")] {
            assert_eq!(name(backend(flags)), wanted);
        }
        // A loop that names only flags, or a backend of another system, gets what works here.
        assert_eq!(backend(0x0100_0000 | 32), EPOLL);
        assert_eq!(name(16), "unknown");
    }

    #[test]
    fn events_have_words_and_the_rest_a_number() {
        assert_eq!(events_to_str(0), "");
        assert_eq!(events_to_str(3), "READ|WRITE");
        assert_eq!(events_to_str(2 | 4), "WRITE|0x4");
        assert_eq!(events_to_str(-2_147_483_648), "ERROR");
    }
}
