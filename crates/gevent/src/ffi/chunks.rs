//! Small memory for the Python frames of greenlets that do not call deep.
//!
//! CPython's chunk for frames has 16 KiB, of which a greenlet that waits in its handler's `recv` uses a few hundred bytes; the
//! page that they lie in stays resident. A `gevent.Greenlet` therefore begins with a chunk of 1 KiB, and as many as fit share
//! a page. Where that is full CPython appends a chunk of its own, and takes it away again when the deeper calls have returned.
//!
//! ```text
//! a segment of 4 MiB (segments.rs)
//! ┌───────────────────────────┬───────────────────────────┬──────────
//! │ page                      │ page                      │ ...            a page is the kernel's: 4, 16 or 64 KiB
//! │┌──────┬──────┬──────┬────┐│                           │
//! ││chunk │chunk │chunk │free││                           │
//! │└──┬───┴──────┴──────┴────┘│                           │
//! └───┼───────────────────────┴───────────────────────────┴──────────
//!     ▼
//!     previous = NULL │ size = 1024 │ top │ a word that CPython skips │ frame of f │ frame of recv │ free
//!     └──────── head (`Chunk`) ─────────┘                             ▲            ▲
//!                                                              the thread state's fields (`FrameStack`) point here
//! ```
//!
//! A chunk comes back as the greenlet's `run` ends ([`end`]). A greenlet that is dropped while it is under way leaves its chunks
//! to greenlet, which gives them to the arena allocator. That must then be ours, or memory of ours would be unmapped by
//! another allocator: [`Begun`](super::collector::Begun) sees to it.
//!
//! As in [`super::arena`], nobody waits for the lock: a greenlet that does not get it begins with CPython's own chunk.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard};

use pyo3::ffi;
use pyo3::prelude::*;

use super::arena;
use super::frame_stack::{self, Chunk, FrameStack};
use super::segments::{self, Location, Owner, Segments};

const CHUNK: usize = 1024;
/// CPython's smallest chunk; its others are multiples.
const OF_CPYTHON: usize = 16 * 1024;
/// The number of bytes of unused pages that are kept for the next greenlets.
const KEPT: usize = 8 << 20;
/// The number of bytes that are returned to the kernel together. Greenlets end in any order, and each run of neighbouring pages
/// costs a system call: the more pages are returned together, the longer the runs.
const BATCH: usize = 8 << 20;
/// The number of attempts to get the lock for a freed chunk before it is given up.
const TRIES: u32 = 1000;

/// The offset of the fields of [`FrameStack`] in a thread's state; it is 0 where this CPython is not known.
static FIELDS: AtomicUsize = AtomicUsize::new(0);

static PAGES: Mutex<Pages> = Mutex::new(Pages::new());

/// The chunks of one page.
struct Page {
    /// A bit for each chunk that is free.
    free: u64,
    /// True if its memory was given back to the kernel.
    cold: bool,
}

/// The pages, and which of their chunks are free.
struct Pages {
    segments: Segments,
    /// The number of chunks that a page has, and the bits of all of them.
    each: usize,
    whole: u64,
    pages: Vec<Page>,
    /// Pages with a free chunk that are not cold.
    open: Vec<u32>,
    /// The number of open pages whose chunks are all free.
    unused: usize,
    cold: Vec<u32>,
}

impl Pages {
    const fn new() -> Self {
        Self {
            segments: Segments::new(),
            each: 0,
            whole: 0,
            pages: Vec::new(),
            open: Vec::new(),
            unused: 0,
            cold: Vec::new(),
        }
    }

    /// Sets the number of chunks that a page has; returns false when a page is smaller than a chunk, or has more than 64.
    fn lay_out(&mut self) -> bool {
        let each = rustix::param::page_size() / CHUNK;
        if !(1..=64).contains(&each) {
            return false;
        }
        (self.each, self.whole) = (each, u64::MAX >> (64 - each));
        true
    }

    fn page_size(&self) -> usize {
        self.each * CHUNK
    }

    fn take(&mut self) -> Option<*mut Chunk> {
        let page = match self.open.last().copied() {
            Some(page) => page,
            None => self.open_one()?,
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
        let index = page * self.each as u32 + which;
        Some(self.segments.address(index, CHUNK).cast())
    }

    /// Opens one more page: a cold one, or else one that was never used.
    fn open_one(&mut self) -> Option<u32> {
        let page = match self.cold.pop() {
            Some(page) => page,
            None => {
                let mapped = self.segments.count() * (segments::SIZE / self.page_size());
                if self.pages.len() == mapped && !self.segments.grow(Owner::Chunks) {
                    return None;
                }
                self.pages.push(Page {
                    free: self.whole,
                    cold: false,
                });
                u32::try_from(self.pages.len() - 1).ok()?
            }
        };
        let entry = &mut self.pages[page as usize];
        (entry.free, entry.cold) = (self.whole, false);
        self.unused += 1;
        self.open.push(page);
        Some(page)
    }

    fn give_back(&mut self, index: u32) {
        let (page, which) = (index / self.each as u32, index % self.each as u32);
        let entry = &mut self.pages[page as usize];
        if entry.free == 0 {
            self.open.push(page);
        }
        entry.free |= 1 << which;
        if entry.free == self.whole {
            self.unused += 1;
            if self.unused * self.page_size() >= KEPT + BATCH {
                self.cool();
            }
        }
    }

    /// Returns the unused pages with the highest addresses to the kernel: many of those lie side by side.
    fn cool(&mut self) {
        let most = BATCH / self.page_size();
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
        let in_a_segment = (segments::SIZE / self.page_size()) as u32;
        for run in chosen.chunk_by(|one, next| one + 1 == *next && next % in_a_segment != 0) {
            let start = self.segments.address(run[0], self.page_size());
            // SAFETY: these pages lie side by side in a segment, and all their chunks were freed. They may be taken again as
            // soon as the lock is released, which the caller holds.
            unsafe { segments::forget(start, self.page_size() * run.len()) };
        }
    }
}

/// Returns how many bytes of small chunks are resident, and how many of those are in use; 0 while somebody holds the lock.
pub fn memory() -> (usize, usize) {
    let Ok(pages) = PAGES.try_lock() else {
        return (0, 0);
    };
    let warm = pages.pages.iter().filter(|page| !page.cold);
    let used = warm.map(|page| pages.each - page.free.count_ones() as usize);
    let resident = (pages.pages.len() - pages.cold.len()) * pages.page_size();
    (resident, used.sum::<usize>() * CHUNK)
}

/// Finds the fields of this CPython's thread state that say where frames go. Where they are not known, or pages are too large
/// to be shared by chunks, greenlets begin with CPython's own chunks.
pub fn install(py: Python<'_>) {
    let Some(offset) = frame_stack::offset(py) else {
        return;
    };
    // SAFETY: the thread's state is live, and the offset lies in it.
    let stack = unsafe { &*frame_stack::at(offset) };
    // Fields of another layout would hardly look like these: the code that imports this has frames, so the chunk has to hold some.
    let start = stack.chunk.addr();
    let plausible = start != 0
        && start % 8 == 0
        && stack.limit.addr().checked_sub(start).is_some_and(|size| {
            size % OF_CPYTHON == 0 && size <= 1 << 24 && size > stack.top.addr().wrapping_sub(start)
        });
    if plausible
        && PAGES
            .try_lock()
            .is_ok_and(|mut pages| pages.each > 0 || pages.lay_out())
    {
        FIELDS.store(offset, Relaxed);
    }
}

/// Returns the address of the first frame in a chunk. CPython leaves the first word of a thread's first chunk unused, so that
/// the chunk never becomes empty and is never popped.
///
/// # Safety
/// The chunk is live.
unsafe fn base(chunk: *mut Chunk) -> *mut *mut ffi::PyObject {
    // SAFETY: by this function's contract, it is larger than its head.
    unsafe { chunk.add(1).cast::<*mut ffi::PyObject>().add(1) }
}

/// Returns the fields of the running thread's state, if they are known.
///
/// # Safety
/// The GIL is held.
unsafe fn fields() -> Option<*mut FrameStack> {
    match FIELDS.load(Relaxed) {
        0 => None,
        // SAFETY: by this function's contract; `install` found the fields at this offset.
        offset => Some(unsafe { frame_stack::at(offset) }),
    }
}

/// Gives the running greenlet, which has just begun, a small chunk, unless it has one already.
///
/// # Safety
/// The GIL is held, and a greenlet runs whose chunks are freed at its end, not the thread's own.
#[inline(never)]
pub unsafe fn begin() {
    // SAFETY: the GIL is held, so that nobody else uses the fields.
    let (py, Some(stack)) = (unsafe { (Python::assume_attached(), fields()) }) else {
        return;
    };
    // SAFETY: as above.
    let stack = unsafe { &mut *stack };
    if !stack.chunk.is_null() {
        return;
    }
    arena::install(py);
    let Some(chunk) = PAGES.try_lock().ok().and_then(|mut pages| pages.take()) else {
        return;
    };
    // SAFETY: the chunk is `CHUNK` bytes of our own memory, aligned to them, and handed out to nobody else. The fields get
    // what CPython's `push_chunk` gives them for a first chunk.
    unsafe {
        chunk.write(Chunk {
            previous: std::ptr::null_mut(),
            size: CHUNK,
            top: 0,
        });
        stack.chunk = chunk;
        stack.top = base(chunk);
        stack.limit = chunk.byte_add(CHUNK).cast();
    }
}

/// Takes back the chunk of the running greenlet, which is about to end.
///
/// # Safety
/// The GIL is held, and nothing runs in the greenlet any more but the function that called [`begin`].
#[inline(never)]
pub unsafe fn end() {
    // SAFETY: as in `begin`.
    let (py, Some(stack)) = (unsafe { (Python::assume_attached(), fields()) }) else {
        return;
    };
    // SAFETY: as in `begin`.
    let stack = unsafe { &mut *stack };
    let Some(location) =
        segments::find(stack.chunk.cast()).filter(|location| location.owner == Owner::Chunks)
    else {
        return;
    };
    // SAFETY: the chunk is live.
    if stack.top == unsafe { base(stack.chunk) } {
        stack.chunk = std::ptr::null_mut();
        stack.top = std::ptr::null_mut();
        stack.limit = std::ptr::null_mut();
        give_back(&location);
    } else {
        // Frames are left in it: greenlet frees it.
        arena::install(py);
    }
}

/// Takes back the chunk at this location.
pub fn give_back(location: &Location) {
    let lock = || -> Option<MutexGuard<'static, Pages>> {
        let pages = PAGES.try_lock().ok();
        if pages.is_none() {
            std::hint::spin_loop();
        }
        pages
    };
    // Without the lock the chunk is given up: a kilobyte is lost.
    if let Some(mut pages) = (0..TRIES).find_map(|_| lock()) {
        pages.give_back(location.index(CHUNK));
    }
}
