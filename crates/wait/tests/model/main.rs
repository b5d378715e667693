//! A model checker: the code that the engine uses, driven through every order in which things can happen.
//!
//! A world is a small situation, such as one greenlet with two waits or a semaphore with three greenlets, and the
//! events that may still happen to it. The search tries every possible next event in every world that it reaches, and
//! checks each of them. The model covers the engine's part around the crate: the ready queue, the hub that takes tasks
//! off it, and the steps of a greenlet when it runs again.

mod one_wait;
mod permits;

use std::collections::HashSet;
use std::hash::Hash;

/// A situation, and the events that can happen in it.
trait World: Clone {
    type Event: Copy;
    type Key: Eq + Hash;

    /// Returns the events that may happen next.
    fn events(&self) -> Vec<Self::Event>;
    /// Applies the event. Panics if it breaks a promise.
    fn happen(&mut self, event: Self::Event);
    /// Panics if the situation itself breaks a promise.
    fn check(&self);
    /// Returns a key that distinguishes situations.
    fn key(&self) -> Self::Key;
}

/// The number of worlds after which the search ends. Miri takes some thousand times as long for each, and meets the same code
/// in the first hundred.
const MOST: usize = if cfg!(miri) { 100 } else { usize::MAX };

/// Visits every world that `first` can become, and returns how many those are.
fn explore<W: World>(first: W) -> usize {
    let mut seen = HashSet::from([first.key()]);
    let mut open = vec![first];
    while let Some(world) = open.pop()
        && seen.len() < MOST
    {
        world.check();
        for event in world.events() {
            let mut next = world.clone();
            next.happen(event);
            if seen.insert(next.key()) {
                open.push(next);
            }
        }
    }
    seen.len()
}
