//! asyncio's handles, made and run without calls of their Python methods.

use pyo3::exceptions::PyAttributeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyTuple, PyType};

use crate::ffi::context;
use crate::ffi::slots::{Slot, Slotted, SlottedClass};

/// The classes `Handle` and `TimerHandle` of asyncio, and the offsets of their fields.
pub struct Handles {
    handle: SlottedClass,
    timer: SlottedClass,
    callback: Slot,
    args: Slot,
    cancelled: Slot,
    loop_: Slot,
    traceback: Slot,
    text: Slot,
    context: Slot,
    scheduled: Slot,
    when: Slot,
}

static HANDLES: PyOnceLock<Handles> = PyOnceLock::new();

impl Handles {
    /// Returns the classes of this interpreter.
    ///
    /// # Errors
    /// Fails when asyncio cannot be imported, or has handles of another layout.
    #[inline]
    pub fn get(py: Python<'_>) -> PyResult<&'static Self> {
        match HANDLES.get(py) {
            Some(handles) => Ok(handles),
            None => HANDLES.get_or_try_init(py, || Self::load(py)),
        }
    }

    #[cold]
    fn load(py: Python<'_>) -> PyResult<Self> {
        let events = py.import("asyncio.events")?;
        let class = |name| -> PyResult<SlottedClass> {
            let class = events.getattr(name)?;
            Ok(SlottedClass::new(class.cast_into::<PyType>()?))
        };
        let (handle, timer) = (class("Handle")?, class("TimerHandle")?);
        Ok(Self {
            callback: handle.slot(py, "_callback")?,
            args: handle.slot(py, "_args")?,
            cancelled: handle.slot(py, "_cancelled")?,
            loop_: handle.slot(py, "_loop")?,
            traceback: handle.slot(py, "_source_traceback")?,
            text: handle.slot(py, "_repr")?,
            context: handle.slot(py, "_context")?,
            scheduled: timer.slot(py, "_scheduled")?,
            when: timer.slot(py, "_when")?,
            handle,
            timer,
        })
    }

    fn fill<'py>(
        &self,
        made: &Slotted<'py>,
        loop_: &Bound<'py, PyAny>,
        call: Call<'py>,
    ) -> PyResult<()> {
        let py = loop_.py();
        let context = match call.context {
            Some(context) => context,
            None => context::copy_current(py)?,
        };
        made.set(self.callback, call.callback);
        made.set(self.args, call.args.into_any());
        made.set(self.cancelled, PyBool::new(py, false).to_owned().into_any());
        made.set(self.loop_, loop_.clone());
        made.set(self.traceback, py.None().into_bound(py));
        made.set(self.text, py.None().into_bound(py));
        made.set(self.context, context);
        Ok(())
    }

    /// Makes a handle for `call`, out of a spare one that was [`emptied`](Self::emptied) where there is one.
    ///
    /// # Errors
    /// `MemoryError`.
    #[inline]
    pub fn handle<'py>(
        &self,
        loop_: &Bound<'py, PyAny>,
        call: Call<'py>,
        spare: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = loop_.py();
        let spare = spare.and_then(|spare| self.handle.fields(spare.into_bound(py)).ok());
        let made = match spare {
            Some(made) => made,
            None => self.handle.allocate(py)?,
        };
        self.fill(&made, loop_, call)?;
        Ok(made.into_object())
    }

    /// Makes a handle for `call` at the time `when`, which counts as scheduled.
    ///
    /// # Errors
    /// `MemoryError`.
    pub fn timer<'py>(
        &self,
        loop_: &Bound<'py, PyAny>,
        when: Bound<'py, PyAny>,
        call: Call<'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = loop_.py();
        let made = self.timer.allocate(py)?;
        self.fill(&made, loop_, call)?;
        made.set(self.when, when);
        made.set(self.scheduled, PyBool::new(py, true).to_owned().into_any());
        Ok(made.into_object())
    }

    /// Empties the handle and returns it, if the caller has the only reference to it.
    #[inline]
    pub fn emptied<'py>(&self, handle: Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
        let fields = self.handle.fields(handle).ok()?;
        if !self.handle.is_unshared(&fields) {
            return None;
        }
        for slot in [self.callback, self.args, self.context, self.loop_] {
            fields.unset(slot);
        }
        // The release of the fields may have run code that found the handle.
        self.handle
            .is_unshared(&fields)
            .then(|| fields.into_object())
    }

    fn fields<'py>(&self, handle: Bound<'py, PyAny>) -> Result<Slotted<'py>, Bound<'py, PyAny>> {
        let other = match self.handle.fields(handle) {
            Ok(fields) => return Ok(fields),
            Err(other) => other,
        };
        self.timer.fields(other)
    }

    /// Returns the call that a handle is to make; none for one that was cancelled. A handle of another class is given
    /// back.
    ///
    /// # Errors
    /// Returns the handle itself if it is of another class.
    #[inline]
    pub fn call_of<'py>(
        &self,
        handle: Bound<'py, PyAny>,
    ) -> Result<Option<Call<'py>>, Bound<'py, PyAny>> {
        let fields = self.fields(handle)?;
        let py = fields.object().py();
        if !fields.holds(
            self.cancelled,
            PyBool::new(py, false).as_any().as_borrowed(),
        ) {
            return Ok(None);
        }
        let parts = (
            fields.get(self.callback),
            fields.get(self.args),
            fields.get(self.context),
        );
        match parts {
            (Some(callback), Some(args), context @ Some(_)) => match args.cast_into::<PyTuple>() {
                Ok(args) => Ok(Some(Call {
                    callback,
                    args,
                    context,
                })),
                Err(_) => Err(fields.into_object()),
            },
            _ => Err(fields.into_object()),
        }
    }

    /// Returns true if a handle was cancelled.
    ///
    /// # Errors
    /// `AttributeError` for an object that is no handle.
    pub fn is_cancelled(&self, handle: &Bound<'_, PyAny>) -> PyResult<bool> {
        let py = handle.py();
        match self.fields(handle.clone()) {
            Ok(fields) => Ok(!fields.holds(
                self.cancelled,
                PyBool::new(py, false).as_any().as_borrowed(),
            )),
            Err(other) => other.getattr(intern!(py, "_cancelled"))?.is_truthy(),
        }
    }

    /// Returns the time of a timer's handle.
    ///
    /// # Errors
    /// `AttributeError` for an object that is no such handle, `TypeError` for a time that is no number.
    #[inline]
    pub fn when(&self, handle: &Bound<'_, PyAny>) -> PyResult<f64> {
        let py = handle.py();
        match self.timer.fields(handle.clone()) {
            Ok(fields) => fields
                .get(self.when)
                .ok_or_else(|| PyAttributeError::new_err("_when"))?
                .extract(),
            Err(other) => other.getattr(intern!(py, "_when"))?.extract(),
        }
    }

    /// Notes that a timer's handle is no longer scheduled.
    ///
    /// # Errors
    /// Fails when the attribute cannot be set.
    pub fn unschedule(&self, handle: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = handle.py();
        let no = PyBool::new(py, false).to_owned().into_any();
        match self.timer.fields(handle.clone()) {
            Ok(fields) => {
                fields.set(self.scheduled, no);
                Ok(())
            }
            Err(other) => other.setattr(intern!(py, "_scheduled"), no),
        }
    }
}

/// The call that a handle makes.
pub struct Call<'py> {
    /// The function.
    pub callback: Bound<'py, PyAny>,
    /// Its arguments.
    pub args: Bound<'py, PyTuple>,
    /// The context to call it in; none for a copy of the current one.
    pub context: Option<Bound<'py, PyAny>>,
}

impl Call<'_> {
    /// Calls the function in its context.
    ///
    /// # Errors
    /// Returns the error that the function raises, and `RuntimeError` when the context is entered already.
    #[inline]
    pub fn run(&self) -> PyResult<()> {
        let call = || self.callback.call1(&self.args).map(drop);
        match &self.context {
            Some(context) => context::run_in(context, call),
            None => call(),
        }
    }
}
