//! Small chunks of memory for the Python frames of greenlets whose calls are not nested deeply.
//!
//! CPython's chunk for frames has 16 KiB, of which a greenlet that waits in its handler's `recv` uses a few hundred
//! bytes; the page that they lie in stays resident. A `gevent.Greenlet` therefore begins with a chunk of 1 KiB, and as
//! many as fit share a page. Where that is full CPython appends a chunk of its own, and takes it away again when the
//! deeper calls have returned.
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
//! The word that CPython skips says whose chunk it is, for locks that note their holder ([`noted`]).
//!
//! A chunk comes back as the greenlet's `run` ends ([`end`]). A greenlet that is dropped while it is under way leaves
//! its chunks to greenlet, which gives them to the arena allocator. That must then be ours, or memory of ours would be
//! unmapped by another allocator: [`Begun`](super::collector::Begun) sees to it.
//!
//! As in [`super::arena`], no thread waits for the lock: a greenlet that does not get it begins with CPython's own
//! chunk.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard};

use primitives::Pages;
use pyo3::ffi;
use pyo3::prelude::*;

use super::arena;
use super::frame_stack::{self, Chunk, FrameStack};
use super::segments::{self, Location, Owner, Segments};

const CHUNK: usize = 1024;
/// The size of CPython's smallest chunk; all others are multiples of it.
const OF_CPYTHON: usize = 16 * 1024;
/// The number of bytes of unused pages that are kept for the next greenlets.
const KEPT: usize = 8 << 20;
/// The number of bytes that are returned to the kernel together. Greenlets end in any order, and each run of
/// neighbouring pages costs a system call: the more pages are returned together, the longer the runs.
const BATCH: usize = 8 << 20;
/// The number of attempts to get the lock for a freed chunk before it is given up.
const TRIES: u32 = 1000;

/// The offset of the fields of [`FrameStack`] in a thread's state; it is 0 where this CPython is not known.
static FIELDS: AtomicUsize = AtomicUsize::new(0);

static MEMORY: Mutex<Memory> = Mutex::new(Memory {
    segments: Segments::new(),
    pages: Pages::new(),
});

/// The memory that small chunks are cut from.
struct Memory {
    segments: Segments,
    /// The account of pages and their chunks, which says which are free.
    pages: Pages,
}

impl Memory {
    fn page_size(&self) -> usize {
        self.pages.chunks_per_page() * CHUNK
    }

    fn take(&mut self) -> Option<*mut Chunk> {
        let in_a_segment = segments::SIZE / self.page_size().max(1);
        let Self { segments, pages } = self;
        let index = pages
            .take(|page| page < segments.count() * in_a_segment || segments.grow(Owner::Chunks))?;
        Some(segments.address(index, CHUNK).cast())
    }

    fn give_back(&mut self, index: u32) {
        let size = self.page_size();
        if self.pages.give_back(index) * size < KEPT + BATCH {
            return;
        }
        let in_a_segment = (segments::SIZE / size) as u32;
        for run in primitives::runs(&self.pages.cool(BATCH / size), in_a_segment) {
            let start = self.segments.address(run[0], size);
            // SAFETY: these pages lie side by side in a segment, and all their chunks were freed. They may be taken
            // again as soon as the lock is released, which the caller holds.
            unsafe { segments::forget(start, size * run.len()) };
        }
    }
}

/// Returns the number of resident bytes of small chunks, and how many of those are in use; both are 0 while another
/// thread holds the lock.
pub fn memory() -> (usize, usize) {
    let Ok(memory) = MEMORY.try_lock() else {
        return (0, 0);
    };
    let (pages, used) = memory.pages.resident();
    (pages * memory.page_size(), used * CHUNK)
}

/// Finds the fields of this CPython's thread state that say where frames go. Where they are not known, or pages are too
/// large to be shared by chunks, greenlets begin with CPython's own chunks.
pub fn install(py: Python<'_>) {
    let Some(offset) = frame_stack::offset(py) else {
        return;
    };
    // SAFETY: the thread's state is live, and the offset lies in it.
    let stack = unsafe { &*frame_stack::at::<FrameStack>(offset) };
    // These checks detect a different layout: the code that imports this module has frames, so the chunk has to hold
    // some.
    let start = stack.chunk.addr();
    let plausible = start != 0
        && start % 8 == 0
        && stack.limit.addr().checked_sub(start).is_some_and(|size| {
            size % OF_CPYTHON == 0 && size <= 1 << 24 && size > stack.top.addr().wrapping_sub(start)
        });
    if plausible
        && MEMORY
            .try_lock()
            .is_ok_and(|mut memory| memory.pages.lay_out(rustix::param::page_size() / CHUNK))
    {
        FIELDS.store(offset, Relaxed);
    }
}

/// Returns the address of the first frame in a chunk. CPython leaves the first word of a thread's first chunk unused,
/// so that the chunk never becomes empty and is never popped.
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

/// The bit that tells the number of a greenlet from whatever else the skipped word holds: nothing, or an address.
pub const NUMBERED: u64 = 1 << 63;

/// Returns the word of the running greenlet's first chunk that CPython skips. That chunk is the greenlet's alone for as
/// long as its frames last, so the word says who runs, also after a switch by hand, which the engine does not see.
#[inline]
fn word(_py: Python<'_>) -> Option<*mut u64> {
    // SAFETY: the GIL is held.
    let stack = unsafe { fields() }?;
    // SAFETY: the fields are those of the running thread, which nobody else changes meanwhile.
    let mut chunk = unsafe { (*stack).chunk };
    if chunk.is_null() {
        return None;
    }
    // SAFETY: the chunks of a running greenlet are live, and linked up to the first one.
    unsafe {
        while !(*chunk).previous.is_null() {
            chunk = (*chunk).previous;
        }
        Some(chunk.add(1).cast())
    }
}

/// Returns what [`note`] noted for the running greenlet, or 0.
#[inline]
pub fn noted(py: Python<'_>) -> u64 {
    // SAFETY: the word lies in a live chunk. It is zero at first, as new memory of the kernel is and as the arena
    // allocator clears it, or an address where CPython used the chunk for another purpose before.
    let number = word(py).map_or(0, |word| unsafe { word.read() });
    if number & NUMBERED == 0 { 0 } else { number }
}

/// Notes the number of the running greenlet, which has the bit [`NUMBERED`], where its frames are.
pub fn note(py: Python<'_>, number: u64) {
    if let Some(word) = word(py) {
        // SAFETY: the word lies in a live chunk, and CPython makes no use of it.
        unsafe { word.write(number) };
    }
}

/// Gives the running greenlet, which has just begun and has this number, a small chunk, unless it has one already.
///
/// # Safety
/// The GIL is held, and a greenlet runs whose chunks are freed at its end, not the thread's own.
#[inline(never)]
pub unsafe fn begin(number: u64) {
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
    let Some(chunk) = MEMORY.try_lock().ok().and_then(|mut memory| memory.take()) else {
        return;
    };
    // SAFETY: the chunk is `CHUNK` bytes of our own memory, aligned to them, and handed out to nobody else. The fields
    // get what CPython's `push_chunk` gives them for a first chunk.
    unsafe {
        chunk.write(Chunk {
            previous: std::ptr::null_mut(),
            size: CHUNK,
            top: 0,
        });
        chunk.add(1).cast::<u64>().write(number);
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
        // The chunk still holds frames, so greenlet will free it by the arena allocator, which must be ours.
        arena::install(py);
    }
}

/// Takes back the chunk at this location.
pub fn give_back(location: &Location) {
    let lock = || -> Option<MutexGuard<'static, Memory>> {
        let memory = MEMORY.try_lock().ok();
        if memory.is_none() {
            std::hint::spin_loop();
        }
        memory
    };
    // Without the lock the chunk is given up: a kilobyte is lost.
    if let Some(mut memory) = (0..TRIES).find_map(|_| lock()) {
        memory.give_back(location.index(CHUNK));
    }
}
