//! The state of a `gevent.Greenlet`: its stage, its call, its end, and the listeners for its end.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use reactor::TimerKey;
use wait::Ticket;

use crate::cell::release;
use crate::event_loop::loop_::Loop;
use crate::ffi::frames::{FrameRef, Stack};
use crate::greenlets::local::Visited;
use crate::greenlets::origin::Origin;
use crate::structured::membership::Membership;
use crate::structured::nest::Nest;
use crate::waiting::links::{Link, Links};
use crate::waiting::wait::WaitRef;

#[cfg(test)]
mod tests;

/// The stage of a greenlet's life. `New` is the zero value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
enum Stage {
    /// Not started.
    New = 0,
    /// In the ready queue, or with a deadline.
    Scheduled,
    /// Its function runs or waits.
    Running,
    /// Taken out of the queue before it ran.
    Cancelled,
    /// Over.
    Dead,
}

/// The end of a greenlet.
#[derive(Debug)]
pub enum Ended {
    /// With this value (a `GreenletExit` counts).
    Value(Py<PyAny>),
    /// With this exception and the traceback it had.
    Error(Py<PyAny>, Option<Py<PyAny>>),
}

/// Everything that changes. The fields are private to this file: others say what happens to the greenlet by the verbs below,
/// and drop what those return outside the cell.
#[derive(Debug)]
pub struct State {
    run: Option<Py<PyAny>>,
    args: Option<Py<PyTuple>>,
    kwargs: Option<Py<PyDict>>,
    loop_: Option<Py<Loop>>,
    ended: Option<Ended>,
    links: Links,
    wait: Option<WaitRef>,
    spawner: Option<Py<PyAny>>,
    tree_locals: Option<Py<PyDict>>,
    /// The context that it is to begin with a copy of, or that has the values which its own had at its end.
    context: Option<Py<PyAny>>,
    stack: Option<Stack>,
    rare: Option<Box<Rare>>,
    stage: Stage,
    notifying: bool,
    /// True while it runs in a copy of such a context.
    in_copy: bool,
    /// The number by which locks note it, from its beginning on; then its place in the order in which greenlets ended.
    order: u64,
    /// Counts yields; see [`crate::waiting::turn`].
    turn: u32,
}

/// The state that few greenlets have. It is behind one pointer, so that making and ending a greenlet moves and tests a single
/// word for all of it.
#[derive(Default, Debug)]
struct Rare {
    /// The deadline that is to start it.
    timer: Option<TimerKey>,
    /// The small number of the greenlet, once asked for.
    ident: Option<Py<PyAny>>,
    /// The text that `repr` once showed of the call; it stays when the function and its arguments are gone.
    call_text: Option<String>,
    /// The locals that it has attributes in.
    locals: Visited,
    /// The cancel scopes that it is inside of.
    nest: Option<Py<Nest>>,
    /// Its place in a task group.
    membership: Option<Membership>,
}

/// The state's answer to a request to start the greenlet.
#[derive(Debug)]
pub enum Scheduled {
    /// It is to be put into the ready queue of this loop.
    In(Py<Loop>),
    /// It was scheduled before.
    Before,
    /// It was made without its `__init__`.
    Refused,
}

/// The state's answer to a request to never start the greenlet.
#[derive(Debug)]
pub enum Cancelled {
    /// It will not be started; the deadline that was to start it is to be cancelled.
    Now(Option<(TimerKey, Py<Loop>)>),
    /// It was cancelled before.
    Before,
    /// It has begun.
    TooLate,
}

/// The listeners to notify of the end of the greenlet.
#[derive(Debug)]
pub enum Notifying {
    /// There are none, or they are being notified.
    Nobody,
    /// Only parked greenlets listen: this is the first, and the flag says whether there are more.
    Waits(Link, bool),
    /// The hub of this loop is to notify them.
    InHub(Py<Loop>),
}

impl State {
    /// Returns the state of a greenlet that has no function and no arguments yet.
    #[inline]
    pub fn blank() -> Self {
        Self {
            run: None,
            args: None,
            kwargs: None,
            loop_: None,
            ended: None,
            links: Links::new(),
            wait: None,
            spawner: None,
            tree_locals: None,
            context: None,
            stack: None,
            rare: None,
            stage: Stage::New,
            notifying: false,
            in_copy: false,
            order: 0,
            turn: 0,
        }
    }

    /// Returns the state of a greenlet that is to make this call.
    #[inline]
    pub fn of_call(
        run: Py<PyAny>,
        args: Py<PyTuple>,
        kwargs: Option<Py<PyDict>>,
        origin: Origin,
    ) -> Self {
        Self {
            run: Some(run),
            args: Some(args),
            kwargs,
            loop_: Some(origin.loop_),
            spawner: origin.spawner,
            tree_locals: origin.tree_locals,
            stack: origin.stack,
            ..Self::blank()
        }
    }

    /// Sets the function; returns the former one.
    pub fn set_function(&mut self, run: Py<PyAny>) -> Option<Py<PyAny>> {
        self.run.replace(run)
    }

    /// Sets the arguments of the call, and what the greenlet keeps of the place where it is made; returns what the fields held
    /// before.
    pub fn prepare(
        &mut self,
        args: Py<PyTuple>,
        kwargs: Option<Py<PyDict>>,
        origin: Origin,
    ) -> impl Sized + use<> {
        (
            self.args.replace(args),
            std::mem::replace(&mut self.kwargs, kwargs),
            self.loop_.replace(origin.loop_),
            std::mem::replace(&mut self.spawner, origin.spawner),
            std::mem::replace(&mut self.tree_locals, origin.tree_locals),
            std::mem::replace(&mut self.stack, origin.stack),
        )
    }

    /// Returns the function.
    pub fn function(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.run.as_ref().map(|run| run.clone_ref(py))
    }

    /// Returns the positional arguments.
    pub fn args(&self, py: Python<'_>) -> Option<Py<PyTuple>> {
        self.args.as_ref().map(|args| args.clone_ref(py))
    }

    /// Returns the keyword arguments.
    pub fn kwargs(&self, py: Python<'_>) -> Option<Py<PyDict>> {
        self.kwargs.as_ref().map(|kwargs| kwargs.clone_ref(py))
    }

    /// Returns the loop that it is scheduled in.
    #[inline]
    pub fn own_loop(&self, py: Python<'_>) -> Option<Py<Loop>> {
        self.loop_.as_ref().map(|loop_| loop_.clone_ref(py))
    }

    /// Returns true if [`schedule`](Self::schedule) will have it put into the ready queue.
    pub fn can_be_scheduled(&self) -> bool {
        self.stage == Stage::New && self.loop_.is_some()
    }

    /// Notes that the greenlet is to start soon, unless it was scheduled before.
    #[inline]
    pub fn schedule(&mut self, py: Python<'_>) -> Scheduled {
        if self.stage != Stage::New {
            return Scheduled::Before;
        }
        match self.own_loop(py) {
            Some(loop_) => {
                self.stage = Stage::Scheduled;
                Scheduled::In(loop_)
            }
            None => Scheduled::Refused,
        }
    }

    /// Notes the deadline that is to start it.
    pub fn start_by(&mut self, timer: TimerKey) {
        self.rare_mut().timer = Some(timer);
    }

    /// Notes that the hub is about to switch to the greenlet for the first time; returns false if it was cancelled.
    #[inline]
    pub fn begin(&mut self) -> bool {
        let due = self.stage == Stage::Scheduled;
        if due {
            self.stage = Stage::Running;
            if let Some(rare) = &mut self.rare {
                rare.timer = None;
            }
        }
        due
    }

    /// Notes that the function is about to be called, in a greenlet that gets this number; returns the call, and the
    /// context that it is to begin with a copy of.
    #[inline]
    pub fn begin_call(&mut self, py: Python<'_>, number: u64) -> (FunctionCall, Option<Py<PyAny>>) {
        self.stage = Stage::Running;
        self.order = number;
        let call = (self.function(py), self.args(py), self.kwargs(py));
        let context = self.context.take();
        self.in_copy = context.is_some();
        (call, context)
    }

    /// Notes that the copy of a context, in which it runs, is not needed any more; returns false if it runs in none.
    #[inline]
    pub fn end_copy(&mut self) -> bool {
        std::mem::take(&mut self.in_copy)
    }

    /// Sets the context that others share with it, as it does not run, or none; returns the former one.
    #[inline]
    pub fn share_context(&mut self, context: Option<Py<PyAny>>) -> Option<Py<PyAny>> {
        std::mem::replace(&mut self.context, context)
    }

    /// Notes that the greenlet is not to be started, if it has not begun.
    pub fn cancel(&mut self, py: Python<'_>) -> Cancelled {
        match self.stage {
            Stage::New | Stage::Scheduled => {
                self.stage = Stage::Cancelled;
                let timer = self.rare.as_mut().and_then(|rare| rare.timer.take());
                Cancelled::Now(timer.zip(self.own_loop(py)))
            }
            Stage::Cancelled => Cancelled::Before,
            Stage::Running | Stage::Dead => Cancelled::TooLate,
        }
    }

    /// Returns true if the greenlet may begin yet.
    pub fn may_begin(&self) -> bool {
        matches!(self.stage, Stage::New | Stage::Scheduled)
    }

    /// Returns true if it is scheduled or runs.
    pub fn is_active(&self) -> bool {
        self.ended.is_none() && matches!(self.stage, Stage::Scheduled | Stage::Running)
    }

    /// Returns true if it has a value or an error.
    #[inline]
    pub fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// Returns true if it has ended, or will never run.
    #[inline]
    pub fn is_over(&self) -> bool {
        self.ended.is_some() || matches!(self.stage, Stage::Dead | Stage::Cancelled)
    }

    /// Returns true if it has ended without an error.
    pub fn has_succeeded(&self) -> bool {
        matches!(self.ended, Some(Ended::Value(_)))
    }

    /// Returns how it ended.
    pub fn end_of(&self, py: Python<'_>) -> Option<Ended> {
        self.ended.as_ref().map(|ended| match ended {
            Ended::Value(value) => Ended::Value(value.clone_ref(py)),
            Ended::Error(value, traceback) => Ended::Error(
                value.clone_ref(py),
                traceback.as_ref().map(|traceback| traceback.clone_ref(py)),
            ),
        })
    }

    /// Returns its place in the order in which greenlets ended.
    pub fn end_order(&self) -> u64 {
        self.order
    }

    /// Returns the number by which locks note it; 0 before it begins and after its end.
    pub fn number(&self) -> u64 {
        match self.stage {
            Stage::Dead => 0,
            _ => self.order,
        }
    }

    /// Sets the number by which locks note it, unless it has one or is over; returns its number.
    pub fn number_or(&mut self, number: u64) -> u64 {
        if self.stage != Stage::Dead && self.order == 0 {
            self.order = number;
        }
        self.number()
    }

    /// Notes how it ended; returns the former end.
    pub fn end(&mut self, how: Ended) -> Option<Ended> {
        self.stage = Stage::Dead;
        self.order = ENDED.fetch_add(1, Relaxed);
        self.ended.replace(how)
    }

    /// Returns true if it has none of the state that few greenlets have.
    #[inline]
    pub fn is_plain(&self) -> bool {
        self.rare.is_none()
    }

    /// Takes out the function and its arguments.
    pub fn take_call(&mut self) -> FunctionCall {
        (self.run.take(), self.args.take(), self.kwargs.take())
    }

    /// Adds a listener for its end.
    #[inline]
    pub fn add_link(&mut self, py: Python<'_>, link: Link) -> Ticket {
        self.links.push(py, link)
    }

    /// Removes the listener with this ticket, if it has not been notified.
    pub fn remove_link(&mut self, ticket: Ticket) -> Option<Link> {
        self.links.leave(ticket)
    }

    /// Removes the listener that the engine's object at this address has.
    pub fn remove_listener(&mut self, owner: *mut pyo3::ffi::PyObject) -> Option<Link> {
        self.links.remove_native(owner)
    }

    /// Returns the listeners that are callables of Python.
    pub fn callables(&self, py: Python<'_>) -> Vec<Py<PyAny>> {
        self.links.callables(py)
    }

    /// Removes the first listener that is this callable.
    pub fn remove_callable(&mut self, callable: &Py<PyAny>) -> Option<Link> {
        self.links.remove_callable(callable)
    }

    /// Returns true if anything listens for its end.
    pub fn has_links(&self) -> bool {
        !self.links.is_empty()
    }

    /// Takes out all listeners.
    pub fn take_links(&mut self) -> Links {
        self.links.take()
    }

    /// Takes out the listener that is to be notified next.
    #[inline]
    pub fn next_link(&mut self) -> Option<Link> {
        self.links.pop()
    }

    /// Begins to notify the listeners: returns who has to do that.
    #[inline]
    pub fn begin_notifying(&mut self, py: Python<'_>) -> Notifying {
        if self.notifying || self.links.is_empty() {
            return Notifying::Nobody;
        }
        if self.links.has_listener() {
            self.notifying = true;
            return self
                .own_loop(py)
                .map_or(Notifying::Nobody, Notifying::InHub);
        }
        match self.links.pop() {
            Some(first) => Notifying::Waits(first, !self.links.is_empty()),
            None => Notifying::Nobody,
        }
    }

    /// Notes that the hub has notified all listeners.
    pub fn end_notifying(&mut self) {
        self.notifying = false;
    }

    /// Notes the wait that it is about to park on, or that it has gone on; returns the former one.
    #[inline]
    pub fn set_wait(&mut self, wait: Option<WaitRef>) -> Option<WaitRef> {
        std::mem::replace(&mut self.wait, wait)
    }

    /// Returns the wait that it is parked on.
    pub fn wait(&self) -> Option<WaitRef> {
        self.wait.clone()
    }

    /// Returns the number of its present or next yield.
    #[inline]
    pub fn turn(&self) -> u32 {
        self.turn
    }

    /// Notes that it goes on after a yield.
    #[inline]
    pub fn end_turn(&mut self) {
        self.turn = self.turn.wrapping_add(1);
    }

    /// Returns the weak reference to the greenlet that made it.
    pub fn spawner(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.spawner.as_ref().map(|spawner| spawner.clone_ref(py))
    }

    /// Returns the dictionary that it shares with its spawner and its children.
    pub fn tree_locals(&self, py: Python<'_>) -> Option<Py<PyDict>> {
        self.tree_locals.as_ref().map(|locals| locals.clone_ref(py))
    }

    /// Has it share another dictionary; returns the former one.
    pub fn share_tree_locals(&mut self, locals: Py<PyDict>) -> Option<Py<PyDict>> {
        self.tree_locals.replace(locals)
    }

    /// Returns the frames that it was spawned from, the innermost first.
    pub fn spawned_from(&self) -> &[FrameRef] {
        self.stack.as_deref().unwrap_or_default()
    }

    /// Returns its small number, if it was asked for.
    pub fn ident(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        Some(self.rare.as_ref()?.ident.as_ref()?.clone_ref(py))
    }

    /// Remembers its small number; returns the former one.
    pub fn remember_ident(&mut self, ident: Py<PyAny>) -> Option<Py<PyAny>> {
        self.rare_mut().ident.replace(ident)
    }

    /// Returns the text that `repr` showed of its call.
    pub fn call_text(&self) -> Option<String> {
        self.rare.as_ref()?.call_text.clone()
    }

    /// Remembers the text that `repr` shows of its call.
    pub fn remember_call_text(&mut self, text: Option<String>) {
        self.rare_mut().call_text = text;
    }

    /// Returns the locals that it has attributes in, to add one; none when it is over, as its end would not notify that.
    pub fn visited(&mut self) -> Option<&mut Visited> {
        (self.stage != Stage::Dead).then(|| &mut self.rare_mut().locals)
    }

    /// Takes out the locals that it has attributes in.
    pub fn take_visited(&mut self) -> Option<Visited> {
        Some(std::mem::take(&mut self.rare.as_mut()?.locals))
    }

    /// Returns the cancel scopes that it is inside of.
    pub fn nest(&self, py: Python<'_>) -> Option<Py<Nest>> {
        let nest = self.rare.as_ref()?.nest.as_ref()?;
        Some(nest.clone_ref(py))
    }

    /// Gives it the object for its cancel scopes; returns the former one.
    pub fn enter_nest(&mut self, nest: Py<Nest>) -> Option<Py<Nest>> {
        self.rare_mut().nest.replace(nest)
    }

    /// Returns its place in the task group that it is or was a child of.
    #[inline]
    pub fn membership(&self, py: Python<'_>) -> Option<Membership> {
        let membership = self.rare.as_ref()?.membership.as_ref()?;
        Some(membership.clone_ref(py))
    }

    /// Makes it a child of a task group; returns the former membership.
    #[inline]
    pub fn join_group(&mut self, membership: Membership) -> Option<Membership> {
        self.rare_mut().membership.replace(membership)
    }

    fn rare_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Visits the objects that the greenlet owns.
    ///
    /// # Errors
    /// Returns the error of the visitor.
    pub fn traverse(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.run)?;
        visit.call(&self.args)?;
        visit.call(&self.kwargs)?;
        visit.call(&self.spawner)?;
        visit.call(&self.tree_locals)?;
        visit.call(&self.context)?;
        if let Some(rare) = &self.rare {
            visit.call(&rare.nest)?;
            if let Some(membership) = &rare.membership {
                membership.traverse(visit)?;
            }
        }
        match &self.ended {
            Some(Ended::Value(value)) => visit.call(value)?,
            Some(Ended::Error(value, traceback)) => {
                visit.call(value)?;
                visit.call(traceback)?;
            }
            None => {}
        }
        self.links.traverse(visit)
    }

    /// Takes out what may refer to the greenlet itself.
    pub fn clear(&mut self) -> impl Sized + use<> {
        let rare = self.rare.as_mut();
        let rare = rare.map(|rare| (rare.nest.take(), rare.membership.take()));
        (
            rare,
            self.take_call(),
            self.tree_locals.take(),
            self.context.take(),
            self.ended.take(),
            self.links.take(),
        )
    }
}

/// The function and the arguments of a greenlet.
pub type FunctionCall = (Option<Py<PyAny>>, Option<Py<PyTuple>>, Option<Py<PyDict>>);

/// The number of greenlets that have ended: the order in which `joinall` lists them.
static ENDED: AtomicU64 = AtomicU64::new(0);

/// Returns how many greenlets have ended.
pub fn ended() -> u64 {
    ENDED.load(Relaxed)
}

/// Drops the function and the arguments of a greenlet.
pub fn drop_call(py: Python<'_>, (run, args, kwargs): FunctionCall) {
    release(py, run);
    release(py, args);
    release(py, kwargs);
}
