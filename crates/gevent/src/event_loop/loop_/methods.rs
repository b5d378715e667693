//! The Python side of [`Loop`]: `gevent.core.loop`.

use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{SystemTime, UNIX_EPOCH};

use pyo3::PyTraverseError;
use pyo3::exceptions::PySystemError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple, PyType};
use reactor::Time;

use crate::args::from_python;
use crate::event_loop::callback::Callback;
use crate::event_loop::flags;
use crate::event_loop::loop_::Loop;
pub use crate::event_loop::loop_::run::run;
use crate::event_loop::ready::Task;
use crate::watcher::async_::Async;
use crate::watcher::child::Child;
use crate::watcher::io::Io;
use crate::watcher::phase::{Check, Fork, Idle, Prepare};
use crate::watcher::signal::Signal;
use crate::watcher::stat::Stat;
use crate::watcher::timer::Timer;
use crate::watcher::{PRIORITIES, Watcher};

impl Loop {
    fn check(&self, py: Python<'_>) -> PyResult<()> {
        self.kernel(py).map(drop)
    }

    fn schedule<'py>(
        &self,
        py: Python<'py>,
        func: Py<PyAny>,
        args: Py<PyTuple>,
    ) -> PyResult<Bound<'py, Callback>> {
        self.check(py)?;
        let callback = Bound::new(py, Callback::new(func, args))?;
        self.push(py, Task::Callback(callback.clone().unbind()));
        Ok(callback)
    }
}

#[pymethods]
impl Loop {
    #[new]
    #[pyo3(signature = (flags = None, default = None))]
    fn new(
        py: Python<'_>,
        flags: Option<&Bound<'_, PyAny>>,
        default: Option<bool>,
    ) -> PyResult<Self> {
        let flags = flags::of_loop(flags)?;
        let this = Self::create(py, default.unwrap_or(true))?;
        this.flags.store(flags, Relaxed);
        Ok(this)
    }

    /// Run the loop until `break_` is called or nothing is left to wait for.
    ///
    /// With `nowait` make one turn without waiting for events; with `once` make one turn.
    /// Raises `ValueError` if the loop is destroyed.
    #[pyo3(signature = (nowait = false, once = false), name = "run")]
    fn py_run(slf: &Bound<'_, Self>, nowait: bool, once: bool) -> PyResult<()> {
        run(slf.py(), slf, nowait, once)
    }

    /// End the innermost `run`, soon; with `how` 2, all; with 0, go on after all.
    #[pyo3(signature = (how = 1))]
    fn break_(&self, py: Python<'_>, #[pyo3(from_py_with = from_python)] how: u8) -> PyResult<()> {
        self.check(py)?;
        self.break_runs(how);
        Ok(())
    }

    /// Make the loop fit for the child process after a fork, and have the fork watchers called.
    ///
    /// A loop does so by itself when it is next used in the child.
    fn reinit(&self, py: Python<'_>) -> PyResult<()> {
        self.after_fork(py)
    }

    /// Count something that keeps the loop running, until `unref`.
    fn r#ref(&self, py: Python<'_>) -> PyResult<()> {
        self.check(py)?;
        self.count_ref(1);
        Ok(())
    }

    /// Undo a `ref`.
    fn unref(&self, py: Python<'_>) -> PyResult<()> {
        self.check(py)?;
        self.count_ref(-1);
        Ok(())
    }

    /// Stop everything and release the descriptors. Most operations raise `ValueError` afterwards.
    fn destroy(&self, py: Python<'_>) {
        self.default.store(false, Relaxed);
        self.close(py);
    }

    /// Return the time that the loop last noted, in seconds since the epoch.
    fn now(&self, py: Python<'_>) -> PyResult<f64> {
        self.check(py)?;
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let age = Time::now().since(self.cached_now());
        Ok(wall.saturating_sub(age).as_secs_f64())
    }

    /// Note the present time.
    fn update(&self, py: Python<'_>) -> PyResult<()> {
        self.check(py)?;
        self.update_time();
        Ok(())
    }

    /// The same as `update`.
    fn update_now(&self, py: Python<'_>) -> PyResult<()> {
        self.update(py)
    }

    /// Raise `ValueError` if the loop is destroyed.
    fn verify(&self, py: Python<'_>) -> PyResult<()> {
        self.check(py)
    }

    /// Return the descriptor of the epoll set; `None` once destroyed, or when another backend was asked for.
    fn fileno(&self, py: Python<'_>) -> Option<RawFd> {
        let kernel = self.kernel(py).ok()?;
        let asked = flags::backend(self.flags.load(Relaxed));
        (asked == flags::EPOLL).then(|| kernel.main.as_raw_fd())
    }

    /// Return a watcher that calls while the descriptor `fd` can be read (`events` 1), written (2) or either (3).
    #[pyo3(signature = (fd, events, r#ref = true, priority = None))]
    fn io<'py>(
        slf: &Bound<'py, Self>,
        #[pyo3(from_py_with = from_python)] fd: RawFd,
        #[pyo3(from_py_with = from_python)] events: i32,
        r#ref: bool,
        #[pyo3(from_py_with = from_python)] priority: Option<i32>,
    ) -> PyResult<Bound<'py, Io>> {
        Bound::new(
            slf.py(),
            Io::new(slf.clone().unbind(), fd, events, r#ref, priority)?,
        )
    }

    /// Return a watcher that calls after `after` seconds, then every `repeat` seconds if that is not zero.
    #[pyo3(signature = (after, repeat = 0.0, r#ref = true, priority = None))]
    fn timer<'py>(
        slf: &Bound<'py, Self>,
        #[pyo3(from_py_with = from_python)] after: f64,
        #[pyo3(from_py_with = from_python)] repeat: f64,
        r#ref: bool,
        #[pyo3(from_py_with = from_python)] priority: Option<i32>,
    ) -> PyResult<Bound<'py, Timer>> {
        Bound::new(
            slf.py(),
            Timer::new(slf.clone().unbind(), after, repeat, r#ref, priority)?,
        )
    }

    /// Return a watcher that calls after each signal `signum`.
    #[pyo3(signature = (signum, r#ref = true, priority = None))]
    fn signal<'py>(
        slf: &Bound<'py, Self>,
        #[pyo3(from_py_with = from_python)] signum: i32,
        r#ref: bool,
        #[pyo3(from_py_with = from_python)] priority: Option<i32>,
    ) -> PyResult<Bound<'py, Signal>> {
        Bound::new(
            slf.py(),
            Signal::new(slf.clone().unbind(), signum, r#ref, priority)?,
        )
    }

    /// Return a watcher that calls again and again while there is nothing else to do.
    #[pyo3(signature = (r#ref = true, priority = None))]
    fn idle<'py>(
        slf: &Bound<'py, Self>,
        r#ref: bool,
        #[pyo3(from_py_with = from_python)] priority: Option<i32>,
    ) -> PyResult<Bound<'py, Idle>> {
        Bound::new(slf.py(), Idle::new(slf.clone().unbind(), r#ref, priority))
    }

    /// Return a watcher that calls before each poll.
    #[pyo3(signature = (r#ref = true, priority = None))]
    fn prepare<'py>(
        slf: &Bound<'py, Self>,
        r#ref: bool,
        #[pyo3(from_py_with = from_python)] priority: Option<i32>,
    ) -> PyResult<Bound<'py, Prepare>> {
        Bound::new(
            slf.py(),
            Prepare::new(slf.clone().unbind(), r#ref, priority),
        )
    }

    /// Return a watcher that calls after each poll.
    #[pyo3(signature = (r#ref = true, priority = None), name = "check")]
    fn py_check<'py>(
        slf: &Bound<'py, Self>,
        r#ref: bool,
        #[pyo3(from_py_with = from_python)] priority: Option<i32>,
    ) -> PyResult<Bound<'py, Check>> {
        Bound::new(slf.py(), Check::new(slf.clone().unbind(), r#ref, priority))
    }

    /// Return a watcher that calls in the child process after a fork.
    #[pyo3(signature = (r#ref = true, priority = None))]
    fn fork<'py>(
        slf: &Bound<'py, Self>,
        r#ref: bool,
        #[pyo3(from_py_with = from_python)] priority: Option<i32>,
    ) -> PyResult<Bound<'py, Fork>> {
        Bound::new(slf.py(), Fork::new(slf.clone().unbind(), r#ref, priority))
    }

    /// Return a watcher that calls after its `send` was called, in whatever thread.
    #[pyo3(signature = (r#ref = true, priority = None))]
    fn async_<'py>(
        slf: &Bound<'py, Self>,
        r#ref: bool,
        #[pyo3(from_py_with = from_python)] priority: Option<i32>,
    ) -> PyResult<Bound<'py, Async>> {
        Bound::new(slf.py(), Async::new(slf.clone().unbind(), r#ref, priority))
    }

    /// The same as `async_`, by a name that is a keyword now.
    #[pyo3(signature = (r#ref = true, priority = None))]
    fn r#async<'py>(
        slf: &Bound<'py, Self>,
        r#ref: bool,
        #[pyo3(from_py_with = from_python)] priority: Option<i32>,
    ) -> PyResult<Bound<'py, Async>> {
        Self::async_(slf, r#ref, priority)
    }

    /// Return a watcher that calls when the child process `pid` has ended.
    #[pyo3(signature = (pid, trace = 0, r#ref = true))]
    fn child<'py>(
        slf: &Bound<'py, Self>,
        #[pyo3(from_py_with = from_python)] pid: i32,
        #[pyo3(from_py_with = from_python)] trace: i32,
        r#ref: bool,
    ) -> PyResult<Bound<'py, Child>> {
        Bound::new(
            slf.py(),
            Child::new(slf.clone().unbind(), pid, trace, r#ref),
        )
    }

    /// Return a watcher that calls when the file at `path` changes, which it checks every `interval` seconds.
    #[pyo3(signature = (path, interval = 0.0, r#ref = true, priority = None))]
    fn stat<'py>(
        slf: &Bound<'py, Self>,
        path: &Bound<'_, PyString>,
        #[pyo3(from_py_with = from_python)] interval: f64,
        r#ref: bool,
        #[pyo3(from_py_with = from_python)] priority: Option<i32>,
    ) -> PyResult<Bound<'py, Stat>> {
        Bound::new(
            slf.py(),
            Stat::new(slf.clone().unbind(), path, interval, r#ref, priority)?,
        )
    }

    /// Do nothing: watching children takes no signal handler here.
    fn install_sigchld(&self) {}

    /// Do nothing: watching children takes no signal handler here.
    fn reset_sigchld(&self) {}

    /// Have `func` called with `args` in the hub, soon. Returns an object whose `stop()` prevents that.
    #[pyo3(signature = (func, *args))]
    fn run_callback<'py>(
        &self,
        py: Python<'py>,
        func: Py<PyAny>,
        args: Py<PyTuple>,
    ) -> PyResult<Bound<'py, Callback>> {
        self.schedule(py, func, args)
    }

    /// Like `run_callback`, from any thread.
    #[pyo3(signature = (func, *args))]
    fn run_callback_threadsafe<'py>(
        &self,
        py: Python<'py>,
        func: Py<PyAny>,
        args: Py<PyTuple>,
    ) -> PyResult<Bound<'py, Callback>> {
        self.schedule(py, func, args)
    }

    /// Deal with an exception of a callback: pass it to `error_handler.handle_error` or, if there is none, print it.
    #[pyo3(signature = (context, r#type, value, tb))]
    fn handle_error(
        slf: &Bound<'_, Self>,
        context: Py<PyAny>,
        r#type: Py<PyAny>,
        value: Py<PyAny>,
        tb: Py<PyAny>,
    ) -> PyResult<()> {
        let py = slf.py();
        let args = (context, r#type, value, tb);
        match slf.get().error_handler.get_ref(py) {
            Some(handler) => handler
                .bind(py)
                .call_method1(pyo3::intern!(py, "handle_error"), args)?,
            None => slf.call_method1(pyo3::intern!(py, "_default_handle_error"), args)?,
        };
        Ok(())
    }

    #[pyo3(signature = (context, r#type, value, tb))]
    fn _default_handle_error(
        &self,
        py: Python<'_>,
        context: Py<PyAny>,
        r#type: Py<PyAny>,
        value: Py<PyAny>,
        tb: Py<PyAny>,
    ) -> PyResult<()> {
        drop(context);
        py.import("traceback")?
            .call_method1(pyo3::intern!(py, "print_exception"), (r#type, value, tb))
            .map(drop)
    }

    fn _handle_syserr(
        slf: &Bound<'_, Self>,
        message: &str,
        #[pyo3(from_py_with = from_python)] errno: i32,
    ) -> PyResult<()> {
        let error = std::io::Error::from_raw_os_error(errno);
        let value = PySystemError::new_err(format!("{message}: {error}")).into_value(slf.py());
        let none = slf.py().None();
        slf.call_method1(
            "handle_error",
            (&none, slf.py().get_type::<PySystemError>(), value, &none),
        )
        .map(drop)
    }

    /// Notify the watchers of a descriptor that is about to be closed, as if it were ready. Returns whether there are
    /// any.
    fn closing_fd(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = from_python)] fd: RawFd,
    ) -> PyResult<bool> {
        self.check(py)?;
        Ok(self.closing(py, fd))
    }

    /// Return True if this is the default loop.
    #[getter]
    fn get_default(&self) -> bool {
        self.default.load(Relaxed)
    }

    /// The name of the backend that was asked for.
    #[getter]
    fn backend(&self, py: Python<'_>) -> PyResult<&'static str> {
        self.backend_int(py).map(flags::name)
    }

    /// The number of the backend that was asked for.
    #[getter]
    fn backend_int(&self, py: Python<'_>) -> PyResult<u32> {
        self.check(py)?;
        Ok(flags::backend(self.flags.load(Relaxed)))
    }

    /// The number of polls so far.
    #[getter]
    fn iteration(&self, py: Python<'_>) -> PyResult<u64> {
        self.check(py)?;
        Ok(self.iterations.load(Relaxed))
    }

    /// A number that changes whenever the loop does something.
    #[getter]
    fn iteration_activity(&self) -> u64 {
        self.activity.load(Relaxed)
    }

    /// Always raises `AttributeError`, as in a gevent built without signalfd: signals arrive by the waker here, and not
    /// by a descriptor of their own.
    #[getter]
    fn sigfd(&self) -> PyResult<i32> {
        Err(pyo3::exceptions::PyAttributeError::new_err("sigfd"))
    }

    /// The `id()` of the greenlet that was last let run, 0 for a callback.
    #[getter]
    fn active_ident(&self) -> usize {
        self.active.load(Relaxed)
    }

    /// Return True if the loop's thread is waiting for events.
    #[getter(polling)]
    pub fn is_polling(&self) -> bool {
        self.polling.load(Relaxed)
    }

    /// The number of calls of `run` that are going on.
    #[getter]
    fn depth(&self, py: Python<'_>) -> PyResult<isize> {
        self.check(py)?;
        Ok(self.running.load(Relaxed))
    }

    /// The number of things that keep the loop running.
    #[getter]
    fn activecnt(&self, py: Python<'_>) -> PyResult<isize> {
        self.check(py)?;
        let waiting = self.sources.with(py, |sources| sources.waiting());
        let ready = self
            .queue
            .with(py, |queue| queue.len() - queue.with_priority());
        Ok(self.refs.load(Relaxed) + (waiting + ready).cast_signed())
    }

    /// The number of watchers that are about to be called.
    #[getter]
    fn pendingcnt(&self, py: Python<'_>) -> PyResult<usize> {
        self.check(py)?;
        Ok(self.queue.with(py, |queue| queue.with_priority()))
    }

    /// The names of the flags that the loop was created with.
    #[getter]
    fn origflags<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, pyo3::types::PyList>> {
        flags::_flags_to_list(py, self.origflags_int(py)?)
    }

    /// The flags that the loop was created with.
    #[getter]
    fn origflags_int(&self, py: Python<'_>) -> PyResult<u32> {
        self.check(py)?;
        Ok(self.flags.load(Relaxed))
    }

    /// Always 0: signals do not wait for the loop's turn to be noticed.
    #[getter]
    fn sig_pending(&self, py: Python<'_>) -> PyResult<u32> {
        self.check(py).map(|()| 0)
    }

    /// A number that no other living loop has, 0 once destroyed.
    #[getter]
    fn ptr(slf: &Bound<'_, Self>) -> usize {
        if slf.get().is_destroyed(slf.py()) {
            0
        } else {
            slf.as_ptr() as usize
        }
    }

    /// The resolution of timers, in seconds.
    #[classattr]
    fn approx_timer_resolution() -> f64 {
        1e-5
    }

    #[classattr]
    #[pyo3(name = "MAXPRI")]
    fn max_priority() -> i32 {
        *PRIORITIES.end()
    }

    #[classattr]
    #[pyo3(name = "MINPRI")]
    fn min_priority() -> i32 {
        *PRIORITIES.start()
    }

    #[classattr]
    #[pyo3(name = "WatcherType")]
    fn watcher_type(py: Python<'_>) -> Py<PyType> {
        py.get_type::<Watcher>().unbind()
    }

    /// The object whose `handle_error` gets the exceptions of callbacks, or `None`.
    #[getter(error_handler)]
    fn get_error_handler(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.error_handler.get_ref(py)
    }

    #[setter(error_handler)]
    fn set_error_handler(&self, py: Python<'_>, value: Option<Py<PyAny>>) {
        let old = self.error_handler.replace(py, value);
        drop(old);
    }

    fn _format(&self, py: Python<'_>) -> String {
        if self.kernel(py).is_err() {
            return "destroyed".to_owned();
        }
        let fileno = match self.fileno(py) {
            Some(number) => format!(" fileno={number}"),
            None => String::new(),
        };
        let describe = || -> PyResult<String> {
            let default = if self.get_default() { " default" } else { "" };
            Ok(format!(
                "{}{default} pending={} ref={}{fileno}",
                self.backend(py)?,
                self.pendingcnt(py)?,
                self.activecnt(py)?,
            ))
        };
        describe().unwrap_or_default()
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let name = slf.get_type().name()?;
        Ok(format!(
            "<{name} at {:#x} {}>",
            slf.as_ptr() as usize,
            slf.get()._format(slf.py())
        ))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.visit(visit)
    }

    fn __clear__(&self, py: Python<'_>) {
        let handler = self.error_handler.take(py);
        drop(handler);
    }
}
