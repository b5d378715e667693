//! Several greenlets that wait for the permits of a semaphore, or the items of a queue.

// A step that changes the state belongs in the arm and not in its guard.
#![allow(clippy::collapsible_match)]

use std::collections::VecDeque;

use wait::{Left, Progress, State, Ticket, Tickets, WaitQueue, Waiter};

use crate::{World, explore};

/// An object's treatment of a waiter that something else ended just before the object notifies it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Rule {
    /// For semaphores and events: such a waiter is taken out, and the next one is notified.
    TakeOut,
    /// For queues: it counts as notified, and a waiter that leaves notifies the next one in any case.
    PassOn,
}

const GREENLETS: usize = 3;

/// One wait of one greenlet, counted from its first.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct WaitOf {
    greenlet: usize,
    number: usize,
}

impl Waiter for WaitOf {
    type Token<'a> = [bool; GREENLETS];

    fn is_gone(&self, gone: [bool; GREENLETS]) -> bool {
        gone[self.greenlet]
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Place {
    Outside,
    Parked(Ticket),
    Served,
    /// The greenlet was killed, or gave up.
    Left,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Ready {
    Wake(WaitOf),
    Throw(usize),
}

/// Greenlets that take and give permits and wait for them, and that can be killed or be left behind as their thread
/// ends.
#[derive(Clone)]
struct Permits {
    rule: Rule,
    permits: i64,
    queue: WaitQueue<WaitOf>,
    tickets: Tickets,
    waits: [Vec<Progress>; GREENLETS],
    places: [Place; GREENLETS],
    gone: [bool; GREENLETS],
    ready: VecDeque<Ready>,
    releases: u8,
    steals: u8,
    kills: u8,
    deadlines: u8,
    ends: u8,
}

#[derive(Clone, Copy, Debug)]
enum PermitEvent {
    Arrive(usize),
    Release,
    Steal,
    Kill(usize),
    Deadline(usize),
    End(usize),
    RunTask,
}

impl Permits {
    fn new(rule: Rule) -> Self {
        Self {
            rule,
            permits: 0,
            queue: WaitQueue::new(),
            tickets: Tickets::new(),
            waits: [vec![], vec![], vec![]],
            places: [Place::Outside; GREENLETS],
            gone: [false; GREENLETS],
            ready: VecDeque::new(),
            releases: 2,
            steals: 1,
            kills: 1,
            deadlines: 1,
            ends: 1,
        }
    }

    /// Notifies a waiter for each permit that no notified waiter claims.
    fn notify(&mut self) {
        while !self.queue.is_empty() && self.queue.claims_fewer_than(self.permits, self.gone) {
            let notified = self.queue.iter_notified();
            let claims = notified.filter(|wait| !self.gone[wait.greenlet]).count();
            assert!(
                i64::try_from(claims).is_ok_and(|claims| claims < self.permits),
                "one is woken for what another one claims"
            );
            match self.rule {
                Rule::PassOn => {
                    let Some(next) = self.queue.next(self.gone, |next| *next) else {
                        return;
                    };
                    assert!(!self.gone[next.greenlet], "one is woken that is gone");
                    self.wake(next);
                }
                Rule::TakeOut => {
                    let Some((ticket, next)) = self.queue.after(None) else {
                        return;
                    };
                    let next = *next;
                    let taken = self.queue.remove(ticket);
                    assert_eq!(taken, Some(next));
                    if !self.gone[next.greenlet] && self.wake(next) {
                        self.queue.remember(ticket, next);
                    }
                }
            }
        }
    }

    fn wake(&mut self, wait: WaitOf) -> bool {
        let first = self.waits[wait.greenlet][wait.number].wake();
        if first {
            self.ready.push_back(Ready::Wake(wait));
        }
        first
    }

    /// The greenlet takes a permit, or waits for one at its place.
    fn take_or_wait(&mut self, greenlet: usize, ticket: Option<Ticket>) {
        if self.permits > 0 {
            self.permits -= 1;
            self.places[greenlet] = Place::Served;
            return;
        }
        let number = self.waits[greenlet].len();
        self.waits[greenlet].push(Progress::new());
        let wait = WaitOf { greenlet, number };
        let ticket = ticket.unwrap_or_else(|| self.tickets.next());
        self.queue.join(ticket, wait);
        self.places[greenlet] = Place::Parked(ticket);
    }

    fn last_wait(&self, greenlet: usize) -> WaitOf {
        let number = self.waits[greenlet].len() - 1;
        WaitOf { greenlet, number }
    }

    /// Runs the greenlet again, to take a permit or, if it was interrupted, to leave.
    fn resume(&mut self, greenlet: usize, woken: bool) {
        let Place::Parked(ticket) = self.places[greenlet] else {
            panic!("a greenlet that does not wait was woken");
        };
        let wait = self.last_wait(greenlet);
        let progress = &self.waits[greenlet][wait.number];
        progress.finish();
        let woken = woken && !progress.expired();
        let left = self.queue.leave(ticket);
        let was_notified = left.as_ref().is_some_and(Left::was_notified);
        if woken {
            assert!(was_notified, "a wake-up came from outside the queue");
            self.take_or_wait(greenlet, Some(ticket));
        } else {
            self.places[greenlet] = Place::Left;
        }
        let parked = matches!(self.places[greenlet], Place::Parked(_));
        match self.rule {
            Rule::TakeOut if was_notified && !woken => self.notify(),
            Rule::PassOn if !parked => self.notify(),
            _ => {}
        }
    }

    fn is_parked(&self, greenlet: usize) -> bool {
        matches!(self.places[greenlet], Place::Parked(_)) && !self.gone[greenlet]
    }
}

impl World for Permits {
    type Event = PermitEvent;
    type Key = (
        i64,
        Vec<(Ticket, WaitOf)>,
        Vec<WaitOf>,
        [Vec<(State, bool)>; GREENLETS],
        [Place; GREENLETS],
        [bool; GREENLETS],
        VecDeque<Ready>,
        [u8; 5],
    );

    fn events(&self) -> Vec<PermitEvent> {
        let mut events = Vec::new();
        for greenlet in 0..GREENLETS {
            if self.places[greenlet] == Place::Outside {
                events.push(PermitEvent::Arrive(greenlet));
            }
            if self.is_parked(greenlet) {
                if self.kills > 0 {
                    events.push(PermitEvent::Kill(greenlet));
                }
                if self.deadlines > 0 {
                    events.push(PermitEvent::Deadline(greenlet));
                }
                if self.ends > 0 {
                    events.push(PermitEvent::End(greenlet));
                }
            }
        }
        if self.releases > 0 {
            events.push(PermitEvent::Release);
        }
        if self.steals > 0 && self.permits > 0 {
            events.push(PermitEvent::Steal);
        }
        if !self.ready.is_empty() {
            events.push(PermitEvent::RunTask);
        }
        events
    }

    fn happen(&mut self, event: PermitEvent) {
        match event {
            PermitEvent::Arrive(greenlet) => self.take_or_wait(greenlet, None),
            PermitEvent::Release => {
                self.releases -= 1;
                self.permits += 1;
                self.notify();
            }
            // A greenlet that never waited was quicker; the permit comes back by another release.
            PermitEvent::Steal => {
                self.steals -= 1;
                self.permits -= 1;
                self.releases += 1;
            }
            PermitEvent::Kill(greenlet) => {
                self.kills -= 1;
                self.ready.push_back(Ready::Throw(greenlet));
            }
            PermitEvent::Deadline(greenlet) => {
                self.deadlines -= 1;
                let wait = self.last_wait(greenlet);
                if self.waits[greenlet][wait.number].expire() {
                    self.ready.push_back(Ready::Wake(wait));
                }
            }
            // A fork leaves the greenlets of other threads behind: they never run again.
            PermitEvent::End(greenlet) => {
                self.ends -= 1;
                self.gone[greenlet] = true;
            }
            PermitEvent::RunTask => match self.ready.pop_front() {
                Some(Ready::Wake(wait)) if !self.gone[wait.greenlet] => {
                    if self.waits[wait.greenlet][wait.number].deliver() {
                        assert_eq!(wait, self.last_wait(wait.greenlet));
                        self.resume(wait.greenlet, true);
                    }
                }
                Some(Ready::Throw(greenlet)) if self.is_parked(greenlet) => {
                    let wait = self.last_wait(greenlet);
                    self.waits[greenlet][wait.number].interrupt();
                    self.resume(greenlet, false);
                }
                _ => {}
            },
        }
    }

    fn check(&self) {
        let tickets: Vec<_> = self
            .queue
            .iter_waiting()
            .map(|(ticket, _)| ticket)
            .collect();
        assert!(tickets.is_sorted(), "somebody lost the place in the queue");
        for greenlet in 0..GREENLETS {
            if !self.is_parked(greenlet) {
                continue;
            }
            let wait = self.last_wait(greenlet);
            let waiting = self
                .queue
                .iter_waiting()
                .filter(|(_, other)| **other == wait);
            let notified = self.queue.iter_notified().filter(|other| **other == wait);
            let listed = waiting.count() + notified.count();
            let ended = !self.waits[greenlet][wait.number].is_waiting();
            assert!(
                listed == 1 || (listed == 0 && ended),
                "a waiter is listed {listed} times"
            );
        }
        let mut settled = self.clone();
        if self.gone.contains(&true) {
            // No event notifies the queue of a greenlet that was left behind: the next greenlet that gives a permit or
            // leaves does.
            settled.notify();
        }
        if settled.ready.is_empty() && settled.permits > 0 {
            let stuck = (0..GREENLETS).find(|greenlet| settled.is_parked(*greenlet));
            assert_eq!(
                stuck, None,
                "a permit is there, and a greenlet waits for it"
            );
        }
    }

    fn key(&self) -> Self::Key {
        let states = |waits: &Vec<Progress>| {
            let states = waits.iter();
            states
                .map(|wait| (wait.state(), wait.expired()))
                .collect::<Vec<_>>()
        };
        (
            self.permits,
            self.queue
                .iter_waiting()
                .map(|(ticket, wait)| (ticket, *wait))
                .collect(),
            self.queue.iter_notified().copied().collect(),
            self.waits.each_ref().map(states),
            self.places,
            self.gone,
            self.ready.clone(),
            [
                self.releases,
                self.steals,
                self.kills,
                self.deadlines,
                self.ends,
            ],
        )
    }
}

#[test]
fn no_permit_is_lost_among_semaphores() {
    let worlds = explore(Permits::new(Rule::TakeOut));
    assert!(cfg!(miri) || worlds > 10_000, "only {worlds} worlds");
}

#[test]
fn no_item_is_lost_among_queues() {
    let worlds = explore(Permits::new(Rule::PassOn));
    assert!(cfg!(miri) || worlds > 10_000, "only {worlds} worlds");
}
