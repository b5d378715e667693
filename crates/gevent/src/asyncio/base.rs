//! `AsyncioLoop`, the base class of `gevent.aio.EventLoop`: it does the work that asyncio's own loop does in Python for
//! each callback and timer.

use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool, AtomicI32, AtomicI64, AtomicU32, AtomicU64, Ordering::Relaxed,
};

use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyList, PyTuple};
use reactor::Direction;
use slab::Slab;

use crate::args::from_python;
use crate::asyncio::datagram::DatagramTransport;
use crate::asyncio::descriptor::{self, DescriptorFuture};
use crate::asyncio::handle::{Call, Handles};
use crate::asyncio::mailbox::{Mailbox, Ready, ReadyView};
use crate::asyncio::registration::Registration;
use crate::asyncio::selector::{self, SelectorWatch};
use crate::asyncio::stream::StreamTransport;
use crate::asyncio::{scheduled, turn};
use crate::cell::{GilCell, Made};
use crate::event_loop::loop_::Loop;
use crate::hub;

/// An object whose descriptor is registered for a loop.
#[derive(Debug)]
pub enum Io {
    /// A transport of a stream socket.
    Stream(Py<StreamTransport>),
    /// A transport of a datagram socket.
    Datagram(Py<DatagramTransport>),
    /// A future that waits for a descriptor of the program.
    Future(DescriptorFuture),
}

impl Io {
    /// Returns another reference to the object.
    pub fn clone_ref(&self, py: Python<'_>) -> Self {
        match self {
            Self::Stream(stream) => Self::Stream(stream.clone_ref(py)),
            Self::Datagram(datagram) => Self::Datagram(datagram.clone_ref(py)),
            Self::Future(waiting) => Self::Future(waiting.clone_ref(py)),
        }
    }

    /// Returns its registration, unless it is closed.
    pub fn registration(&self, py: Python<'_>) -> Option<Arc<Registration>> {
        match self {
            Self::Stream(stream) => stream.bind(py).as_super().get().registration(py),
            Self::Datagram(datagram) => datagram.bind(py).as_super().get().registration(py),
            Self::Future(_) => None,
        }
    }

    /// Returns the object itself, or the future of a descriptor.
    pub fn as_any(&self) -> &Py<PyAny> {
        match self {
            Self::Stream(stream) => stream.as_any(),
            Self::Datagram(datagram) => datagram.as_any(),
            Self::Future(waiting) => &waiting.future,
        }
    }
}

/// The ready queue, timers and turns of an event loop of asyncio that shares its thread with greenlets.
#[pyclass(frozen, subclass, module = "gevent._core", name = "AsyncioLoop")]
#[derive(Debug)]
pub struct AsyncioLoop {
    mailbox: Made<Arc<Mailbox>>,
    pub(super) io: GilCell<Slab<Io>>,
    pub(super) scheduled: GilCell<Option<Py<PyList>>>,
    pub(super) timer_cancelled: AtomicI64,
    debug: AtomicBool,
    closed: AtomicBool,
    pub(super) stopping: AtomicBool,
    /// Set while `_run_once` is to run turns until the loop stops.
    runs_on: AtomicBool,
    /// Callbacks that ran since the last poll.
    pub(super) ran: AtomicU32,
    /// The time of the last poll by the coarse clock.
    pub(super) polled: AtomicU64,
    /// Set when its waits do not keep the hub running.
    pub(super) uncounted: AtomicBool,
    /// The hub's loop in which its greenlet waits.
    pub(super) parked_in: GilCell<Option<Py<Loop>>>,
    /// One more than the selector's descriptor.
    selector: AtomicI32,
    /// The selector's keys by their descriptors, unless a subclass has a method for what the selector reports.
    pub(super) selector_keys: GilCell<Option<Py<PyDict>>>,
    pub(super) watch: GilCell<Option<SelectorWatch>>,
    /// The hub's loop with which it ran last.
    home: GilCell<Option<Py<Loop>>>,
    /// Handles that have run and that the program does not refer to, kept for reuse.
    spare: GilCell<Vec<Py<PyAny>>>,
}

/// The number of handles that are kept for reuse.
const SPARE: usize = 256;

impl AsyncioLoop {
    /// Returns the loop's ready queue.
    #[inline]
    pub fn mailbox(&self) -> &Arc<Mailbox> {
        &self.mailbox
    }

    /// Returns true if calls take asyncio's own implementation: in debug mode, and after `close`, where they are to be
    /// refused.
    #[inline]
    fn is_special(&self) -> bool {
        self.debug.load(Relaxed) || self.closed.load(Relaxed)
    }

    /// Returns true in debug mode.
    #[inline]
    pub fn is_debug(&self) -> bool {
        self.debug.load(Relaxed)
    }

    /// Keeps a handle that has run for the next call, unless the program refers to it. Programs ignore most handles
    /// that they get, and making one takes longer than the rest of `call_soon`.
    #[inline]
    pub fn keep_spare(&self, handle: Bound<'_, PyAny>) {
        let py = handle.py();
        if let Ok(handles) = Handles::get(py)
            && self.spare.with(py, |spare| spare.len()) < SPARE
            && let Some(empty) = handles.emptied(handle)
        {
            let empty = empty.unbind();
            self.spare.with(py, |spare| spare.push(empty));
        }
    }

    /// Returns the descriptor of the selector, if the hub is to watch it.
    #[inline]
    pub fn selector_fd(&self) -> Option<RawFd> {
        let fd = self.selector.load(Relaxed) - 1;
        (fd >= 0).then_some(fd)
    }

    /// Returns true if the loop has transports, waits for descriptors, or has any in its selector but the one that wakes
    /// it from other threads.
    #[inline]
    pub fn has_descriptors(&self, py: Python<'_>) -> bool {
        let is_filled = |keys: &mut Option<Py<PyDict>>| {
            let keys = keys.as_ref();
            keys.is_none_or(|keys| keys.bind(py).len() > 1)
        };
        !self.io.with(py, |places| places.is_empty())
            || self.selector_fd().is_some() && self.selector_keys.with(py, is_filled)
    }

    /// Returns the timers, as a list of handles.
    pub fn timers(&self, py: Python<'_>) -> Option<Py<PyList>> {
        self.scheduled
            .with(py, |list| list.as_ref().map(|list| list.clone_ref(py)))
    }
}

/// Calls a method of asyncio's own loop, which this class overrides.
fn by_asyncio<'py>(
    slf: &Bound<'py, AsyncioLoop>,
    name: &Bound<'py, pyo3::types::PyString>,
    first: &[Bound<'py, PyAny>],
    args: &Bound<'py, PyTuple>,
    context: Option<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = slf.py();
    let class = CLASS.import(py, "asyncio.base_events", "BaseEventLoop")?;
    let all = std::iter::once(slf.clone().into_any())
        .chain(first.iter().cloned())
        .chain(args.iter());
    let all = PyTuple::new(py, all.collect::<Vec<_>>())?;
    let kwargs = PyDict::new(py);
    kwargs.set_item(intern!(py, "context"), context)?;
    class.getattr(name)?.call(all, Some(&kwargs))
}

#[pymethods]
impl AsyncioLoop {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(
        py: Python<'_>,
        _args: &Bound<'_, PyTuple>,
        _kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        Handles::get(py)?;
        Ok(Self {
            mailbox: Made::new(Arc::new(Mailbox::new())),
            io: GilCell::new(Slab::new()),
            scheduled: GilCell::new(Some(PyList::empty(py).unbind())),
            timer_cancelled: AtomicI64::new(0),
            debug: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            runs_on: AtomicBool::new(false),
            ran: AtomicU32::new(0),
            polled: AtomicU64::new(0),
            uncounted: AtomicBool::new(false),
            parked_in: GilCell::new(None),
            selector: AtomicI32::new(0),
            selector_keys: GilCell::new(None),
            watch: GilCell::new(None),
            home: GilCell::new(None),
            spare: GilCell::new(Vec::new()),
        })
    }

    /// Have ``callback(*args)`` called with the loop's next turn; return its handle. `context` is the
    /// `contextvars.Context` to call it in (None: a copy of the current one).
    ///
    /// Unlike asyncio's loop, this one may be called from any greenlet of its thread while it waits.
    #[pyo3(signature = (callback, *args, context = None))]
    fn call_soon<'py>(
        slf: &Bound<'py, Self>,
        callback: Bound<'py, PyAny>,
        args: Bound<'py, PyTuple>,
        context: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let this = slf.get();
        if this.is_special() {
            return by_asyncio(slf, intern!(py, "call_soon"), &[callback], &args, context);
        }
        let call = Call {
            callback,
            args,
            context,
        };
        let spare = this.spare.with(py, Vec::pop);
        let handle = Handles::get(py)?.handle(slf.as_any(), call, spare)?;
        this.mailbox
            .push(py, Ready::Handle(handle.clone().unbind()));
        Ok(handle)
    }

    /// Have ``callback(*args)`` called with the loop's next turn, from any thread; return its handle.
    #[pyo3(signature = (callback, *args, context = None))]
    fn call_soon_threadsafe<'py>(
        slf: &Bound<'py, Self>,
        callback: Bound<'py, PyAny>,
        args: Bound<'py, PyTuple>,
        context: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        if slf.get().is_special() {
            let name = intern!(py, "call_soon_threadsafe");
            return by_asyncio(slf, name, &[callback], &args, context);
        }
        Self::call_soon(slf, callback, args, context)
    }

    /// Have ``callback(*args)`` called in `delay` seconds; return its handle.
    #[pyo3(signature = (delay, callback, *args, context = None))]
    fn call_later<'py>(
        slf: &Bound<'py, Self>,
        delay: Bound<'py, PyAny>,
        callback: Bound<'py, PyAny>,
        args: Bound<'py, PyTuple>,
        context: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        if slf.get().is_special() || delay.is_none() {
            let name = intern!(py, "call_later");
            return by_asyncio(slf, name, &[delay, callback], &args, context);
        }
        let when = slf.call_method0(intern!(py, "time"))?.add(delay)?;
        Self::call_at(slf, when, callback, args, context)
    }

    /// Have ``callback(*args)`` called at the time `when` of the loop's clock; return its handle.
    #[pyo3(signature = (when, callback, *args, context = None))]
    fn call_at<'py>(
        slf: &Bound<'py, Self>,
        when: Bound<'py, PyAny>,
        callback: Bound<'py, PyAny>,
        args: Bound<'py, PyTuple>,
        context: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let this = slf.get();
        let is_number = when.extract::<f64>().is_ok();
        if this.is_special() || !is_number {
            let name = intern!(py, "call_at");
            let handle = by_asyncio(slf, name, &[when, callback], &args, context)?;
            this.mailbox.wake(py);
            return Ok(handle);
        }
        let call = Call {
            callback,
            args,
            context,
        };
        let handle = Handles::get(py)?.timer(slf.as_any(), when, call)?;
        if let Some(timers) = this.timers(py) {
            scheduled::push(timers.bind(py), handle.clone())?;
        }
        // The new timer may be due before the end of the present wait.
        this.mailbox.wake(py);
        Ok(handle)
    }

    fn _timer_handle_cancelled(&self, handle: &Bound<'_, PyAny>) -> PyResult<()> {
        let name = intern!(handle.py(), "_scheduled");
        if handle.getattr(name)?.is_truthy()? {
            self.timer_cancelled.fetch_add(1, Relaxed);
        }
        Ok(())
    }

    /// Run one turn of the loop: wait for something to do, and do all that is there then. With `_runs_on` set, run turns
    /// until `stop` is called.
    fn _run_once(slf: &Bound<'_, Self>) -> PyResult<()> {
        if slf.get().runs_on.load(Relaxed) {
            turn::run_turns(slf)
        } else {
            turn::poll_next(slf.get());
            turn::run_once(slf)
        }
    }

    /// Have the object at `place` try its operation in a direction (0: reading, 1: writing).
    fn _io_ready(
        slf: &Bound<'_, Self>,
        #[pyo3(from_py_with = from_python)] place: u32,
        #[pyo3(from_py_with = from_python)] direction: u8,
    ) -> PyResult<()> {
        turn::run_io(slf, place, Direction::BOTH[usize::from(direction != 0)])
    }

    #[getter]
    fn _runs_on(&self) -> bool {
        self.runs_on.load(Relaxed)
    }

    #[setter(_runs_on)]
    fn set_runs_on(&self, value: bool) {
        self.runs_on.store(value, Relaxed);
    }

    /// Have the greenlet wait, for `timeout` seconds at most (None: any time), until there is something to do.
    #[pyo3(signature = (timeout = None))]
    fn _wait(
        slf: &Bound<'_, Self>,
        #[pyo3(from_py_with = from_python)] timeout: Option<f64>,
    ) -> PyResult<()> {
        turn::poll_next(slf.get());
        turn::poll(slf, timeout)
    }

    /// Watch the descriptor of the loop's selector; -1 ends that.
    ///
    /// In the turn after it became ready, the callbacks of the `keys` that the selector reports are called, which are
    /// those of its descriptors. Without any, the method `_poll_selector` is called.
    #[pyo3(signature = (fd, keys = None))]
    fn _watch_selector(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = from_python)] fd: i32,
        keys: Option<Py<PyDict>>,
    ) {
        self.selector.store(fd.saturating_add(1).max(0), Relaxed);
        drop(self.selector_keys.replace(py, keys));
        selector::end_watch(py, self);
    }

    /// Return a new future that is done when `fd` can be read from (`events` 1) or written to (2), and its place.
    fn _watch_descriptor<'py>(
        slf: &Bound<'py, Self>,
        #[pyo3(from_py_with = from_python)] fd: i32,
        #[pyo3(from_py_with = from_python)] events: u8,
    ) -> PyResult<(Bound<'py, PyAny>, u32)> {
        descriptor::watch(slf, fd, events)
    }

    /// End the watch at `place`, if it is that of `future`.
    fn _forget_descriptor(
        slf: &Bound<'_, Self>,
        #[pyo3(from_py_with = from_python)] place: u32,
        future: &Bound<'_, PyAny>,
    ) {
        descriptor::forget(slf, place, future);
    }

    /// Wake the greenlet that waits in the loop's turn.
    fn _wake(&self, py: Python<'_>) {
        self.mailbox.wake(py);
    }

    /// Have the hub of the running thread, where the loop is about to run, poll the descriptors that another hub polled
    /// before.
    fn _follow_hub(&self, py: Python<'_>) -> PyResult<()> {
        let hub_loop = hub::current_loop(py)?;
        let former = self.home.replace(py, Some(hub_loop.clone_ref(py)));
        if former.is_none_or(|former| former.is(&hub_loop)) {
            return Ok(());
        }
        let all: Vec<_> = self.io.with(py, |places| {
            places
                .iter()
                .map(|(place, io)| (place, io.clone_ref(py)))
                .collect()
        });
        for (place, io) in all {
            if let Some(registration) = io.registration(py) {
                registration.follow(py, &hub_loop)?;
            } else if let Io::Future(waiting) = &io {
                // The coroutine that awaits the future tries its operation again, and waits anew.
                waiting.end_watch(py);
                let place = u32::try_from(place).unwrap_or(u32::MAX);
                self.mailbox.push(py, Ready::Io(place, Direction::Read));
            }
        }
        Ok(())
    }

    /// Forget everything that is to run, and the registrations of transports that were not closed.
    fn _release(&self, py: Python<'_>) {
        selector::end_watch(py, self);
        drop(self.mailbox.take_all(py));
        drop(self.spare.take(py));
        let all: Vec<_> = self.io.with(py, |places| {
            places.iter().map(|(_, io)| io.clone_ref(py)).collect()
        });
        for io in all {
            if let Some(registration) = io.registration(py) {
                registration.end(py, self);
            } else if let Io::Future(waiting) = &io {
                waiting.end_watch(py);
            }
        }
    }

    #[getter]
    fn _ready(slf: &Bound<'_, Self>) -> ReadyView {
        ReadyView::of(slf)
    }

    #[setter(_ready)]
    fn set_ready(&self, py: Python<'_>, handles: &Bound<'_, PyAny>) -> PyResult<()> {
        self.mailbox.remove_handles(py);
        for handle in handles.try_iter()? {
            self.mailbox.push(py, Ready::Handle(handle?.unbind()));
        }
        Ok(())
    }

    #[getter]
    fn _scheduled(&self, py: Python<'_>) -> Option<Py<PyList>> {
        self.timers(py)
    }

    #[setter(_scheduled)]
    fn set_scheduled(&self, py: Python<'_>, list: Py<PyList>) {
        drop(self.scheduled.replace(py, Some(list)));
    }

    #[getter]
    fn _timer_cancelled_count(&self) -> i64 {
        self.timer_cancelled.load(Relaxed)
    }

    #[setter(_timer_cancelled_count)]
    fn set_timer_cancelled_count(&self, #[pyo3(from_py_with = from_python)] count: i64) {
        self.timer_cancelled.store(count, Relaxed);
    }

    #[getter]
    fn _debug(&self) -> bool {
        self.is_debug()
    }

    #[setter(_debug)]
    fn set_debug_flag(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.debug.store(value.is_truthy()?, Relaxed);
        Ok(())
    }

    #[getter]
    fn _closed(&self) -> bool {
        self.closed.load(Relaxed)
    }

    #[setter(_closed)]
    fn set_closed(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.closed.store(value.is_truthy()?, Relaxed);
        Ok(())
    }

    #[getter]
    fn _stopping(&self) -> bool {
        self.stopping.load(Relaxed)
    }

    #[setter(_stopping)]
    fn set_stopping(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.stopping.store(value.is_truthy()?, Relaxed);
        self.mailbox.wake(value.py());
        Ok(())
    }

    /// True if the hub keeps running for this loop's waits.
    #[getter]
    fn _counted(&self) -> bool {
        !self.uncounted.load(Relaxed)
    }

    #[setter(_counted)]
    fn set_counted(&self, py: Python<'_>, value: bool) {
        if self.uncounted.swap(!value, Relaxed) == value
            && let Some(hub_loop) = self.parked_in.with(py, |parked| {
                parked.as_ref().map(|parked| parked.clone_ref(py))
            })
        {
            hub_loop.get().count_ref(if value { 1 } else { -1 });
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        if let Some(mailbox) = self.mailbox.peek() {
            mailbox.visit(&visit)?;
        }
        let timers = self.scheduled.peek(&visit, |list| visit.call(list));
        timers.unwrap_or(Ok(()))?;
        let keys = self.selector_keys.peek(&visit, |keys| visit.call(keys));
        keys.unwrap_or(Ok(()))?;
        let visit_all = |places: &Slab<Io>| {
            places
                .iter()
                .try_for_each(|(_, io)| visit.call(io.as_any()))
        };
        self.io.peek(&visit, visit_all).unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        self._release(py);
        drop(self.scheduled.take(py));
        drop(self.selector_keys.take(py));
    }
}
