//! A model checker: the code that the engine uses, driven through every order in which things can happen.
//!
//! A world is a small situation, one greenlet with two waits or a semaphore with three greenlets, and what may still happen to
//! it. The search tries whatever may happen next in every world that it comes to, and looks at each of them. What is modelled
//! here is the engine's part around the crate: the ready queue, the hub that takes tasks off it, and what a greenlet does when
//! it runs again.

mod one_wait;
mod permits;

use std::collections::HashSet;
use std::hash::Hash;

/// A situation, and what can happen in it.
trait World: Clone {
    type Event: Copy;
    type Key: Eq + Hash;

    /// What may happen next.
    fn events(&self) -> Vec<Self::Event>;
    /// Lets it happen. Panics if that breaks a promise.
    fn happen(&mut self, event: Self::Event);
    /// Panics if the situation itself breaks a promise.
    fn check(&self);
    /// What tells situations apart.
    fn key(&self) -> Self::Key;
}

/// Visits every world that `first` can become, and returns how many those are.
fn explore<W: World>(first: W) -> usize {
    let mut seen = HashSet::from([first.key()]);
    let mut open = vec![first];
    while let Some(world) = open.pop() {
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
