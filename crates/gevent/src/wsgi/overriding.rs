//! The steps of handling a connection, and the detection of those that a subclass of `WSGIHandler` overrides.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyString, PyType};

use crate::cell::GilCell;
use crate::ffi::attribute;

macro_rules! steps {
    ($($step:ident = $name:literal,)*) => {
        /// A method that other methods call, and that a subclass may override.
        #[allow(missing_docs, reason = "each is named after its method")]
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Step {
            $($step,)*
        }

        const STEPS: &[Step] = &[$(Step::$step,)*];
        const NAMES: &[&str] = &[$($name,)*];
    };
}

steps! {
    Handle = "handle",
    HandleOneRequest = "handle_one_request",
    ReadRequestline = "read_requestline",
    ReadRequest = "read_request",
    MessageClass = "MessageClass",
    CheckHttpVersion = "_check_http_version",
    GetEnviron = "get_environ",
    Headers = "_headers",
    ConnectionUpgradeRequested = "_connection_upgrade_requested",
    HandleOneResponse = "handle_one_response",
    RunApplication = "run_application",
    ProcessResult = "process_result",
    Write = "write",
    WriteWithHeaders = "_write_with_headers",
    WriteBody = "_write",
    FinalizeHeaders = "finalize_headers",
    Sendall = "_sendall",
    StartResponse = "start_response",
    LogRequest = "log_request",
    FormatRequest = "format_request",
    LogErrorText = "log_error",
    HandleError = "handle_error",
    LogError = "_log_error",
    HandleClientError = "_handle_client_error",
    SendErrorResponse = "_send_error_response_if_possible",
}

/// A set of steps.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Steps(u32);

impl Steps {
    /// Returns the set of these steps.
    pub const fn of(steps: &[Step]) -> Self {
        let mut bits = 0;
        let mut at = 0;
        while at < steps.len() {
            bits |= 1 << steps[at] as u32;
            at += 1;
        }
        Self(bits)
    }

    /// Returns true if the sets have a step in common.
    #[inline]
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

struct Base {
    names: Vec<Py<PyString>>,
    methods: Vec<Py<PyAny>>,
}

static BASE: PyOnceLock<Base> = PyOnceLock::new();

/// The classes that were examined last, with their versions and the steps that they override.
static KNOWN: GilCell<Vec<(Py<PyType>, u32, Steps)>> = GilCell::in_static(Vec::new());
const MOST: usize = 16;

/// Records the methods of the base class, with which those of subclasses are compared.
///
/// # Errors
/// Fails when the class lacks one.
pub fn install(class: &Bound<'_, PyType>) -> PyResult<()> {
    let py = class.py();
    let names: Vec<_> = NAMES
        .iter()
        .map(|name| PyString::intern(py, name).unbind())
        .collect();
    let methods = names
        .iter()
        .map(|name| class.getattr(name).map(Bound::unbind))
        .collect::<PyResult<_>>()?;
    let _ = BASE.set(py, Base { names, methods });
    Ok(())
}

fn base(py: Python<'_>) -> &Base {
    BASE.get(py)
        .expect("the table is made when the module is imported")
}

impl Step {
    /// Returns the name of the method.
    #[inline]
    pub fn name(self, py: Python<'_>) -> &Bound<'_, PyString> {
        base(py).names[self as usize].bind(py)
    }
}

/// Returns the steps that `class` overrides.
///
/// # Errors
/// Returns the error that looking a method up raises.
fn overridden_by(class: &Bound<'_, PyType>) -> PyResult<Steps> {
    let py = class.py();
    let version = attribute::version(class);
    let known = KNOWN.with(py, |known| {
        known
            .iter()
            .find(|(other, at, _)| other.is(class) && Some(*at) == version)
            .map(|(_, _, steps)| *steps)
    });
    if let Some(steps) = known {
        return Ok(steps);
    }
    let mut steps = Steps::default();
    for (step, ours) in STEPS.iter().zip(&base(py).methods) {
        if !class.getattr(step.name(py))?.is(ours) {
            steps.0 |= 1 << *step as u32;
        }
    }
    // Looking them up gave the class a version, if it had none.
    if let Some(version) = attribute::version(class) {
        let entry = (class.clone().unbind(), version, steps);
        let dropped = KNOWN.with(py, |known| {
            let place = known.iter().position(|(other, ..)| other.is(class));
            let old = match place {
                Some(place) => Some(known.swap_remove(place)),
                None if known.len() == MOST => Some(known.remove(0)),
                None => None,
            };
            known.push(entry);
            old
        });
        drop(dropped);
    }
    Ok(steps)
}

/// Returns the steps that are overridden for a handler now: by its class, or by an attribute of its own.
///
/// # Errors
/// Returns the error that looking a method up raises.
#[inline]
pub fn overridden(handler: &Bound<'_, PyAny>) -> PyResult<Steps> {
    let mut steps = overridden_by(&handler.get_type())?;
    if let Some(own) = attribute::own(handler)
        && !own.is_empty()
    {
        let py = handler.py();
        for step in STEPS {
            if own.contains(step.name(py))? {
                steps.0 |= 1 << *step as u32;
            }
        }
    }
    Ok(steps)
}
