//! One greenlet that waits twice, among everything that can end a wait.

// A step that changes the state belongs in the arm and not in its guard.
#![allow(clippy::collapsible_match)]

use std::collections::VecDeque;

use wait::{Progress, State};

use crate::{World, explore};

/// The causes that can end a wait.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Cause {
    Wake,
    Deadline,
    Kill,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Task {
    Wake(usize),
    Throw,
}

/// The position of the greenlet of [`Lone`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum At {
    /// The greenlet has made this wait and shown it to the sources that wake it, and has not parked yet.
    About(usize),
    Parked(usize),
    Ended,
}

/// One greenlet that waits twice, among wake-ups, deadlines, kills, direct switches and the end of its thread.
#[derive(Clone)]
struct Lone {
    waits: [Progress; 2],
    /// The cause that was accepted as the one that ended each wait, because it was the first.
    accepted: [Option<Cause>; 2],
    at: At,
    /// The number of waits that were made.
    made: usize,
    ready: VecDeque<Task>,
    wakes: [u8; 2],
    deadlines: [bool; 2],
    kills: u8,
    switches: u8,
    thread_ends: bool,
}

#[derive(Clone, Copy, Debug)]
enum LoneEvent {
    Wake(usize),
    Deadline(usize),
    Kill,
    Park,
    RunTask,
    Switch,
    EndThread,
}

impl Lone {
    fn new() -> Self {
        Self {
            waits: [Progress::new(), Progress::new()],
            accepted: [None, None],
            at: At::About(0),
            made: 1,
            ready: VecDeque::new(),
            wakes: [2, 2],
            deadlines: [true, true],
            kills: 2,
            switches: 1,
            thread_ends: true,
        }
    }

    /// Returns true if the wait was made: before that, no source can know it.
    fn exists(&self, wait: usize) -> bool {
        wait < self.made
    }

    fn accept(&mut self, wait: usize, cause: Cause) {
        let before = self.accepted[wait].replace(cause);
        assert_eq!(before, None, "two causes were told that they ended a wait");
    }

    /// Runs the greenlet again: it ends its wait, and goes on to the next.
    fn resume(&mut self, wait: usize, by: Option<Cause>) {
        assert_eq!(
            self.at,
            At::Parked(wait),
            "a wake-up came to a greenlet that waits for something else"
        );
        let counts = self.waits[wait].finish();
        match by {
            Some(cause) => {
                assert!(counts, "the outcome of a wait was thrown away");
                assert_eq!(
                    self.accepted[wait],
                    Some(cause),
                    "another outcome was stored"
                );
            }
            None => assert!(!counts, "a wait that nothing ended has an outcome"),
        }
        let expired = self.accepted[wait] == Some(Cause::Deadline);
        assert_eq!(self.waits[wait].expired(), expired);
        assert_eq!(self.waits[wait].state(), State::Over);
        self.at = if wait == 0 { At::About(1) } else { At::Ended };
        self.made = 2;
    }

    fn run_task(&mut self) {
        match self.ready.pop_front() {
            Some(Task::Wake(wait)) => {
                if self.waits[wait].deliver() {
                    self.resume(wait, self.accepted[wait]);
                }
            }
            Some(Task::Throw) => {
                if let At::Parked(wait) = self.at {
                    let interrupted = self.waits[wait].interrupt();
                    if interrupted {
                        self.accept(wait, Cause::Kill);
                    }
                    // Otherwise the error is thrown into the greenlet, whose wake-up is queued and comes too late.
                    self.resume(wait, interrupted.then_some(Cause::Kill));
                }
            }
            None => {}
        }
    }
}

impl World for Lone {
    type Event = LoneEvent;
    type Key = (
        [State; 2],
        [Option<Cause>; 2],
        At,
        VecDeque<Task>,
        ([u8; 2], [bool; 2], u8, u8, bool),
    );

    fn events(&self) -> Vec<LoneEvent> {
        let mut events = Vec::new();
        for wait in [0, 1] {
            // A loop cancels a deadline as the wait ends.
            let over = self.waits[wait].state() == State::Over;
            if self.exists(wait) && self.wakes[wait] > 0 {
                events.push(LoneEvent::Wake(wait));
            }
            if self.exists(wait) && self.deadlines[wait] && !over {
                events.push(LoneEvent::Deadline(wait));
            }
        }
        if self.kills > 0 {
            events.push(LoneEvent::Kill);
        }
        match self.at {
            At::About(_) => events.push(LoneEvent::Park),
            At::Parked(_) => {
                if self.switches > 0 {
                    events.push(LoneEvent::Switch);
                }
                if self.thread_ends {
                    events.push(LoneEvent::EndThread);
                }
            }
            At::Ended => {}
        }
        // Until it parks, the greenlet itself runs, so no task of the queue can run.
        if !matches!(self.at, At::About(_)) && !self.ready.is_empty() {
            events.push(LoneEvent::RunTask);
        }
        events
    }

    fn happen(&mut self, event: LoneEvent) {
        match event {
            LoneEvent::Wake(wait) => {
                self.wakes[wait] -= 1;
                if self.waits[wait].wake() {
                    self.accept(wait, Cause::Wake);
                    self.ready.push_back(Task::Wake(wait));
                }
            }
            LoneEvent::Deadline(wait) => {
                self.deadlines[wait] = false;
                if self.waits[wait].expire() {
                    self.accept(wait, Cause::Deadline);
                    self.ready.push_back(Task::Wake(wait));
                }
            }
            LoneEvent::Kill => {
                self.kills -= 1;
                self.ready.push_back(Task::Throw);
            }
            LoneEvent::Park => {
                if let At::About(wait) = self.at {
                    self.at = At::Parked(wait);
                }
            }
            LoneEvent::RunTask => self.run_task(),
            LoneEvent::Switch => {
                self.switches -= 1;
                if let At::Parked(wait) = self.at {
                    self.resume(wait, None);
                }
            }
            LoneEvent::EndThread => {
                self.thread_ends = false;
                if let At::Parked(wait) = self.at {
                    let made = self.made;
                    self.resume(wait, None);
                    // The greenlet makes no other wait.
                    (self.at, self.made) = (At::Ended, made);
                }
            }
        }
    }

    fn check(&self) {
        if let At::Parked(wait) = self.at {
            let state = self.waits[wait].state();
            assert!(
                matches!(state, State::Waiting | State::Queued),
                "a parked greenlet is {state:?}"
            );
            let woken = self.accepted[wait].is_some();
            assert_eq!(state == State::Queued, woken);
            let queued = self
                .ready
                .iter()
                .filter(|task| **task == Task::Wake(wait))
                .count();
            assert_eq!(
                queued,
                usize::from(woken),
                "a wake-up was lost, or comes twice"
            );
        }
    }

    fn key(&self) -> Self::Key {
        (
            [self.waits[0].state(), self.waits[1].state()],
            self.accepted,
            self.at,
            self.ready.clone(),
            (
                self.wakes,
                self.deadlines,
                self.kills,
                self.switches,
                self.thread_ends,
            ),
        )
    }
}

#[test]
fn the_first_cause_ends_a_wait_and_no_other_one_is_disturbed() {
    let worlds = explore(Lone::new());
    assert!(cfg!(miri) || worlds > 5_000, "only {worlds} worlds");
}
