//! Watchers that need no descriptor and no deadline: the loop keeps them in lists.

use std::cmp::Reverse;

use pyo3::prelude::*;

use super::{Kind, Watcher};
use crate::args::from_python;
use crate::event_loop::loop_::Loop;
use crate::waiting::asyncio_state;

/// The lists in which a loop keeps active watchers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Watchers called before a poll.
    Prepare,
    /// Watchers called after a poll.
    Check,
    /// Watchers called instead of waiting.
    Idle,
    /// Watchers called in the child after a fork.
    Fork,
    /// Watchers called when another thread has called `send`.
    Async,
    /// Watchers called when a child process ends.
    Child,
}

impl Phase {
    /// The number of lists.
    pub const COUNT: usize = 6;

    /// Returns true if watchers of this list have to be called around polls.
    pub const fn surrounds_polls(self) -> bool {
        matches!(self, Phase::Prepare | Phase::Check | Phase::Idle)
    }

    /// Returns the event number that callbacks get.
    const fn event(self) -> u32 {
        match self {
            Phase::Prepare => 0x4000,
            Phase::Check => 0x8000,
            Phase::Idle => 0x2000,
            Phase::Fork => 0x2_0000,
            Phase::Async => super::async_::ASYNC,
            Phase::Child => super::child::CHILD,
        }
    }
}

/// Adds the watcher to the list of its loop.
pub(super) fn list(watcher: &Py<Watcher>, py: Python<'_>, phase: Phase) {
    let loop_ = watcher.get().loop_();
    loop_.join_phase(py, phase, watcher.clone_ref(py));
}

/// Removes the watcher from the list of its loop.
pub(super) fn unlist(watcher: &Py<Watcher>, py: Python<'_>, phase: Phase) {
    watcher.get().loop_().leave_phase(py, phase, watcher);
}

/// Returns the watchers of a list, in the order in which they are to be called.
pub(super) fn listed(py: Python<'_>, loop_: &Loop, phase: Phase) -> Vec<Py<Watcher>> {
    let mut watchers = loop_.watchers_of(py, phase);
    watchers.sort_by_key(|watcher| Reverse(watcher.get().priority()));
    watchers
}

/// Calls the watchers of a list now.
pub fn run_phase(py: Python<'_>, loop_: &Loop, phase: Phase) {
    if !loop_.has_watchers_of(py, phase) {
        return;
    }
    asyncio_state::settle(py, loop_);
    for watcher in listed(py, loop_, phase) {
        let this = watcher.get();
        let due = this.state.with(py, |state| {
            if state.active && state.pending.is_none() {
                state.pending = Some(phase.event());
            }
            state.active
        });
        if due {
            Watcher::run(&watcher, py, loop_);
        }
    }
}

/// Queues the watchers of a list.
pub fn fire_phase(py: Python<'_>, loop_: &Loop, phase: Phase) {
    for watcher in listed(py, loop_, phase) {
        Watcher::fire(&watcher, py, loop_, phase.event());
    }
}

/// Has another loop call the fork watchers of a loop that never runs again.
pub fn fire_fork_watchers(py: Python<'_>, left: &Loop, new: &Loop) {
    for watcher in listed(py, left, Phase::Fork) {
        Watcher::fire(&watcher, py, new, Phase::Fork.event());
    }
}

macro_rules! phase_class {
    ($type:ident, $name:literal, $phase:expr, $doc:literal) => {
        #[doc = $doc]
        #[pyclass(extends = Watcher, frozen, subclass, name = $name, module = "gevent.core")]
        #[derive(Debug)]
        pub struct $type;

        #[pymethods]
        impl $type {
            #[new]
            #[pyo3(signature = (r#loop, r#ref = true, priority = None))]
            pub(crate) fn new(
                r#loop: Py<Loop>,
                r#ref: bool,
                #[pyo3(from_py_with = from_python)] priority: Option<i32>,
            ) -> PyClassInitializer<Self> {
                Watcher::base(r#loop, Kind::Phase($phase), r#ref, priority).add_subclass(Self)
            }
        }
    };
}

phase_class!(
    Prepare,
    "prepare",
    Phase::Prepare,
    "Calls its function before each poll of the loop."
);
phase_class!(
    Check,
    "check",
    Phase::Check,
    "Calls its function after each poll of the loop."
);
phase_class!(
    Idle,
    "idle",
    Phase::Idle,
    "Calls its function again and again while there is nothing else to do."
);
phase_class!(
    Fork,
    "fork",
    Phase::Fork,
    "Calls its function in the child process after a fork."
);
