//! The Python methods of `gevent.Greenlet`.

use pyo3::PyTraverseError;
use pyo3::exceptions::{PyBaseException, PyTypeError};
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyGenericAlias, PyTraceback, PyTuple, PyType};

use crate::event_loop::loop_::{Due, Loop};
use crate::event_loop::ready::Task;
use crate::ffi::greenlet;
use crate::greenlets::completion::{exit_error, spawn_linked};
use crate::greenlets::greenlet::{Greenlet, not_callable};
use crate::greenlets::spawn_settings;
use crate::greenlets::spawn_tree::{self, SpawnFrame, tree_locals};
use crate::greenlets::spawned_link::{LinkKind, either_name};
use crate::greenlets::spawning::{do_nothing, is_plain, make, spawn_of};
use crate::greenlets::state::State;
use crate::hub;
use crate::registered::{AWAIT_GREENLET, UNLINK};
use crate::structured::context;
use crate::structured::membership::describe_group;
use crate::structured::shielded_kill::check_killed;
use crate::waiting::links::Link;
use crate::waiting::park;
use crate::waiting::waiter::error_of;

/// `(type, value, traceback)`.
type ExcInfo = (Py<PyType>, Py<PyBaseException>, Option<Py<PyTraceback>>);

impl Greenlet {
    fn label_call(slf: &Bound<'_, Self>, call: Option<String>) {
        Self::with(slf, |state| state.remember_call_text(call));
    }

    fn known_ident(slf: &Bound<'_, Self>) -> Option<Py<PyAny>> {
        Self::with(slf, |state| state.ident(slf.py()))
    }
}

#[pymethods]
impl Greenlet {
    /// The number of frames of the spawning stack that are kept.
    #[classattr]
    #[pyo3(name = "spawning_stack_limit")]
    const STACK_LIMIT: usize = 10;

    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "(run=None, *args, **kwargs)")]
    fn new(
        _args: &Bound<'_, PyTuple>,
        _kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyClassInitializer<Self> {
        Self::blank()
    }

    #[pyo3(signature = (run = None, *args, **kwargs))]
    fn __init__<'py>(
        slf: &Bound<'py, Self>,
        run: Option<Bound<'py, PyAny>>,
        args: Bound<'py, PyTuple>,
        kwargs: Option<Bound<'py, PyDict>>,
    ) -> PyResult<()> {
        Self::init(slf, run, args, kwargs)
    }

    #[classmethod]
    fn __class_getitem__<'py>(
        class: &Bound<'py, PyType>,
        item: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyGenericAlias>> {
        PyGenericAlias::new(class.py(), class, item)
    }

    /// Create a greenlet that will run ``function(*args, **kwargs)`` and schedule it.
    #[classmethod]
    #[pyo3(signature = (*args, **kwargs))]
    fn spawn<'py>(
        cls: &Bound<'py, PyType>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, Greenlet>> {
        spawn_of(cls, args, kwargs)
    }

    /// Create a greenlet that will run ``function(*args, **kwargs)`` in `seconds` seconds.
    ///
    /// Unlike a ``threading.Timer`` it does not keep the process alive. `kill` cancels it.
    ///
    /// :param seconds: The number of seconds; with 0 it runs when the caller next waits.
    /// :param args: The function and its positional arguments.
    /// :param kwargs: The keyword arguments of the function.
    /// :returns: The greenlet.
    /// :raises TypeError: The function cannot be called, or `seconds` is no number.
    #[classmethod]
    #[pyo3(signature = (seconds, *args, **kwargs))]
    fn spawn_later<'py>(
        cls: &Bound<'py, PyType>,
        seconds: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, Greenlet>> {
        if args.is_empty() && kwargs.is_none_or(|kwargs| kwargs.is_empty()) && is_plain(cls) {
            return Err(not_callable());
        }
        let new = make(cls, args, kwargs)?;
        Self::start_later(&new, seconds)?;
        Ok(new)
    }

    /// Schedule the greenlet to run in this loop iteration.
    #[pyo3(name = "start")]
    fn py_start(slf: &Bound<'_, Self>) -> PyResult<()> {
        Self::start(slf)
    }

    /// Schedule the greenlet to run in `seconds` seconds.
    fn start_later(slf: &Bound<'_, Self>, seconds: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = slf.py();
        let delay = crate::waiting::deadline::duration_of(seconds)?;
        let Some(loop_) = Self::schedule(slf)? else {
            return Ok(());
        };
        // The time is counted from the loop's turn, as for any timer. So a greenlet that is to be started without delay
        // comes ahead of those whose time passed later, while the program was busy.
        let at = loop_.get().cached_now().after(delay);
        let task = Task::Start(slf.clone().unbind());
        let key = loop_.get().set_deadline(py, at, Due::Task(Box::new(task)));
        Self::with(slf, |state| state.start_by(key));
        Ok(())
    }

    /// The context of `contextvars` that the greenlet runs in; None stands for an empty one.
    #[getter]
    fn gr_context<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>> {
        context::of(slf)
    }

    #[setter]
    fn set_gr_context(slf: &Bound<'_, Self>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        context::give(slf, value)
    }

    #[getter]
    fn _run(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        match Self::with(slf, |state| state.function(py)) {
            Some(run) => Ok(run),
            None => Ok(do_nothing(py)?.into_any().unbind()),
        }
    }

    #[setter(_run)]
    fn set_run(slf: &Bound<'_, Self>, value: Py<PyAny>) {
        drop(Self::with(slf, |state| state.set_function(value)));
    }

    /// The arguments for the function; empty once it has run.
    #[getter]
    fn args(slf: &Bound<'_, Self>) -> Py<PyTuple> {
        let py = slf.py();
        let args = Self::with(slf, |state| state.args(py));
        args.unwrap_or_else(|| PyTuple::empty(py).unbind())
    }

    /// The keyword arguments for the function; empty once it has run.
    #[getter]
    fn kwargs(slf: &Bound<'_, Self>) -> Py<PyDict> {
        let py = slf.py();
        let kwargs = Self::with(slf, |state| state.kwargs(py));
        kwargs.unwrap_or_else(|| PyDict::new(py).unbind())
    }

    /// The loop that runs the greenlet.
    #[getter]
    fn r#loop(slf: &Bound<'_, Self>) -> Option<Py<Loop>> {
        Self::own_loop(slf)
    }

    /// Return True if it is over, or was killed before it began.
    #[getter]
    fn dead(slf: &Bound<'_, Self>) -> bool {
        Self::is_ready(slf)
    }

    /// Return True if it is scheduled or has run, and is not over.
    #[getter]
    fn started(slf: &Bound<'_, Self>) -> bool {
        Self::__bool__(slf)
    }

    fn __bool__(slf: &Bound<'_, Self>) -> bool {
        Self::with(slf, |state| state.is_active())
    }

    /// Return True if it is over: its result can be had without waiting.
    fn ready(slf: &Bound<'_, Self>) -> bool {
        Self::is_ready(slf)
    }

    /// Return True if it is over without an error.
    fn successful(slf: &Bound<'_, Self>) -> bool {
        Self::with(slf, |state| state.has_succeeded())
    }

    /// The value that the function returned, or the `GreenletExit` that ended it; None before and after an error.
    #[getter]
    fn value(slf: &Bound<'_, Self>) -> Option<Py<PyAny>> {
        Self::result(slf)?.ok()
    }

    /// The exception that ended it, or None.
    #[getter]
    fn exception(slf: &Bound<'_, Self>) -> Option<Py<PyBaseException>> {
        Some(Self::result(slf)?.err()?.into_value(slf.py()))
    }

    /// ``(type, value, traceback)`` of the exception that ended it, or None.
    #[getter]
    fn exc_info(slf: &Bound<'_, Self>) -> Option<ExcInfo> {
        let py = slf.py();
        let error = Self::result(slf)?.err()?;
        let traceback = error.traceback(py).map(Bound::unbind);
        Some((error.get_type(py).unbind(), error.into_value(py), traceback))
    }

    /// A small number that is unique among the greenlets of this hub.
    #[getter]
    fn minimal_ident<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        if let Some(known) = Self::known_ident(slf) {
            return Ok(known.into_bound(py));
        }
        let hub = match greenlet::parent(slf.as_any()) {
            Some(parent) => parent,
            None => hub::current(py)?.into_any(),
        };
        let ident = hub
            .getattr(pyo3::intern!(py, "ident_registry"))?
            .call_method1(pyo3::intern!(py, "get_ident"), (slf,))?;
        let kept = ident.clone().unbind();
        drop(Self::with(slf, |state| state.remember_ident(kept)));
        Ok(ident)
    }

    /// The name for `repr`, "Greenlet-" and the ident until it is set.
    #[getter]
    fn name<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let own = slf.getattr(pyo3::intern!(slf.py(), "__dict__"))?;
        if let Ok(Some(name)) = own.cast::<PyDict>()?.get_item("name") {
            return Ok(name);
        }
        let text = format!("Greenlet-{}", Self::minimal_ident(slf)?);
        Ok(text.into_pyobject(slf.py())?.into_any())
    }

    #[setter]
    fn set_name(slf: &Bound<'_, Self>, value: Bound<'_, PyAny>) -> PyResult<()> {
        slf.getattr(pyo3::intern!(slf.py(), "__dict__"))?
            .set_item("name", value)
    }

    /// A weak reference to the greenlet that made this one, or None where the tree is not tracked.
    #[getter]
    fn spawning_greenlet(slf: &Bound<'_, Self>) -> Option<Py<PyAny>> {
        Self::with(slf, |state| state.spawner(slf.py()))
    }

    /// A dictionary shared with the greenlet that made this one and those that this one makes.
    #[getter]
    fn spawn_tree_locals(slf: &Bound<'_, Self>) -> Py<PyDict> {
        tree_locals(slf)
    }

    #[setter]
    fn set_spawn_tree_locals(slf: &Bound<'_, Self>, value: Py<PyDict>) {
        drop(Self::with(slf, |state| state.share_tree_locals(value)));
    }

    /// The innermost frame of where the greenlet was made; its `f_back` leads on.
    #[getter]
    fn spawning_stack(slf: &Bound<'_, Self>) -> PyResult<Option<Py<SpawnFrame>>> {
        spawn_tree::stack(slf)
    }

    /// Raise `exception` (`GreenletExit` unless given) in the greenlet, which then ends unless it catches the
    /// exception.
    ///
    /// With `block` (the default) it waits until the greenlet is over, at most `timeout` seconds. A greenlet that has
    /// not begun will never begin. Returns None, and raises none of the greenlet's errors; `Timeout` is raised if the
    /// greenlet is not over in time because it is in a `CancelScope` with a shield.
    #[pyo3(signature = (exception = None, block = true, timeout = None))]
    pub fn kill(
        slf: &Bound<'_, Self>,
        exception: Option<Bound<'_, PyAny>>,
        block: bool,
        timeout: Option<Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let coming = Self::kill_soon(slf, exception)?;
        if !block || Self::is_ready(slf) {
            return Ok(());
        }
        if coming {
            // The killer goes on right after the greenlet got the error, ahead of all that became ready meanwhile.
            park::yield_now(slf.py())?;
        }
        if greenlet::current(slf.py())?.is(slf) {
            // A shield puts the kill off to its end, which would never come if the greenlet waited for its own end.
            return Ok(());
        }
        // A subclass may have a `join` of its own.
        slf.call_method1(pyo3::intern!(slf.py(), "join"), (&timeout,))?;
        check_killed(slf.as_any(), timeout)
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    /// Wait for the end of the greenlet; kill it when the block or the wait raised.
    fn __exit__(
        slf: &Bound<'_, Self>,
        t: &Bound<'_, PyAny>,
        v: &Bound<'_, PyAny>,
        tb: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let _ = (t, tb);
        let kill = pyo3::intern!(slf.py(), "kill");
        if !v.is_none() {
            return slf.call_method1(kill, (v,)).map(drop);
        }
        let joined = slf.call_method0(pyo3::intern!(slf.py(), "join"));
        if joined.is_err() {
            slf.call_method0(kill)?;
        }
        joined.map(drop)
    }

    /// Raise an error in the greenlet right now. This may be called from the hub only.
    #[pyo3(signature = (*args))]
    fn throw<'py>(slf: &Bound<'py, Self>, args: Bound<'py, PyTuple>) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        let error = if args.is_empty() {
            exit_error(py)
        } else {
            error_of(&args)?
        };
        if Self::cancel_start(slf) {
            Self::die_before_start(slf, error);
            return Ok(py.None());
        }
        if Self::is_ready(slf) && !greenlet::active(slf.as_any()) {
            return Ok(py.None());
        }
        greenlet::throw(slf.as_any(), error).map(Bound::unbind)
    }

    /// Wait in a coroutine for the end of the greenlet; return its value or raise its error.
    ///
    /// When the awaiting task is cancelled the greenlet is killed, and the cancellation goes on once it has ended.
    fn __await__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        // The function is imported when first needed, as its module imports asyncio.
        AWAIT_GREENLET.get(slf.py())?.call1((slf,))
    }

    /// Have `callback` called with this greenlet, in the hub, when it is over.
    fn rawlink(slf: &Bound<'_, Self>, callback: Py<PyAny>) -> PyResult<()> {
        let bound = callback.bind(slf.py());
        if !bound.is_callable() {
            return Err(PyTypeError::new_err(format!(
                "Expected callable: {}",
                bound.repr()?
            )));
        }
        Self::add_link(slf, Link::Callable(callback));
        Ok(())
    }

    /// Have `callback` called with this greenlet, in a greenlet of its own, when it is over.
    #[pyo3(signature = (callback = None, SpawnedLink = None, *, receiver = None))]
    #[allow(non_snake_case)]
    fn link(
        slf: &Bound<'_, Self>,
        callback: Option<Bound<'_, PyAny>>,
        SpawnedLink: Option<Bound<'_, PyAny>>,
        receiver: Option<Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let callback = either_name(callback, receiver)?;
        Self::link_as(slf, callback, SpawnedLink, LinkKind::Always)
    }

    /// Like `link`, only when it ends without an error.
    #[pyo3(signature = (callback = None, SpawnedLink = None, *, receiver = None))]
    #[allow(non_snake_case)]
    fn link_value(
        slf: &Bound<'_, Self>,
        callback: Option<Bound<'_, PyAny>>,
        SpawnedLink: Option<Bound<'_, PyAny>>,
        receiver: Option<Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let callback = either_name(callback, receiver)?;
        Self::link_as(slf, callback, SpawnedLink, LinkKind::Success)
    }

    /// Like `link`, only when it ends with an error.
    #[pyo3(signature = (callback = None, SpawnedLink = None, *, receiver = None))]
    #[allow(non_snake_case)]
    fn link_exception(
        slf: &Bound<'_, Self>,
        callback: Option<Bound<'_, PyAny>>,
        SpawnedLink: Option<Bound<'_, PyAny>>,
        receiver: Option<Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let callback = either_name(callback, receiver)?;
        Self::link_as(slf, callback, SpawnedLink, LinkKind::Failure)
    }

    /// Remove a `link` or `rawlink`; nothing happens when there is none.
    #[pyo3(signature = (callback = None, *, receiver = None))]
    fn unlink(
        slf: &Bound<'_, Self>,
        callback: Option<Bound<'_, PyAny>>,
        receiver: Option<Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let py = slf.py();
        let Some(callback) = either_name(callback, receiver)? else {
            return UNLINK.get(py)?.call1((slf,)).map(drop);
        };
        for candidate in Self::with(slf, |state| state.callables(py)) {
            if candidate.bind(py).eq(&callback)? {
                let removed = Self::with(slf, |state| state.remove_callable(&candidate));
                drop(removed);
                return Ok(());
            }
        }
        Ok(())
    }

    /// Remove every link.
    fn unlink_all(slf: &Bound<'_, Self>) {
        drop(Self::with(slf, State::take_links));
    }

    /// Return how many listeners are to be notified when the greenlet is over.
    fn has_links(slf: &Bound<'_, Self>) -> bool {
        Self::with(slf, |state| state.has_links())
    }

    /// Do what `gevent.spawn_link` does, for this class.
    #[classmethod]
    #[pyo3(signature = (*args, **kwargs))]
    fn spawn_link<'py>(
        cls: &Bound<'py, PyType>,
        args: Bound<'py, PyTuple>,
        kwargs: Option<Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        spawn_linked(cls, LinkKind::Always, args, kwargs)
    }

    /// Do what `gevent.spawn_link_value` does, for this class.
    #[classmethod]
    #[pyo3(signature = (*args, **kwargs))]
    fn spawn_link_value<'py>(
        cls: &Bound<'py, PyType>,
        args: Bound<'py, PyTuple>,
        kwargs: Option<Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        spawn_linked(cls, LinkKind::Success, args, kwargs)
    }

    /// Do what `gevent.spawn_link_exception` does, for this class.
    #[classmethod]
    #[pyo3(signature = (*args, **kwargs))]
    fn spawn_link_exception<'py>(
        cls: &Bound<'py, PyType>,
        args: Bound<'py, PyTuple>,
        kwargs: Option<Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        spawn_linked(cls, LinkKind::Failure, args, kwargs)
    }

    /// Have `callback(greenlet)` called whenever a greenlet is started.
    #[classmethod]
    fn add_spawn_callback(_cls: &Bound<'_, PyType>, callback: Py<PyAny>) {
        spawn_settings::add_spawn_callback(_cls.py(), callback);
    }

    /// Undo `add_spawn_callback`; nothing happens when the callback was not added.
    #[classmethod]
    fn remove_spawn_callback(
        _cls: &Bound<'_, PyType>,
        callback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        spawn_settings::remove_spawn_callback(callback)
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let class = slf.get_type().name()?;
        let own = slf.getattr(pyo3::intern!(slf.py(), "__dict__"))?;
        let name = match own.cast::<PyDict>()?.get_item("name")? {
            Some(name) => format!(" \"{name}\""),
            None => match Self::known_ident(slf) {
                Some(ident) => format!(" \"Greenlet-{}\"", ident.bind(slf.py()).str()?),
                None => String::new(),
            },
        };
        let waits = match crate::waiting::reason::describe(slf.as_any())? {
            Some(text) => format!(" {text}"),
            None => String::new(),
        };
        Ok(format!(
            "<{class}{name} at {:#x}: {}{}{waits}>",
            slf.as_ptr() as usize,
            Self::_formatinfo(slf)?,
            describe_group(slf)?,
        ))
    }

    fn _formatinfo(slf: &Bound<'_, Self>) -> PyResult<String> {
        let known = Self::with(slf, |state| state.call_text());
        if let Some(call) = known {
            return Ok(call);
        }
        // The `repr` of an argument may show the greenlet again, as a lock shows its holder: the label ends that
        // recursion.
        Self::label_call(slf, Some("...".to_owned()));
        let call = crate::greenlets::spawned_link::describe_call(slf);
        Self::label_call(slf, call.as_ref().ok().cloned());
        call
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.visit(visit)
    }

    fn __clear__(slf: &Bound<'_, Self>) {
        drop(Self::with(slf, State::clear));
    }
}
