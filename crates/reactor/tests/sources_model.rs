//! Random interleavings of reads, writes, closes and turns of a loop, over real socket pairs.
//!
//! The model is the kernel itself, asked level-triggered: after a turn no waiter may be parked on a direction that
//! `poll` reports as ready, and every waiter that was parked is woken, or returned, exactly once.

use std::collections::HashSet;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use proptest::prelude::*;
use reactor::{Direction, Epoll, EventBuffer, SourceKey, Sources};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

const PLACES: usize = 3;

#[derive(Clone, Debug)]
enum Op {
    /// Reads up to so many bytes, parking on `EAGAIN`.
    Read(usize, usize),
    /// Reads until `EAGAIN` or the end, and parks on the former.
    ReadAll(usize),
    Write(usize, usize),
    /// Writes until `EAGAIN`, and parks.
    Fill(usize),
    PeerWrite(usize, usize),
    PeerReadAll(usize),
    PeerShutdown(usize),
    PeerClose(usize),
    /// Removes a waiter that gives up, as on a timeout.
    GiveUp(usize, Direction),
    Turn,
    /// Deregisters, closes and opens anew, most likely under the same number.
    Reopen(usize),
    /// Closes and opens anew as `Reopen` does, without deregistering first.
    CloseBehindItsBack(usize),
    /// Deregisters the sources that were closed without that.
    Bury,
}

fn op() -> impl Strategy<Value = Op> {
    let place = || 0..PLACES;
    prop_oneof![
        4 => (place(), 1..2000usize).prop_map(|(i, n)| Op::Read(i, n)),
        4 => place().prop_map(Op::ReadAll),
        2 => (place(), 1..5000usize).prop_map(|(i, n)| Op::Write(i, n)),
        3 => place().prop_map(Op::Fill),
        5 => (place(), 1..5000usize).prop_map(|(i, n)| Op::PeerWrite(i, n)),
        4 => place().prop_map(Op::PeerReadAll),
        1 => place().prop_map(Op::PeerShutdown),
        1 => place().prop_map(Op::PeerClose),
        1 => place().prop_map(|i| Op::GiveUp(i, Direction::Read)),
        1 => place().prop_map(|i| Op::GiveUp(i, Direction::Write)),
        8 => Just(Op::Turn),
        1 => place().prop_map(Op::Reopen),
        1 => place().prop_map(Op::CloseBehindItsBack),
        1 => Just(Op::Bury),
    ]
}

struct Place {
    ours: UnixStream,
    peer: Option<UnixStream>,
    key: SourceKey,
    parked: [Option<u32>; 2],
}

struct World {
    epoll: Epoll,
    buf: EventBuffer,
    sources: Sources<u32>,
    places: Vec<Place>,
    /// Sources whose descriptor is closed, with their waiters.
    ghosts: Vec<(SourceKey, [Option<u32>; 2])>,
    next_waiter: u32,
}

impl World {
    fn new() -> World {
        let mut world = World {
            epoll: Epoll::new().unwrap(),
            buf: EventBuffer::new(),
            sources: Sources::new(),
            places: Vec::new(),
            ghosts: Vec::new(),
            next_waiter: 0,
        };
        for _ in 0..PLACES {
            let place = world.open();
            world.places.push(place);
        }
        world
    }

    fn open(&mut self) -> Place {
        let (ours, peer) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        peer.set_nonblocking(true).unwrap();
        let key = self
            .sources
            .register(&self.epoll, ours.as_raw_fd())
            .unwrap();
        Place {
            ours,
            peer: Some(peer),
            key,
            parked: [None, None],
        }
    }

    /// Acts as a caller does: tries while the source seems ready, and clears and parks on `EAGAIN`.
    fn attempt(
        &mut self,
        i: usize,
        direction: Direction,
        mut operation: impl FnMut(&UnixStream) -> std::io::Result<bool>,
    ) {
        let place = &mut self.places[i];
        if place.parked[direction as usize].is_some() {
            return;
        }
        while self.sources.is_ready(place.key, direction) {
            match operation(&place.ours) {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.sources.clear(place.key, direction);
                    // A closed direction never blocks, or callers would spin here.
                    assert!(!self.sources.is_ready(place.key, direction));
                }
                Err(_) => return,
            }
        }
        let waiter = self.next_waiter;
        self.next_waiter += 1;
        self.sources
            .set_waiter(place.key, direction, waiter)
            .unwrap();
        place.parked[direction as usize] = Some(waiter);
    }

    fn turn(&mut self) {
        self.epoll
            .wait(&mut self.buf, Some(Duration::ZERO))
            .unwrap();
        for (token, flags) in &self.buf {
            let woken = self.sources.on_event(token, flags);
            if woken == [None, None] {
                continue;
            }
            let key = SourceKey::from_token(token);
            let place = self
                .places
                .iter_mut()
                .find(|place| place.key == key)
                .expect("only the living are woken");
            for direction in Direction::BOTH {
                if let Some(waiter) = woken[direction as usize] {
                    let parked = place.parked[direction as usize].take();
                    assert_eq!(parked, Some(waiter), "woken once, and the right one");
                }
            }
        }
        for place in &self.places {
            let (readable, writable) = level(&place.ours);
            for (direction, ready) in [(Direction::Read, readable), (Direction::Write, writable)] {
                if ready {
                    assert!(
                        self.sources.is_ready(place.key, direction),
                        "an edge was lost"
                    );
                    assert_eq!(place.parked[direction as usize], None, "a wake-up was lost");
                }
            }
        }
    }

    fn check(&self) {
        let living = self.places.iter().map(|place| &place.parked);
        let ghosts = self.ghosts.iter().map(|(_, parked)| parked);
        let parked: Vec<u32> = living.chain(ghosts).flatten().flatten().copied().collect();
        assert_eq!(self.sources.waiting(), parked.len());
        assert_eq!(self.sources.len(), self.places.len() + self.ghosts.len());
        assert_eq!(parked.iter().collect::<HashSet<_>>().len(), parked.len());
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Read(i, n) => self.attempt(i, Direction::Read, |mut ours| {
                ours.read(&mut vec![0; n]).map(|_| false)
            }),
            Op::ReadAll(i) => self.attempt(i, Direction::Read, |mut ours| {
                ours.read(&mut [0; 4096]).map(|got| got > 0)
            }),
            Op::Write(i, n) => self.attempt(i, Direction::Write, |mut ours| {
                ours.write(&vec![0; n]).map(|_| false)
            }),
            Op::Fill(i) => self.attempt(i, Direction::Write, |mut ours| {
                ours.write(&[0; 16384]).map(|_| true)
            }),
            Op::PeerWrite(i, n) => {
                if let Some(peer) = &mut self.places[i].peer {
                    let _ = peer.write(&vec![0; n]);
                }
            }
            Op::PeerReadAll(i) => {
                if let Some(peer) = &mut self.places[i].peer {
                    while peer.read(&mut [0; 65536]).is_ok_and(|got| got > 0) {}
                }
            }
            Op::PeerShutdown(i) => {
                if let Some(peer) = &self.places[i].peer {
                    let _ = peer.shutdown(Shutdown::Write);
                }
            }
            Op::PeerClose(i) => self.places[i].peer = None,
            Op::GiveUp(i, direction) => {
                let place = &mut self.places[i];
                let taken = self.sources.take_waiter(place.key, direction);
                assert_eq!(taken, place.parked[direction as usize].take());
            }
            Op::Turn => self.turn(),
            Op::Reopen(i) => {
                let place = &self.places[i];
                let waiters = self.sources.deregister(&self.epoll, place.key);
                assert_eq!(waiters, place.parked);
                self.close(i);
            }
            Op::CloseBehindItsBack(i) => {
                let place = &self.places[i];
                self.ghosts.push((place.key, place.parked));
                self.close(i);
            }
            Op::Bury => {
                for (key, parked) in self.ghosts.drain(..) {
                    assert_eq!(self.sources.deregister(&self.epoll, key), parked);
                }
            }
        }
        self.check();
    }

    /// Closes a place's sockets, then opens others there.
    fn close(&mut self, i: usize) {
        drop(self.places.swap_remove(i));
        let place = self.open();
        self.places.push(place);
    }
}

/// Returns the readiness according to `poll`: readable, writable.
fn level(socket: &UnixStream) -> (bool, bool) {
    let mut fds = [PollFd::from_borrowed_fd(
        socket.as_fd(),
        PollFlags::IN | PollFlags::OUT,
    )];
    let zero = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut fds, Some(&zero)).unwrap();
    let events = fds[0].revents();
    let down = events.intersects(PollFlags::HUP | PollFlags::ERR);
    (
        down || events.contains(PollFlags::IN),
        down || events.contains(PollFlags::OUT),
    )
}

proptest! {
    #[test]
    fn no_wake_up_is_lost_or_doubled(ops in prop::collection::vec(op(), 1..200)) {
        let mut world = World::new();
        for op in ops {
            world.apply(op);
        }
        world.apply(Op::Turn);
    }
}
