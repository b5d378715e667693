//! The settings of every spawn: those of `gevent.config`, of which the engine has a copy, and the spawn callbacks.

use pyo3::prelude::*;

use crate::cell::GilCell;
use crate::greenlets::greenlet::Greenlet;
use crate::registered::APPLY_SPAWN_SETTINGS;

/// The settings of `gevent.config`, and the class attributes, that each spawn reads.
struct SpawnSettings {
    /// False until the configuration was read.
    is_known: bool,
    track_tree: bool,
    /// True if each greenlet begins with a copy of its spawner's context.
    inherit_context: bool,
    callbacks: Vec<Py<PyAny>>,
}

static SETTINGS: GilCell<SpawnSettings> = GilCell::in_static(SpawnSettings {
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

/// Notes whether greenlets remember their spawner and the place where they were spawned.
pub fn track_tree(py: Python<'_>, value: bool) {
    SETTINGS.with(py, |settings| settings.track_tree = value);
}

/// Notes whether every spawned greenlet begins with a copy of its spawner's context.
pub fn inherit_context(py: Python<'_>, value: bool) {
    SETTINGS.with(py, |settings| settings.inherit_context = value);
}

/// Returns true if every spawned greenlet begins with a copy of its spawner's context.
pub fn all_inherit_context(py: Python<'_>) -> bool {
    SETTINGS.with(py, |settings| settings.inherit_context)
}

/// Adds a function that is to be called at every start, unless it was added before.
pub fn add_spawn_callback(py: Python<'_>, callback: Py<PyAny>) {
    let refused = SETTINGS.with(py, |settings| {
        if settings.callbacks.iter().any(|other| other.is(&callback)) {
            return Some(callback);
        }
        settings.callbacks.push(callback);
        None
    });
    drop(refused);
}

/// Removes the functions that are equal to `callback`.
///
/// # Errors
/// Returns the error of a comparison.
pub fn remove_spawn_callback(callback: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = callback.py();
    for one in spawn_callbacks(py) {
        if one.bind(py).eq(callback)? {
            let removed = SETTINGS.with(py, |settings| {
                let at = settings.callbacks.iter().position(|other| other.is(&one));
                at.map(|at| settings.callbacks.remove(at))
            });
            drop(removed);
        }
    }
    Ok(())
}

fn spawn_callbacks(py: Python<'_>) -> Vec<Py<PyAny>> {
    SETTINGS.with(py, |settings| {
        let callbacks = settings.callbacks.iter();
        callbacks.map(|callback| callback.clone_ref(py)).collect()
    })
}

/// Calls the functions that are to be called at every start.
///
/// # Errors
/// Returns the error that a callback raises.
pub fn call_spawn_callbacks(slf: &Bound<'_, Greenlet>) -> PyResult<()> {
    let py = slf.py();
    for callback in spawn_callbacks(py) {
        callback.call1(py, (slf,))?;
    }
    Ok(())
}
