//! The state of a `gevent.Greenlet`: its stage, its call, its end, and the listeners for its end.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use reactor::TimerKey;

use crate::cell::release;
use crate::event_loop::loop_::Loop;
use crate::ffi::frames::Stack;
use crate::greenlets::local::Visited;
use crate::greenlets::origin::Origin;
use crate::structured::nest::Nest;
use crate::waiting::links::Links;
use crate::waiting::wait::WaitRef;

/// The stage of a greenlet's life. `New` is the zero value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Stage {
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

/// Everything mutable.
#[derive(Debug)]
pub struct State {
    pub(crate) run: Option<Py<PyAny>>,
    pub(crate) args: Option<Py<PyTuple>>,
    pub(crate) kwargs: Option<Py<PyDict>>,
    pub(crate) loop_: Option<Py<Loop>>,
    pub(crate) ended: Option<Ended>,
    pub(crate) links: Links,
    pub(crate) wait: Option<WaitRef>,
    pub(crate) spawner: Option<Py<PyAny>>,
    pub(crate) tree_locals: Option<Py<PyDict>>,
    pub(crate) stack: Option<Stack>,
    pub(crate) rare: Option<Box<Rare>>,
    pub(crate) stage: Stage,
    pub(crate) notifying: bool,
    pub(crate) end_order: u64,
    /// Counts yields; see [`crate::waiting::turn`].
    pub(crate) turn: u32,
}

/// The state that few greenlets have. It is behind one pointer, so that making and ending a greenlet moves and tests a single
/// word for all of it.
#[derive(Default, Debug)]
pub struct Rare {
    /// The deadline that is to start it.
    pub(crate) timer: Option<TimerKey>,
    pub(crate) label: Label,
    /// The locals that it has attributes in.
    pub(crate) locals: Visited,
    /// The cancel scopes that it is inside of.
    pub(crate) nest: Option<Py<Nest>>,
    /// The task group that it is a child of.
    pub(crate) group: Option<Py<PyAny>>,
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
            stack: None,
            rare: None,
            stage: Stage::New,
            notifying: false,
            end_order: 0,
            turn: 0,
        }
    }

    /// Sets what the greenlet keeps of the place where it is made.
    #[inline]
    pub fn set_origin(&mut self, origin: Origin) {
        self.loop_ = Some(origin.loop_);
        self.spawner = origin.spawner;
        self.tree_locals = origin.tree_locals;
        self.stack = origin.stack;
    }

    /// Returns the cancel scopes that it is inside of.
    pub fn nest(&self) -> Option<&Py<Nest>> {
        self.rare.as_ref()?.nest.as_ref()
    }

    /// Returns the task group that it is a child of.
    pub fn group(&self) -> Option<&Py<PyAny>> {
        self.rare.as_ref()?.group.as_ref()
    }

    /// Returns the text that `repr` showed of the greenlet.
    pub fn label(&self) -> Option<&Label> {
        self.rare.as_ref().map(|rare| &rare.label)
    }

    /// Returns the state that few greenlets have, to be changed.
    pub fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Notes how it ended. The returned former end is to be dropped outside the cell.
    pub fn keep(&mut self, how: Ended) -> Option<Ended> {
        self.stage = Stage::Dead;
        self.end_order = ENDED.fetch_add(1, Relaxed);
        self.ended.replace(how)
    }

    /// Takes out the function and its arguments, to be dropped outside the cell.
    pub fn take_call(&mut self) -> FormerCall {
        (self.run.take(), self.args.take(), self.kwargs.take())
    }
}

/// The function and the arguments of a greenlet that is over.
pub type FormerCall = (Option<Py<PyAny>>, Option<Py<PyTuple>>, Option<Py<PyDict>>);

/// The text that `repr` once showed; it stays when the function and its arguments are gone.
#[derive(Default, Debug)]
pub struct Label {
    /// The small number of the greenlet, once asked for.
    pub ident: Option<Py<PyAny>>,
    /// The call.
    pub call: Option<String>,
}

/// The number of greenlets that have ended: the order in which `joinall` lists them.
static ENDED: AtomicU64 = AtomicU64::new(0);

/// Returns how many greenlets have ended.
pub fn ended() -> u64 {
    ENDED.load(Relaxed)
}

/// Drops the function and the arguments of a greenlet.
pub fn drop_call(py: Python<'_>, (run, args, kwargs): FormerCall) {
    release(py, run);
    release(py, args);
    release(py, kwargs);
}
