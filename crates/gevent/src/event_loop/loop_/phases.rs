//! The active watchers of each phase of the loop, in lists.

use std::sync::atomic::Ordering::Relaxed;

use pyo3::prelude::*;

use crate::event_loop::loop_::Loop;
use crate::event_loop::unusual::Unusual;
use crate::watcher::{Phase, Watcher};

impl Loop {
    /// Adds a watcher to the list of its phase.
    pub fn join_phase(&self, py: Python<'_>, phase: Phase, watcher: Py<Watcher>) {
        self.phases
            .with(py, |phases| phases[phase as usize].push(watcher));
        if phase.surrounds_polls() {
            self.count_phased(1);
        }
    }

    /// Removes a watcher from the list of its phase, if it is there.
    pub fn leave_phase(&self, py: Python<'_>, phase: Phase, watcher: &Py<Watcher>) {
        let taken = self.phases.with(py, |phases| {
            let list = &mut phases[phase as usize];
            let at = list.iter().position(|other| other.is(watcher))?;
            Some(list.remove(at))
        });
        if taken.is_some() && phase.surrounds_polls() {
            self.count_phased(-1);
        }
        drop(taken);
    }

    /// Returns the watchers of a phase, in the order in which they were started.
    pub fn watchers_of(&self, py: Python<'_>, phase: Phase) -> Vec<Py<Watcher>> {
        self.phases.with(py, |phases| {
            let list = phases[phase as usize].iter();
            list.map(|watcher| watcher.clone_ref(py)).collect()
        })
    }

    /// Returns true if any watcher of this phase is active.
    pub fn has_watchers_of(&self, py: Python<'_>, phase: Phase) -> bool {
        self.phases
            .with(py, |phases| !phases[phase as usize].is_empty())
    }

    /// Counts one more (or less) active watcher for which only the hub polls.
    pub(super) fn count_phased(&self, by: isize) {
        let active = self.phased.load(Relaxed) + by;
        self.phased.store(active, Relaxed);
        self.unusual.put(Unusual::PHASED, active > 0);
    }
}
