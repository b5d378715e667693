//! The place where a greenlet is made: the loop that is to run it, the greenlet that spawns it, and the frames of the
//! spawner.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyWeakrefReference};

use crate::event_loop::loop_::Loop;
use crate::ffi::frames::Stack;
use crate::ffi::greenlet;
use crate::greenlets::spawn_settings::spawn_settings;
use crate::greenlets::spawn_tree::{inherited_locals, spawning_stack};
use crate::hub::{self, BaseHub};

/// The things that a greenlet keeps of the place where it is made.
#[derive(Debug)]
pub struct Origin {
    /// The loop of the hub that it is made in.
    pub loop_: Py<Loop>,
    /// A weak reference to the spawner, where the tree is tracked.
    pub spawner: Option<Py<PyAny>>,
    /// The dictionary that the spawner shares with it.
    pub tree_locals: Option<Py<PyDict>>,
    /// The frames of the spawner.
    pub stack: Option<Stack>,
    /// True if it is to begin with a copy of the running context.
    pub inherits: bool,
}

impl Origin {
    /// Returns the origin of a greenlet that is made here, in `hub`. `limits` is the greenlet or its class, and has the
    /// limit of the kept stack.
    ///
    /// # Errors
    /// Returns the error that a setting, the spawner's attributes or that limit raise.
    pub fn here(hub: &Bound<'_, BaseHub>, limits: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = hub.py();
        let loop_ = hub::loop_of(hub)?.unbind();
        let (tracked, inherits) = spawn_settings(py)?;
        let (mut spawner, mut tree_locals, mut stack) = (None, None, None);
        if tracked {
            let current = greenlet::current(py)?;
            spawner = Some(PyWeakrefReference::new(&current)?.into_any().unbind());
            tree_locals = inherited_locals(&current)?;
            stack = Some(spawning_stack(limits, loop_.get())?);
        }
        Ok(Self {
            loop_,
            spawner,
            tree_locals,
            stack,
            inherits,
        })
    }
}
