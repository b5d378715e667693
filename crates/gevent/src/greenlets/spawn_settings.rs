//! The settings of every spawn: those of `gevent.config`, of which the engine has a copy, and the spawn callbacks.

use pyo3::prelude::*;

use crate::cell::GilCell;
use crate::greenlets::greenlet::Greenlet;
use crate::registered::APPLY_SPAWN_SETTINGS;

/// The settings of `gevent.config`, and the class attributes, that each spawn reads.
pub struct SpawnSettings {
    /// False until the configuration was read.
    pub(crate) is_known: bool,
    pub(crate) track_tree: bool,
    /// True if each greenlet begins with a copy of its spawner's context.
    pub(crate) inherit_context: bool,
    pub(crate) callbacks: Vec<Py<PyAny>>,
}

pub(crate) static SETTINGS: GilCell<SpawnSettings> = GilCell::in_static(SpawnSettings {
    is_known: false,
    track_tree: true,
    inherit_context: false,
    callbacks: Vec::new(),
});

/// Returns whether spawned greenlets are tracked, and whether they inherit the context.
///
/// # Errors
/// Returns the error of reading a setting, as the environment may hold a text that is no boolean.
#[inline]
pub fn spawn_settings(py: Python<'_>) -> PyResult<(bool, bool)> {
    let read = |settings: &mut SpawnSettings| {
        (
            settings.is_known,
            settings.track_tree,
            settings.inherit_context,
        )
    };
    let (is_known, tracked, inherits) = SETTINGS.with(py, read);
    if is_known {
        return Ok((tracked, inherits));
    }
    APPLY_SPAWN_SETTINGS.get(py)?.call0()?;
    SETTINGS.with(py, |settings| settings.is_known = true);
    let (_, tracked, inherits) = SETTINGS.with(py, read);
    Ok((tracked, inherits))
}

/// Returns true if there are functions to be called at every start.
#[inline]
pub fn has_spawn_callbacks(py: Python<'_>) -> bool {
    SETTINGS.with(py, |settings| !settings.callbacks.is_empty())
}

/// Calls the functions that are to be called at every start.
///
/// # Errors
/// Returns the error that a callback raises.
pub fn call_spawn_callbacks(slf: &Bound<'_, Greenlet>) -> PyResult<()> {
    let py = slf.py();
    let callbacks = SETTINGS.with(py, |settings| {
        let callbacks = settings.callbacks.iter();
        callbacks
            .map(|callback| callback.clone_ref(py))
            .collect::<Vec<_>>()
    });
    for callback in callbacks {
        callback.call1(py, (slf,))?;
    }
    Ok(())
}
