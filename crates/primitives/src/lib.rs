//! Parts of the engine that know neither Python nor system calls, so that they can be tested by themselves.
//!
//! - [`Pages`] and [`Blocks`] keep account of the memory of greenlets' frames: which pieces are free, and which of those have
//!   lost their pages to the kernel. They deal in indices; the extension has the addresses.
//! - [`ReadyQueue`] orders the tasks of a loop, and decides when events are to be looked for.
//! - [`WorkSemaphore`] and [`spin`] let threads wait for each other.

#![forbid(unsafe_code)]

mod blocks;
mod pages;
pub mod ready_queue;
pub mod spin;
mod work_semaphore;

pub use blocks::Blocks;
pub use pages::Pages;
pub use ready_queue::ReadyQueue;
pub use work_semaphore::{WorkSemaphore, keep_idle_workers};

/// Iterates over the runs of neighbouring indices in `sorted`, none of which crosses a multiple of `in_a_segment`.
///
/// Memory of a run lies side by side, so that one system call returns all of it to the kernel.
pub fn runs(sorted: &[u32], in_a_segment: u32) -> impl Iterator<Item = &[u32]> {
    sorted.chunk_by(move |one, next| one + 1 == *next && !next.is_multiple_of(in_a_segment))
}

/// The most steps of a random program in the tests. Miri takes a thousand times as long for each.
#[cfg(test)]
const STEPS: usize = if cfg!(miri) { 20 } else { 500 };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_end_at_gaps_and_at_segments() {
        let found: Vec<&[u32]> = runs(&[1, 2, 3, 4, 5, 9, 11, 12], 4).collect();
        assert_eq!(found, [&[1, 2, 3][..], &[4, 5], &[9], &[11], &[12]]);
        assert_eq!(runs(&[], 4).count(), 0);
    }
}
