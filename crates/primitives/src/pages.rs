//! Keeps account of small chunks of memory, several of which share a page.

/// One page of chunks.
#[derive(Debug)]
struct Page {
    /// A bit for each chunk that is free.
    free: u64,
    /// True if its memory was given back to the kernel.
    cold: bool,
}

/// The chunks of an allocator, by their indices: those of page `n` are `n * chunks_per_page` and the following.
///
/// Chunks are taken from the page that was opened last, so that few pages are in use. A page whose chunks are all free
/// is *unused*; [`cool`](Self::cool) makes unused pages *cold*: the caller returns their memory to the kernel.
#[derive(Debug, Default)]
pub struct Pages {
    /// The number of chunks that a page has, and the bits of all of them.
    each: u32,
    whole: u64,
    pages: Vec<Page>,
    /// Pages with a free chunk that are not cold.
    open: Vec<u32>,
    /// The number of open pages whose chunks are all free.
    unused: usize,
    cold: Vec<u32>,
}

impl Pages {
    /// Returns no pages. [`lay_out`](Self::lay_out) comes before everything else.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            each: 0,
            whole: 0,
            pages: Vec::new(),
            open: Vec::new(),
            unused: 0,
            cold: Vec::new(),
        }
    }

    /// Sets the number of chunks that a page has; returns false if it is not between 1 and 64. Called again, it changes
    /// nothing.
    pub fn lay_out(&mut self, each: usize) -> bool {
        if self.each > 0 {
            return true;
        }
        match u32::try_from(each) {
            Ok(each @ 1..=64) => {
                (self.each, self.whole) = (each, u64::MAX >> (64 - each));
                true
            }
            _ => false,
        }
    }

    /// Returns the number of chunks that a page has; 0 before [`lay_out`](Self::lay_out).
    #[must_use]
    pub fn chunks_per_page(&self) -> usize {
        self.each as usize
    }

    /// Takes a free chunk. `has_memory` is called with the number of a page that was never used; it maps memory for it
    /// if need be, and returns false if there is none: then no chunk is taken.
    #[inline]
    pub fn take(&mut self, has_memory: impl FnOnce(usize) -> bool) -> Option<u32> {
        let page = match self.open.last().copied() {
            Some(page) => page,
            None => self.open_one(has_memory)?,
        };
        let entry = &mut self.pages[page as usize];
        if entry.free == self.whole {
            self.unused -= 1;
        }
        let which = entry.free.trailing_zeros();
        entry.free &= entry.free - 1;
        if entry.free == 0 {
            self.open.pop();
        }
        Some(page * self.each + which)
    }

    /// Opens one more page: a cold one, or else one that was never used.
    fn open_one(&mut self, has_memory: impl FnOnce(usize) -> bool) -> Option<u32> {
        let page = match self.cold.pop() {
            Some(page) => page,
            None => {
                let page = u32::try_from(self.pages.len()).ok()?;
                if self.each == 0 || !has_memory(self.pages.len()) {
                    return None;
                }
                self.pages.push(Page {
                    free: self.whole,
                    cold: false,
                });
                page
            }
        };
        self.pages[page as usize].cold = false;
        self.unused += 1;
        self.open.push(page);
        Some(page)
    }

    /// Takes back a chunk, and returns the number of unused pages.
    #[inline]
    pub fn give_back(&mut self, index: u32) -> usize {
        let (page, which) = (index / self.each, index % self.each);
        let entry = &mut self.pages[page as usize];
        debug_assert!(entry.free & (1 << which) == 0, "the chunk is free");
        if entry.free == 0 {
            self.open.push(page);
        }
        entry.free |= 1 << which;
        self.unused += usize::from(entry.free == self.whole);
        self.unused
    }

    /// Makes up to `most` unused pages cold, and returns their numbers in ascending order: those with the highest ones,
    /// as many of those lie side by side.
    pub fn cool(&mut self, most: usize) -> Vec<u32> {
        let unused = (0..self.pages.len()).rev();
        let mut chosen: Vec<u32> = unused
            .filter(|page| self.pages[*page].free == self.whole && !self.pages[*page].cold)
            .take(most)
            .map(|page| page as u32)
            .collect();
        for page in &chosen {
            self.pages[*page as usize].cold = true;
        }
        self.unused -= chosen.len();
        self.open.retain(|page| !self.pages[*page as usize].cold);
        self.cold.extend(&chosen);
        chosen.reverse();
        chosen
    }

    /// Returns the number of pages that are in memory, and the number of chunks that are in use.
    #[must_use]
    pub fn resident(&self) -> (usize, usize) {
        let warm = self.pages.iter().filter(|page| !page.cold);
        let used = warm.map(|page| (self.each - page.free.count_ones()) as usize);
        (self.pages.len() - self.cold.len(), used.sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::STEPS;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn laid_out(each: usize) -> Pages {
        let mut pages = Pages::new();
        assert!(pages.lay_out(each));
        pages
    }

    #[test]
    fn pages_too_small_or_too_large_are_refused() {
        assert!(!Pages::new().lay_out(0));
        assert!(!Pages::new().lay_out(65));
        assert_eq!(laid_out(64).take(|_| true), Some(0));
    }

    #[test]
    fn a_page_is_filled_before_the_next_one_is_opened() {
        let mut pages = laid_out(4);
        let taken: Vec<u32> = (0..6).filter_map(|_| pages.take(|_| true)).collect();
        assert_eq!(taken, [0, 1, 2, 3, 4, 5]);
        pages.give_back(2);
        assert_eq!(pages.take(|_| true), Some(2));
        assert_eq!(pages.take(|_| true), Some(6));
    }

    #[test]
    fn cold_pages_are_used_before_new_ones() {
        let mut pages = laid_out(2);
        for _ in 0..6 {
            pages.take(|_| true);
        }
        assert_eq!((0..6).map(|index| pages.give_back(index)).max(), Some(3));
        assert_eq!(pages.cool(2), [1, 2]);
        assert_eq!(pages.resident(), (1, 0));
        assert_eq!(pages.cool(9), [0]);
        let mut asked = 0;
        for _ in 0..6 {
            pages.take(|_| {
                asked += 1;
                true
            });
        }
        assert_eq!(asked, 0);
        assert_eq!(pages.take(|page| page == 3), Some(6));
        assert_eq!(pages.take(|_| false), Some(7));
        assert_eq!(pages.take(|_| false), None);
    }

    proptest! {
        #[test]
        fn no_chunk_is_handed_out_twice_and_used_pages_stay_warm(
            each in 1..=64usize,
            steps in prop::collection::vec((0..5u8, any::<prop::sample::Index>()), 0..STEPS),
        ) {
            let mut pages = laid_out(each);
            let mut used: Vec<u32> = Vec::new();
            let mut cold = HashSet::new();
            for (step, which) in steps {
                match step {
                    0 | 1 => {
                        let index = pages.take(|_| true).unwrap();
                        prop_assert!(!used.contains(&index));
                        cold.remove(&(index / each as u32));
                        used.push(index);
                    }
                    2 | 3 if !used.is_empty() => {
                        let index = used.swap_remove(which.index(used.len()));
                        let unused = pages.give_back(index);
                        let in_use: HashSet<u32> = used.iter().map(|index| index / each as u32).collect();
                        prop_assert_eq!(unused, pages.pages.len() - in_use.len() - cold.len());
                        prop_assert_eq!(pages.resident(), (pages.pages.len() - cold.len(), used.len()));
                    }
                    _ => {
                        for page in pages.cool(which.index(4)) {
                            prop_assert!(used.iter().all(|index| index / each as u32 != page));
                            prop_assert!(cold.insert(page));
                        }
                    }
                }
            }
        }
    }
}
