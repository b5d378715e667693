//! Keeps account of memory blocks of one size that are handed out, freed, and handed out again.

/// The blocks of an allocator, by their indices.
///
/// Freed blocks are *warm* while their pages are in memory. [`cool`](Self::cool) makes the oldest of them *cold*: the caller
/// returns their pages to the kernel. A warm block is handed out before a cold one, and a cold one before a new one.
#[derive(Debug, Default)]
pub struct Blocks {
    /// The index of the first block that was never handed out.
    fresh: u32,
    /// Freed blocks with their pages, the one that was freed last at the end.
    warm: Vec<u32>,
    /// Freed blocks without pages.
    cold: Vec<u32>,
}

impl Blocks {
    /// Returns no blocks.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            fresh: 0,
            warm: Vec::new(),
            cold: Vec::new(),
        }
    }

    /// Takes a free block. `has_memory` is called with the index of a new block; it maps memory for it if need be, and returns
    /// false if there is none: then no block is taken.
    #[inline]
    pub fn take(&mut self, has_memory: impl FnOnce(u32) -> bool) -> Option<u32> {
        if let Some(index) = self.warm.pop().or_else(|| self.cold.pop()) {
            return Some(index);
        }
        let index = self.fresh;
        if !has_memory(index) {
            return None;
        }
        self.fresh += 1;
        Some(index)
    }

    /// Takes back a block, and returns the number of warm blocks.
    #[inline]
    pub fn give_back(&mut self, index: u32) -> usize {
        debug_assert!(index < self.fresh);
        self.warm.push(index);
        self.warm.len()
    }

    /// Makes the oldest `count` warm blocks cold, and returns them in ascending order.
    pub fn cool(&mut self, count: usize) -> Vec<u32> {
        let count = count.min(self.warm.len());
        let mut oldest: Vec<u32> = self.warm.drain(..count).collect();
        oldest.sort_unstable();
        self.cold.extend(oldest.iter().rev());
        oldest
    }

    /// Returns the number of blocks whose pages are in memory, and the number of those that are in use.
    #[must_use]
    pub fn resident(&self) -> (usize, usize) {
        let resident = self.fresh as usize - self.cold.len();
        (resident, resident - self.warm.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::STEPS;
    use proptest::prelude::*;
    use std::collections::HashSet;

    #[test]
    fn a_warm_block_comes_before_a_cold_one_and_that_before_a_new_one() {
        let mut blocks = Blocks::new();
        for index in 0..4 {
            assert_eq!(blocks.take(|_| true), Some(index));
        }
        for index in [2, 0, 3] {
            blocks.give_back(index);
        }
        assert_eq!(blocks.cool(2), [0, 2]);
        assert_eq!(blocks.resident(), (2, 1));
        assert_eq!(blocks.take(|_| true), Some(3));
        assert_eq!(blocks.take(|_| true), Some(0));
        assert_eq!(blocks.take(|_| true), Some(2));
        assert_eq!(blocks.take(|_| true), Some(4));
    }

    #[test]
    fn no_memory_takes_nothing() {
        let mut blocks = Blocks::new();
        assert_eq!(blocks.take(|_| false), None);
        assert_eq!(blocks.take(|index| index == 0), Some(0));
    }

    proptest! {
        #[test]
        fn no_block_is_handed_out_twice(steps in prop::collection::vec((0..3u8, any::<prop::sample::Index>()), 0..STEPS)) {
            let mut blocks = Blocks::new();
            let mut used: Vec<u32> = Vec::new();
            let mut freed = HashSet::new();
            for (step, which) in steps {
                match step {
                    0 => {
                        let index = blocks.take(|_| true).unwrap();
                        prop_assert!(!used.contains(&index));
                        // A new block is taken only when none is free.
                        prop_assert!(freed.remove(&index) || freed.is_empty());
                        used.push(index);
                    }
                    1 if !used.is_empty() => {
                        let index = used.swap_remove(which.index(used.len()));
                        blocks.give_back(index);
                        freed.insert(index);
                    }
                    _ => {
                        let cooled = blocks.cool(which.index(8));
                        prop_assert!(cooled.is_sorted());
                        prop_assert!(cooled.iter().all(|index| freed.contains(index)));
                    }
                }
            }
        }
    }
}
