//! `sleep`, `idle`, and the small functions of the `gevent` module that spawn and kill.

use std::ffi::CStr;
use std::time::Duration;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFloat, PyInt, PyTuple};

use crate::args::from_python;
use crate::errors::errno_error;
use crate::event_loop::ready::Task;
use crate::ffi::base::{PyGreenlet, as_greenlet};
use crate::ffi::blocking::{Blocking, FastPath, First, Step};
use crate::ffi::greenlet;
use crate::greenlets::completion::exit_error;
use crate::greenlets::greenlet::Greenlet;
use crate::greenlets::spawn_settings::{self, spawn_settings};
use crate::greenlets::spawning::spawn_of;
use crate::hub;
use crate::structured::context;
use crate::waiting::deadline::{Deadline, duration};
use crate::waiting::park::{self, Yielded};
use crate::waiting::reason::{self, Reason, WaitKind};
use crate::waiting::wait::Wait;

/// `gevent.sleep`.
pub struct Sleep;

impl Blocking for Sleep {
    type Owner = PyModule;
    const NAME: &'static CStr = c"sleep";
    const DOC: &'static CStr = c"sleep(seconds=0, ref=True)\n--\n\n\
Put the running greenlet to sleep; other greenlets run meanwhile.\n\n\
Unlike ``time.sleep``, only this greenlet sleeps, and 0 or less is no error.\n\n\
:param seconds: The least number of seconds to sleep; with 0 or less, the greenlets that are ready run first.\n\
:param ref: With False the sleep alone does not keep the loop running.\n\
:raises TypeError: `seconds` is no number.\n\n\
Example::\n\n    while not done():\n        gevent.sleep(0.1)";
    const PARAMETERS: &'static [&'static str] = &["seconds", "ref"];

    fn fast_path(module: &Bound<'_, PyModule>, arguments: &[Borrowed<'_, '_, PyAny>]) -> FastPath {
        let py = module.py();
        let yields = match arguments {
            [] => true,
            [seconds] => seconds
                .cast_exact::<PyInt>()
                .is_ok_and(|seconds| seconds.extract::<i64>().is_ok_and(|seconds| seconds == 0)),
            _ => false,
        };
        match yields {
            false => FastPath::Incomplete(0),
            true if park::yields_to_nobody(py) => FastPath::Done(py.None()),
            true => FastPath::Incomplete(YIELDS),
        }
    }

    fn begin_after(
        module: &Bound<'_, PyModule>,
        arguments: &[Option<Bound<'_, PyAny>>],
        done: usize,
    ) -> PyResult<First> {
        match done {
            YIELDS => yield_first(module.py()),
            _ => Self::begin(module, arguments),
        }
    }

    fn begin(
        module: &Bound<'_, PyModule>,
        arguments: &[Option<Bound<'_, PyAny>>],
    ) -> PyResult<First> {
        let py = module.py();
        let Some(delay) = delay_of(arguments[0].as_ref())? else {
            return yield_first(py);
        };
        let counted = arguments[1]
            .as_ref()
            .map_or(Ok(true), PyAnyMethods::is_truthy)?;
        let reason = Reason::only(WaitKind::Sleep);
        let wait = Wait::of_for(
            greenlet::current(py)?.unbind(),
            hub::current_loop(py)?,
            reason,
        );
        wait.expire_after(py, delay, counted);
        Ok(Step::Park(wait).into())
    }
}

/// The fast path of `sleep` returns this where it found that the call is a yield and that others may be ready.
const YIELDS: usize = 1;

fn yield_first(py: Python<'_>) -> PyResult<First> {
    Ok(match park::queue_up(py)? {
        Yielded::Alone => Step::Done(py.None()).into(),
        Yielded::Turn(turn, next) => First::Yield(turn, next),
        Yielded::Wait(wait) => Step::Park(wait).into(),
    })
}

/// Returns the time to sleep; none for a mere yield, which a negative number asks for too, unless the setting `compat`
/// is on.
fn delay_of(seconds: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Duration>> {
    let Some(seconds) = seconds else {
        return Ok(None);
    };
    let delay = match seconds.cast_exact::<PyFloat>() {
        Ok(float) => float.value(),
        Err(_) => match seconds.cast_exact::<PyInt>() {
            Ok(whole) => match whole.extract::<i64>() {
                Ok(whole) => whole as f64,
                Err(_) if whole.lt(0)? => -1.0,
                Err(_) => f64::INFINITY,
            },
            Err(_) if seconds.le(0)? && !crate::compat::is_on(seconds.py())? => return Ok(None),
            Err(_) => seconds.extract()?,
        },
    };
    if delay < 0.0 && crate::compat::is_on(seconds.py())? {
        return Err(errno_error(libc::EINVAL));
    }
    if delay.is_nan() {
        return Err(PyValueError::new_err("cannot sleep for nan seconds"));
    }
    Ok((delay > 0.0).then(|| duration(delay)))
}

/// Wait until the loop has nothing else of `priority` or higher to do.
///
/// :param priority: From -2 to 2; the idle watchers of a higher one come first.
#[pyfunction]
#[pyo3(signature = (priority = 0))]
pub fn idle(py: Python<'_>, #[pyo3(from_py_with = from_python)] priority: i32) -> PyResult<()> {
    let hub = hub::current(py)?;
    let kwargs = PyDict::new(py);
    let watcher = hub
        .getattr(pyo3::intern!(py, "loop"))?
        .getattr(pyo3::intern!(py, "idle"))?;
    if priority != 0 {
        kwargs.set_item("priority", priority)?;
    }
    let watcher = watcher.call((), Some(&kwargs))?;
    hub.call_method1(pyo3::intern!(py, "wait"), (watcher,))
        .map(drop)
}

/// Create a `Greenlet` that runs ``function(*args, **kwargs)``, and schedule it.
///
/// It runs when the caller next waits. An error ends it alone: it is printed, and kept for `Greenlet.get`. Unlike a
/// ``threading.Thread`` it is started already, keeps what the function returns, and does not keep the process alive.
///
/// :param args: The function and its positional arguments; with none, it does nothing and its value is ``None``.
/// :param kwargs: The keyword arguments of the function.
/// :returns: The greenlet.
/// :raises TypeError: The function cannot be called.
///
/// Example::
///
///     job = gevent.spawn(socket.gethostbyname, "localhost")
///     print(job.get(timeout=2))
#[pyfunction]
#[pyo3(signature = (*args, **kwargs))]
pub fn spawn<'py>(
    py: Python<'py>,
    args: &Bound<'py, PyTuple>,
    kwargs: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, Greenlet>> {
    spawn_of(&py.get_type::<Greenlet>(), args, kwargs)
}

/// The class of the greenlets that `spawn_raw` makes. Their `repr` shows what they wait for, and where the tree of
/// spawns is tracked, they know the greenlet that made them.
#[pyclass(frozen, subclass, extends = PyGreenlet, name = "TrackedRawGreenlet", module = "gevent")]
#[derive(Debug)]
pub struct TrackedRawGreenlet;

#[pymethods]
impl TrackedRawGreenlet {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(
        _args: &Bound<'_, PyTuple>,
        _kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyClassInitializer<Self> {
        PyClassInitializer::new(Self, as_greenlet())
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let py = slf.py();
        let own = py
            .get_type::<PyGreenlet>()
            .getattr(pyo3::intern!(py, "__repr__"))?
            .call1((slf,))?
            .extract::<String>()?;
        Ok(match reason::describe(slf.as_any())? {
            Some(wait) => format!("{} {wait}>", own.strip_suffix('>').unwrap_or(&own)),
            None => own,
        })
    }
}

/// Create a raw greenlet that runs ``function(*args, **kwargs)`` and schedule it: no result, no links, no `join`.
#[pyfunction]
#[pyo3(signature = (function, *args, **kwargs))]
pub fn spawn_raw<'py>(
    py: Python<'py>,
    function: Bound<'py, PyAny>,
    args: Bound<'py, PyTuple>,
    kwargs: Option<Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    if !function.is_callable() {
        return Err(PyTypeError::new_err("function must be callable"));
    }
    let hub = hub::current(py)?;
    let loop_ = hub::loop_of(&hub)?;
    let function = match kwargs {
        Some(kwargs) => {
            let partial = py.import("functools")?.getattr("partial")?;
            partial.call((function,), Some(&kwargs))?
        }
        None => function,
    };
    let (tracked, inherits) = spawn_settings(py)?;
    let new = py
        .get_type::<TrackedRawGreenlet>()
        .call1((function, &hub))?;
    new.setattr(pyo3::intern!(py, "loop"), &loop_)?;
    if tracked {
        let spawner = greenlet::current(py)?;
        new.setattr(
            "spawning_greenlet",
            pyo3::types::PyWeakrefReference::new(&spawner)?,
        )?;
        let locals = match spawner.getattr_opt(pyo3::intern!(py, "spawn_tree_locals"))? {
            Some(locals) => locals,
            None => {
                let locals = PyDict::new(py).into_any();
                if !greenlet::is_main(&spawner) {
                    spawner.setattr(pyo3::intern!(py, "spawn_tree_locals"), &locals)?;
                }
                locals
            }
        };
        new.setattr(pyo3::intern!(py, "spawn_tree_locals"), locals)?;
    }
    if inherits {
        context::inherit_at_once(&new)?;
    }
    loop_
        .get()
        .push(py, Task::Switch(new.clone().unbind(), args.unbind()));
    Ok(new)
}

/// Raise `exception` (`GreenletExit` unless given) in `greenlet`, soon, and do not wait for its end.
///
/// :param greenlet: A greenlet, raw or not. One that is over is left alone.
/// :param exception: A class or an exception.
#[pyfunction]
#[pyo3(signature = (greenlet, exception = None))]
pub fn kill(
    py: Python<'_>,
    greenlet: &Bound<'_, PyAny>,
    exception: Option<Bound<'_, PyAny>>,
) -> PyResult<()> {
    kill_soon(py, greenlet, exception).map(drop)
}

/// Does what `kill` does; returns true if the error is now the last thing in this thread's ready queue.
fn kill_soon(
    py: Python<'_>,
    greenlet: &Bound<'_, PyAny>,
    exception: Option<Bound<'_, PyAny>>,
) -> PyResult<bool> {
    if greenlet.getattr(pyo3::intern!(py, "dead"))?.is_truthy()? {
        return Ok(false);
    }
    if let Ok(ours) = greenlet.cast::<Greenlet>() {
        return Greenlet::kill_soon(ours, exception);
    }
    // The target of a switch must be a greenlet.
    let target = greenlet.cast::<PyGreenlet>()?;
    let error = match exception {
        Some(exception) => crate::waiting::waiter::error_of(&PyTuple::new(py, [exception])?)?,
        None => exit_error(py),
    };
    let loop_ = hub::current_loop(py)?;
    loop_.get().push(
        py,
        Task::Throw(Box::new((target.as_any().clone().unbind(), error))),
    );
    Ok(true)
}

/// Waits for the greenlets one after the other; they run meanwhile in any order. Returns false when the deadline passed.
fn join_each(greenlets: &[Bound<'_, Greenlet>], mut deadline: Deadline) -> PyResult<bool> {
    for greenlet in greenlets {
        if !Greenlet::wait_over(greenlet, &mut deadline)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Wait for every greenlet of a list of `Greenlet`s; see `gevent.joinall`, which falls back on `iwait` for anything else.
#[pyfunction]
#[pyo3(signature = (greenlets, timeout = None))]
pub fn join_greenlets<'py>(
    #[pyo3(from_py_with = from_python)] greenlets: Vec<Bound<'py, Greenlet>>,
    timeout: Option<Bound<'py, PyAny>>,
) -> PyResult<Vec<Bound<'py, Greenlet>>> {
    let (mut done, waiting): (Vec<_>, Vec<_>) = greenlets.into_iter().partition(Greenlet::is_ready);
    join_each(&waiting, Deadline::of(timeout.as_ref())?)?;
    let mut late: Vec<_> = waiting.into_iter().filter(Greenlet::is_ready).collect();
    late.sort_by_key(Greenlet::end_order);
    done.extend(late);
    Ok(done)
}

/// Raise an error in every greenlet of a list, soon; return whether this thread has to let others run for that.
#[pyfunction]
#[pyo3(signature = (greenlets, exception = None))]
pub fn kill_greenlets(
    py: Python<'_>,
    #[pyo3(from_py_with = from_python)] greenlets: Vec<Bound<'_, PyAny>>,
    exception: Option<Bound<'_, PyAny>>,
) -> PyResult<bool> {
    let mut coming = false;
    for greenlet in &greenlets {
        coming |= kill_soon(py, greenlet, exception.clone())?;
    }
    Ok(coming)
}

/// Set whether greenlets remember which greenlet spawned them, and where.
#[pyfunction]
pub fn set_track_greenlet_tree(py: Python<'_>, value: bool) {
    spawn_settings::track_tree(py, value);
}

/// Return how long, in seconds, ready greenlets may run before descriptors and deadlines are polled.
#[pyfunction]
pub fn getswitchinterval(py: Python<'_>) -> PyResult<f64> {
    let loop_ = hub::current_loop(py)?;
    Ok(loop_.get().switch_interval(py).as_secs_f64())
}

/// Set how long, in seconds, ready greenlets may run before descriptors and deadlines are polled.
#[pyfunction]
pub fn setswitchinterval(
    py: Python<'_>,
    #[pyo3(from_py_with = from_python)] interval: f64,
) -> PyResult<()> {
    if interval.is_nan() || interval <= 0.0 {
        return Err(PyValueError::new_err(
            "switch interval must be strictly positive",
        ));
    }
    let interval = duration(interval);
    hub::current_loop(py)?.get().poll_within(py, interval);
    Ok(())
}
