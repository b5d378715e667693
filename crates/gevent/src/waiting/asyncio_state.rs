//! Makes each greenlet a thread to asyncio.
//!
//! asyncio, and CPython for it, keep in the state of a native thread which event loop runs there, the task that it is
//! carrying out (since 3.14), the hooks of async generators and how much of a coroutine's origin is recorded. A greenlet
//! that parks in the middle of `asyncio.run` would leave all this to the greenlet that runs next, which then could start
//! no loop of its own and would be refused by code that must not block a loop. So the state belongs to the wait: [`leave`]
//! moves it there as the greenlet parks, and [`arrive`] puts it back as the wait ends, by an error or otherwise. Everything
//! that the hub starts or calls in between finds a thread without a loop.
//!
//! A plain `greenlet.switch` does not come here and leaves the state as it is. SQLAlchemy's `greenlet_spawn` and
//! greenback depend on that: their greenlets run parts of a coroutine and need its loop. When such a greenlet waits,
//! its wait has the state of the greenlet that it runs for. An error that the hub throws into the latter, by a kill or
//! a timeout, takes the state along ([`return_to`]).
//!
//! Nothing is done for that as long as no loop runs. `asyncio._set_running_loop` is wrapped by [`set_running_loop`], which
//! counts the loops; a loop counts from its start to its end, also while a wait holds it.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Weak};

use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::event_loop::loop_::Loop;
use crate::ffi::coroutine_state::CoroutineState;
use crate::ffi::greenlet;
use crate::hub::BaseHub;
use crate::waiting::wait::{Wait, WaitRef};

/// The number of asyncio's loops that run in all threads: while it is zero, one load shows that there is nothing to do.
static RUNNING: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The number of them that run in this thread.
    static RUNNING_HERE: Cell<usize> = const { Cell::new(0) };
    /// The waits with a state whose greenlet was started by a plain switch, so that the state may be its parent's.
    static OF_CHILDREN: RefCell<Vec<Weak<Wait>>> = const { RefCell::new(Vec::new()) };
}

/// The functions that read and write the state of the running thread.
struct Functions {
    get_running_loop: Py<PyAny>,
    set_running_loop: Py<PyAny>,
    /// asyncio's function that replaces the current task of the running loop, where it has one (CPython 3.12).
    swap_current_task: Option<Py<PyAny>>,
}

static FUNCTIONS: PyOnceLock<Functions> = PyOnceLock::new();

impl Functions {
    /// Replaces the current task of a loop and returns the former one; does nothing where asyncio has no function for that.
    ///
    /// asyncio's function is in C and is called directly. If a function in Python called it for us, the handler of a signal could
    /// raise its error in there, and the error and the task would be lost.
    fn swap_task(
        &self,
        py: Python<'_>,
        running_loop: &Py<PyAny>,
        task: Option<Py<PyAny>>,
    ) -> PyResult<Option<Py<PyAny>>> {
        let Some(swap) = &self.swap_current_task else {
            return Ok(None);
        };
        let removes = task.is_none();
        match swap.call1(py, (running_loop, task)) {
            Ok(former) => Ok((!former.is_none(py)).then_some(former)),
            // CPython 3.12 and 3.13 fail to remove a task that is not there.
            Err(error) if removes && error.is_instance_of::<PyKeyError>(py) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The state of the thread that asyncio had set when a greenlet parked.
#[derive(Debug)]
pub struct AsyncioState {
    running_loop: Py<PyAny>,
    current_task: Option<Py<PyAny>>,
    coroutines: CoroutineState,
}

/// Moves asyncio's state from the thread into the wait of the greenlet that parks.
#[inline]
pub fn leave(py: Python<'_>, wait: &WaitRef) {
    if RUNNING.load(Relaxed) != 0 {
        move_to_wait(py, wait);
    }
}

/// Leaves asyncio's state in the thread, though the greenlet parks; its caller has found that the hub is idle
/// ([`Loop::is_idle`]). See [`crate::event_loop::loop_::held`].
#[inline]
pub fn hold(py: Python<'_>, wait: &WaitRef) {
    if RUNNING.load(Relaxed) != 0 {
        wait.loop_().get().hold_state(py, wait);
    }
}

/// Moves the state that [`hold`] left in the thread to its wait. The hub calls this before it runs anything else.
#[inline]
pub fn settle(py: Python<'_>, loop_: &Loop) {
    if loop_.holds_state()
        && let Some(wait) = loop_.take_held(py)
    {
        move_to_wait(py, &wait);
    }
}

/// Moves the state that [`leave`] took back to the thread. No error may be set in the interpreter.
#[inline]
pub fn arrive(py: Python<'_>, wait: &Wait) {
    if RUNNING.load(Relaxed) != 0 {
        move_from_wait(py, wait);
    }
}

/// Returns true if a loop of asyncio runs in the current greenlet.
#[inline]
pub fn runs_a_loop(py: Python<'_>) -> bool {
    RUNNING.load(Relaxed) != 0 && finds_a_loop(py)
}

/// Returns the state to `target`, into which the hub is about to throw an error, if that is suspended in a plain switch to a
/// greenlet that has waited since.
#[inline]
pub fn return_to(target: &Bound<'_, PyAny>) {
    if RUNNING.load(Relaxed) != 0 {
        return_from_child(target);
    }
}

/// Clears the state that a greenlet which has ended left in the thread. The hub calls this as it goes on.
#[inline]
pub fn clear(py: Python<'_>) {
    if RUNNING.load(Relaxed) != 0 {
        clear_remainder(py);
    }
}

#[cold]
#[inline(never)]
fn finds_a_loop(py: Python<'_>) -> bool {
    running_loop(py).is_some()
}

/// Returns the loop that runs in the current greenlet, and asyncio's functions.
fn running_loop(py: Python<'_>) -> Option<(Py<PyAny>, &Functions)> {
    let running_here = RUNNING_HERE.try_with(Cell::get).unwrap_or(0);
    if running_here == 0 {
        return None;
    }
    let functions = FUNCTIONS.get(py)?;
    let running = report(py, functions.get_running_loop.call0(py))?;
    (!running.is_none(py)).then_some((running, functions))
}

#[cold]
#[inline(never)]
fn move_to_wait(py: Python<'_>, wait: &WaitRef) {
    if let Some((running, functions)) = running_loop(py)
        && let Some(state) = report(py, AsyncioState::take(py, running, functions))
    {
        let old = wait.keep_asyncio_state(py, Some(Box::new(state)));
        drop(old);
        if parent_greenlet(wait.greenlet().bind(py)).is_some() {
            OF_CHILDREN.with_borrow_mut(|waits| {
                waits.retain(|other| other.strong_count() > 0);
                waits.push(Arc::downgrade(wait));
            });
        }
    }
}

#[cold]
#[inline(never)]
fn move_from_wait(py: Python<'_>, wait: &Wait) {
    if wait.loop_().get().release_state_of(py, wait) {
        return;
    }
    if let Some(state) = wait.keep_asyncio_state(py, None)
        && let Some(functions) = FUNCTIONS.get(py)
    {
        report(py, state.put_back(py, functions));
    }
}

#[cold]
#[inline(never)]
fn return_from_child(target: &Bound<'_, PyAny>) {
    let py = target.py();
    let waits: Vec<WaitRef> =
        OF_CHILDREN.with_borrow(|waits| waits.iter().filter_map(Weak::upgrade).collect());
    for wait in waits {
        let mut parent = parent_greenlet(wait.greenlet().bind(py));
        while let Some(greenlet) = parent {
            if greenlet.is(target) {
                move_from_wait(py, &wait);
                break;
            }
            parent = parent_greenlet(&greenlet);
        }
    }
}

/// Returns the parent of a greenlet, unless that is the hub.
fn parent_greenlet<'py>(of: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    greenlet::parent(of).filter(|parent| !parent.is_instance_of::<BaseHub>())
}

#[cold]
#[inline(never)]
fn clear_remainder(py: Python<'_>) {
    if let Some((running, functions)) = running_loop(py)
        && let Some(state) = report(py, AsyncioState::take(py, running, functions))
    {
        count(false);
        drop(state);
    }
}

/// Reports an error that asyncio's functions are not expected to raise. It is not raised here, as a wait must end as it
/// was meant to.
fn report<T>(py: Python<'_>, result: PyResult<T>) -> Option<T> {
    result
        .map_err(|error| error.write_unraisable(py, None))
        .ok()
}

impl AsyncioState {
    /// Takes the state out of the running thread, in which `running_loop` runs.
    fn take(py: Python<'_>, running_loop: Py<PyAny>, functions: &Functions) -> PyResult<Self> {
        // The task can be reached only while its loop is the running one.
        let current_task = functions.swap_task(py, &running_loop, None)?;
        functions.set_running_loop.call1(py, (py.None(),))?;
        let coroutines = CoroutineState::default().swap(py)?;
        Ok(Self {
            running_loop,
            current_task,
            coroutines,
        })
    }

    /// Puts the state into the running thread.
    fn put_back(self, py: Python<'_>, functions: &Functions) -> PyResult<()> {
        functions
            .set_running_loop
            .call1(py, (&self.running_loop,))?;
        if self.current_task.is_some() {
            functions.swap_task(py, &self.running_loop, self.current_task)?;
        }
        // Hooks that a program set for the thread stay for a loop without hooks of its own.
        if !self.coroutines.is_default() {
            self.coroutines.swap(py)?;
        }
        Ok(())
    }
}

fn count(begins: bool) {
    // Without thread-local data the thread is ending, and parks no more.
    let _: Result<(), std::thread::AccessError> = RUNNING_HERE.try_with(|here| {
        if begins {
            here.set(here.get() + 1);
            RUNNING.fetch_add(1, Relaxed);
        } else if here.get() > 0 {
            here.set(here.get() - 1);
            RUNNING.fetch_sub(1, Relaxed);
        }
    });
}

/// Set the running event loop of the greenlet; None ends it.
///
/// It calls the function of asyncio that it stands in for, and counts the loops that run.
#[pyfunction]
#[pyo3(signature = (loop_, /))]
fn set_running_loop(py: Python<'_>, loop_: &Bound<'_, PyAny>) -> PyResult<()> {
    let Some(functions) = FUNCTIONS.get(py) else {
        return Ok(());
    };
    let before = functions.get_running_loop.call0(py)?;
    functions.set_running_loop.call1(py, (loop_,))?;
    if before.is_none(py) != loop_.is_none() {
        count(before.is_none(py));
    }
    Ok(())
}

/// Keep asyncio's state apart for each greenlet from now on.
///
/// `get_running_loop` and `set_running_loop` are asyncio's own functions; the caller puts the `set_running_loop` of
/// this module in the place of the latter. `swap_current_task` is asyncio's function of that name, or None where there is none.
#[pyfunction]
fn follow_running_loops(
    py: Python<'_>,
    get_running_loop: Py<PyAny>,
    set_running_loop: Py<PyAny>,
    swap_current_task: Option<Py<PyAny>>,
) -> PyResult<()> {
    let functions = Functions {
        get_running_loop,
        set_running_loop,
        swap_current_task,
    };
    let runs = !functions.get_running_loop.call0(py)?.is_none(py);
    if FUNCTIONS.set(py, functions).is_ok() && runs {
        count(true);
    }
    Ok(())
}

/// Adds the functions that Python calls to the module.
///
/// # Errors
/// Fails when one of them cannot be added.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(set_running_loop, module)?)?;
    module.add_function(wrap_pyfunction!(follow_running_loops, module)?)
}
