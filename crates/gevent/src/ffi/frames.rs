//! The Python frames of a call's callers, as code objects and offsets. They are cheap to capture, and are converted to
//! line numbers only when they are read.

use std::sync::Arc;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyCode, PyFunction};

/// One frame: its code and the offset of its current instruction.
#[derive(Debug)]
pub struct FrameRef {
    /// The code object.
    pub code: Py<PyCode>,
    lasti: i32,
}

impl FrameRef {
    /// Returns the frame of a Python function or method as its call begins; none for any other object. It never runs
    /// code of the program, as it reads only built-in attributes of built-in types.
    pub fn of_function(function: &Bound<'_, PyAny>) -> Option<Self> {
        let py = function.py();
        let class = function.get_type();
        let is_method = class.name().ok()? == "method" && class.module().ok()? == "builtins";
        let function = if is_method {
            function.getattr(pyo3::intern!(py, "__func__")).ok()?
        } else {
            function.clone()
        };
        let function = function.cast_into_exact::<PyFunction>().ok()?;
        let code = function.getattr(pyo3::intern!(py, "__code__")).ok()?;
        Some(Self {
            code: code.cast_into::<PyCode>().ok()?.unbind(),
            lasti: 0,
        })
    }

    /// Returns the function's qualified name, its file and the line that was running.
    ///
    /// # Errors
    /// Returns `MemoryError`.
    pub fn place(&self, py: Python<'_>) -> PyResult<(String, String, i32)> {
        let code = self.code.bind(py);
        let text = |name: &str| code.getattr(name)?.extract::<String>();
        let line = line(&self.code, self.lasti, py);
        Ok((text("co_qualname")?, text("co_filename")?, line))
    }

    /// Returns the offset of the instruction that was running.
    pub fn lasti(&self) -> i32 {
        self.lasti
    }
}

/// Returns the line of the instruction at `lasti`, an offset that a frame of this code had.
pub fn line(code: &Py<PyCode>, lasti: i32, py: Python<'_>) -> i32 {
    // SAFETY: a live code object; CPython searches its line table and returns -1 for an offset outside it.
    unsafe { ffi::PyCode_Addr2Line(code.bind(py).as_ptr().cast(), lasti) }
}

/// Frames, innermost first. Greenlets that are spawned in a loop from the same place share one stack.
pub type Stack = Arc<[FrameRef]>;

/// Captures the innermost `limit` frames of the running greenlet; returns `last` itself if it holds the same ones.
pub fn capture(py: Python<'_>, limit: usize, last: Option<Stack>) -> Stack {
    let known = last.as_deref().unwrap_or_default();
    let mut same = 0;
    let mut others = Vec::new();
    // SAFETY: the GIL is held; `PyThreadState_GetFrame` and `PyFrame_GetBack` return new references or NULL, each of which
    // is owned by `frame` until replaced; `PyFrame_GetCode` returns a new reference to a code object.
    unsafe {
        let mut frame = Bound::from_owned_ptr_or_opt(
            py,
            ffi::PyThreadState_GetFrame(ffi::PyThreadState_Get()).cast(),
        );
        while let Some(current) = frame {
            if same + others.len() == limit {
                break;
            }
            let raw = current.as_ptr().cast::<ffi::PyFrameObject>();
            let code = Bound::from_owned_ptr(py, ffi::PyFrame_GetCode(raw).cast())
                .cast_into_unchecked::<PyCode>();
            let lasti = ffi::PyFrame_GetLasti(raw);
            let is_known = |frame: &FrameRef| frame.lasti == lasti && frame.code.is(&code);
            if others.is_empty() && known.get(same).is_some_and(is_known) {
                same += 1;
            } else {
                let code = code.unbind();
                others.push(FrameRef { code, lasti });
            }
            frame = Bound::from_owned_ptr_or_opt(py, ffi::PyFrame_GetBack(raw).cast());
        }
    }
    match last {
        Some(last) if others.is_empty() && same == last.len() => last,
        _ => {
            let same = known[..same].iter().map(|frame| FrameRef {
                code: frame.code.clone_ref(py),
                lasti: frame.lasti,
            });
            same.chain(others).collect()
        }
    }
}
