//! Memory for the first frames of greenlets.
//!
//! Since CPython 3.11 each greenlet's first Python frame takes a 16 KiB data-stack chunk from the arena allocator, which
//! maps it, and gives it back at its end, which unmaps it: two system calls and page faults a greenlet. The allocator
//! installed here cuts such blocks from [`segments`](super::segments) of its own and hands freed ones out again. It keeps the
//! pages of some and returns those of the rest to the kernel, many blocks a call. It also keeps a few of the arenas that
//! CPython frees when a crowd of greenlets has ended, for the next crowd. Every other size passes through.
//!
//! The allocator is the process's: since 3.12 interpreters with a GIL of their own call it at the same time. Nobody waits
//! here, as a lock that another thread held during a fork stays held in the child: who does not get it goes around it.

use std::ffi::c_void;
use std::hint::spin_loop;
use std::sync::{Mutex, MutexGuard};

use pyo3::Python;
use pyo3::ffi;

use super::chunks;
use super::segments::{self, Owner, Segments};

const BLOCK: usize = 16 * 1024;
const EACH: u32 = (segments::SIZE / BLOCK) as u32;
/// What CPython takes for small objects at a time.
const ARENA_SIZE: usize = 1024 * 1024;
/// Arenas that are kept when CPython frees them.
const ARENAS_KEPT: usize = 8;
/// Freed blocks whose pages are kept for the next greenlets.
const KEPT: usize = 1024;
/// Blocks whose pages are returned at once.
const BATCH: usize = 256;
/// How often a freed block is offered to somebody who is busy.
const TRIES: u32 = 1000;

/// The allocator that was there when this one was put in front of it: the context that CPython passes along. Another
/// extension may put its own in front of this one, or in its place; then this one is put in front of that, with another
/// `Below`, so that each passes on what is not its own to the one it was put in front of.
struct Below(ffi::PyObjectArenaAllocator);

static BLOCKS: Mutex<Blocks> = Mutex::new(Blocks::new());

struct Blocks {
    segments: Segments,
    /// Blocks that were never handed out begin here.
    fresh: u32,
    /// Freed blocks with their pages, the last one freed last.
    warm: Vec<u32>,
    /// Freed blocks without pages.
    cold: Vec<u32>,
    /// Freed arenas.
    arenas: Vec<Spare>,
}

/// The address of an arena that the allocator below handed out and has not got back.
struct Spare(*mut c_void);

// SAFETY: nobody but who takes it out uses the memory.
unsafe impl Send for Spare {}

fn current(_py: Python<'_>) -> ffi::PyObjectArenaAllocator {
    // SAFETY: the structure consists of pointers and functions that may be NULL, which are valid when zeroed; `Get` fills it.
    unsafe {
        let mut current = std::mem::zeroed::<ffi::PyObjectArenaAllocator>();
        ffi::PyObject_GetArenaAllocator(&raw mut current);
        current
    }
}

/// Puts this allocator in front of the current one, unless that is this one.
///
/// Small chunks ([`super::chunks`]) may only be freed here, so this is called before one is handed out, and again before
/// CPython may free one.
#[inline]
pub fn install(py: Python<'_>) {
    let below = current(py);
    if !below
        .free
        .is_some_and(|function| std::ptr::fn_addr_eq(function, free as Free))
    {
        install_before(py, below);
    }
}

type Free = extern "C" fn(*mut c_void, *mut c_void, usize);

#[cold]
fn install_before(_py: Python<'_>, below: ffi::PyObjectArenaAllocator) {
    // Leaked, as somebody may keep a copy of the structure that refers to it.
    let below = Box::leak(Box::new(Below(below)));
    let mut ours = ffi::PyObjectArenaAllocator {
        ctx: std::ptr::from_ref(below).cast_mut().cast(),
        alloc: Some(alloc),
        free: Some(free),
    };
    // SAFETY: `Set` copies a structure of valid functions and their context; the GIL is held.
    unsafe { ffi::PyObject_SetArenaAllocator(&raw mut ours) };
}

impl Blocks {
    const fn new() -> Self {
        Self {
            segments: Segments::new(),
            fresh: 0,
            warm: Vec::new(),
            cold: Vec::new(),
            arenas: Vec::new(),
        }
    }

    fn take(&mut self) -> Option<*mut c_void> {
        let index = match self.warm.pop().or_else(|| self.cold.pop()) {
            Some(index) => index,
            None => self.take_fresh()?,
        };
        Some(self.segments.address(index, BLOCK))
    }

    fn take_fresh(&mut self) -> Option<u32> {
        let mapped = self.segments.count() as u32 * EACH;
        if self.fresh == mapped && !self.segments.grow(Owner::Arena) {
            return None;
        }
        self.fresh += 1;
        Some(self.fresh - 1)
    }

    fn give_back(&mut self, index: u32) {
        self.warm.push(index);
        if self.warm.len() < KEPT + BATCH {
            return;
        }
        let mut oldest: Vec<u32> = self.warm.drain(..BATCH).collect();
        oldest.sort_unstable();
        let adjacent = |one: &u32, next: &u32| one + 1 == *next && !next.is_multiple_of(EACH);
        for run in oldest.chunk_by(adjacent) {
            let start = self.segments.address(run[0], BLOCK);
            // SAFETY: these blocks lie side by side in a segment, were freed by CPython and are handed out to nobody
            // meanwhile.
            unsafe { segments::forget(start, BLOCK * run.len()) };
        }
        self.cold.extend(oldest.into_iter().rev());
    }

    /// Keeps a freed arena; false when there are enough.
    fn keep_arena(&mut self, arena: *mut c_void) -> bool {
        let room = self.arenas.len() < ARENAS_KEPT;
        if room {
            self.arenas.push(Spare(arena));
        }
        room
    }
}

fn lock_soon() -> Option<MutexGuard<'static, Blocks>> {
    (0..TRIES).find_map(|_| {
        let blocks = BLOCKS.try_lock().ok();
        if blocks.is_none() {
            spin_loop();
        }
        blocks
    })
}

fn below(context: *mut c_void) -> &'static ffi::PyObjectArenaAllocator {
    // SAFETY: CPython passes the context that these functions were installed with, a leaked `Below`.
    &unsafe { &*context.cast::<Below>() }.0
}

extern "C" fn alloc(context: *mut c_void, size: usize) -> *mut c_void {
    let kept = match (size, BLOCKS.try_lock()) {
        (BLOCK, Ok(mut blocks)) => blocks.take(),
        (ARENA_SIZE, Ok(mut blocks)) => blocks.arenas.pop().map(|spare| spare.0),
        _ => None,
    };
    if let Some(block) = kept {
        return block;
    }
    let below = below(context);
    below
        .alloc
        .map_or(std::ptr::null_mut(), |alloc| alloc(below.ctx, size))
}

extern "C" fn free(context: *mut c_void, block: *mut c_void, size: usize) {
    if let Some(place) = segments::find(block) {
        match place.owner {
            Owner::Chunks => chunks::give_back(&place),
            Owner::Arena => match lock_soon() {
                Some(mut blocks) => blocks.give_back(place.index(BLOCK)),
                // The address is lost, the memory is not.
                // SAFETY: CPython has freed the block, and nobody gets it again.
                None => unsafe { segments::forget(block, BLOCK) },
            },
        }
        return;
    }
    // Handed out again as it is: CPython does not ask for zeroed memory.
    let kept = size == ARENA_SIZE
        && BLOCKS
            .try_lock()
            .is_ok_and(|mut blocks| blocks.keep_arena(block));
    let below = below(context);
    if !kept && let Some(free) = below.free {
        free(below.ctx, block, size);
    }
}
