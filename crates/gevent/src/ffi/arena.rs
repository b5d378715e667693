//! The memory of greenlets' Python frames, for which this module puts an allocator of its own in front of CPython's.
//!
//! # The problem
//!
//! Since 3.11 CPython keeps the Python frames of a thread in *data-stack chunks* of 16 KiB, and greenlet gives every greenlet
//! chunks of its own. CPython takes each chunk from its arena allocator, which asks the kernel: `mmap` at a greenlet's first
//! call, a page fault at the first touch, `munmap` at its end. That is most of what a short greenlet costs. And a greenlet
//! that waits has seldom more than two or three frames, for which a page of 4 KiB stays resident.
//!
//! # Three layers
//!
//! ```text
//! greenlet's first frame                                   a call too deep for the chunk
//!        │ 1 KiB                                                  │ 16 KiB
//!        ▼                                                        ▼
//!  chunks.rs   ┌────┬────┬────┬────┐           arena.rs  ┌────────────────┬────────────────┬──
//!  (a page:)   │head│head│head│free│           (blocks:) │ block 0        │ block 1        │ ..
//!              │ f1 │ f1 │ f1 │    │                     │ warm           │ cold: no pages │
//!              └────┴────┴────┴────┘                     └────────────────┴────────────────┴──
//!        └───────────────┬────────────────────────────────────────┘
//!                        ▼
//!  segments.rs   4 MiB at an address that is a multiple of 4 MiB:  which owner's is it?  a table without a lock says
//!                        ▼
//!                  mmap, madvise
//! ```
//!
//! - [`segments`] takes 4 MiB at a time from the kernel and knows any address of it again.
//! - This file cuts blocks of 16 KiB from segments and hands freed ones out again. The last freed ones are *warm*: their
//!   pages are in memory and in the processor's caches. Beyond [`KEPT`] of them the oldest become *cold*: their pages go back
//!   to the kernel, many blocks in one system call.
//! - [`chunks`] gives a `gevent.Greenlet` one kilobyte to begin with, several of which share a page.
//!
//! # Why at the arena allocator
//!
//! The chunk allocator itself is not part of CPython's API; the arena allocator is (`PyObject_SetArenaAllocator`), and
//! it is the only one that is asked for exactly these sizes. CPython takes 1 MiB arenas for small objects there as
//! well: those pass through, except that a few which many greenlets at a time have left are kept for the next ones.
//! Every other size passes through untouched.
//!
//! # What must hold
//!
//! - **A block is freed by the allocator that made it.** Another extension may put its own allocator in front of this
//!   one or in its place. So blocks are recognised by address, and [`install`] puts this one in front again before a
//!   chunk is handed out and before CPython may free one.
//! - **No thread waits for a lock here.** Since 3.12 interpreters with a GIL of their own call the allocator at the
//!   same time, and a lock that another thread held during a fork stays held in the child for ever. A thread that does
//!   not get the lock works around it: an allocation is passed on to the allocator below, a freed block loses its pages
//!   and is never reused.
//! - **Memory is bounded**: after many greenlets have ended, what is kept is [`KEPT`] blocks here, 8 MiB of pages in
//!   [`chunks`] and [`ARENAS_KEPT`] arenas.

use std::ffi::c_void;
use std::hint::spin_loop;
use std::sync::{Mutex, MutexGuard};

use primitives::Blocks;
use pyo3::Python;
use pyo3::ffi;

use super::chunks;
use super::segments::{self, Owner, Segments};

const BLOCK: usize = 16 * 1024;
const EACH: u32 = (segments::SIZE / BLOCK) as u32;
/// The size of the arenas that CPython takes for small objects.
const ARENA_SIZE: usize = 1024 * 1024;
/// The number of arenas that are kept when CPython frees them.
const ARENAS_KEPT: usize = 8;
/// The number of freed blocks whose pages are kept for the next greenlets.
const KEPT: usize = 1024;
/// The number of blocks whose pages are returned to the kernel together.
const BATCH: usize = 256;
/// The number of attempts to get the lock for a freed block before its memory is given up.
const TRIES: u32 = 1000;

/// The allocator that this one was put in front of, which gets all requests that this one does not serve. CPython
/// passes it along as the context. There is one for each time that this allocator was put in front: another extension
/// may have put its own in between, and each must pass on to the one that it really covers.
struct Below(ffi::PyObjectArenaAllocator);

static MEMORY: Mutex<Memory> = Mutex::new(Memory {
    segments: Segments::new(),
    blocks: Blocks::new(),
    arenas: Vec::new(),
});

/// The memory that this allocator has.
struct Memory {
    segments: Segments,
    /// The account of the blocks of the segments, which says which are free.
    blocks: Blocks,
    /// Freed arenas.
    arenas: Vec<KeptArena>,
}

/// The address of an arena that the allocator below handed out and has not got back.
struct KeptArena(*mut c_void);

// SAFETY: the memory is used by nobody until the address is taken out, and then by its taker alone.
unsafe impl Send for KeptArena {}

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
    // The context is leaked, as another extension may keep a copy of the structure that refers to it.
    let below = Box::leak(Box::new(Below(below)));
    let mut ours = ffi::PyObjectArenaAllocator {
        ctx: std::ptr::from_ref(below).cast_mut().cast(),
        alloc: Some(alloc),
        free: Some(free),
    };
    // SAFETY: `Set` copies a structure of valid functions and their context; the GIL is held.
    unsafe { ffi::PyObject_SetArenaAllocator(&raw mut ours) };
}

impl Memory {
    fn take(&mut self) -> Option<*mut c_void> {
        let Self {
            segments, blocks, ..
        } = self;
        let index = blocks
            .take(|index| index < segments.count() as u32 * EACH || segments.grow(Owner::Arena))?;
        Some(segments.address(index, BLOCK))
    }

    fn give_back(&mut self, index: u32) {
        if self.blocks.give_back(index) < KEPT + BATCH {
            return;
        }
        for run in primitives::runs(&self.blocks.cool(BATCH), EACH) {
            let start = self.segments.address(run[0], BLOCK);
            // SAFETY: these blocks lie side by side in a segment, were freed by CPython and are handed out to nobody
            // meanwhile.
            unsafe { segments::forget(start, BLOCK * run.len()) };
        }
    }

    /// Keeps a freed arena; returns false when there are enough.
    fn keep_arena(&mut self, arena: *mut c_void) -> bool {
        let room = self.arenas.len() < ARENAS_KEPT;
        if room {
            self.arenas.push(KeptArena(arena));
        }
        room
    }
}

/// Returns the number of resident bytes of blocks, and how many of those are in use; both are 0 while another thread
/// holds the lock.
pub fn memory() -> (usize, usize) {
    let Ok(memory) = MEMORY.try_lock() else {
        return (0, 0);
    };
    let (resident, used) = memory.blocks.resident();
    (resident * BLOCK, used * BLOCK)
}

fn lock_soon() -> Option<MutexGuard<'static, Memory>> {
    (0..TRIES).find_map(|_| {
        let memory = MEMORY.try_lock().ok();
        if memory.is_none() {
            spin_loop();
        }
        memory
    })
}

fn below(context: *mut c_void) -> &'static ffi::PyObjectArenaAllocator {
    // SAFETY: CPython passes the context that these functions were installed with, a leaked `Below`.
    &unsafe { &*context.cast::<Below>() }.0
}

extern "C" fn alloc(context: *mut c_void, size: usize) -> *mut c_void {
    let kept = match (size, MEMORY.try_lock()) {
        (BLOCK, Ok(mut memory)) => memory.take().inspect(|block| {
            // A block for frames says whose it is in its fourth word (chunks.rs), which must not be a former owner.
            // SAFETY: the block is larger, and handed out to nobody else.
            unsafe { block.cast::<u64>().add(3).write(0) };
        }),
        (ARENA_SIZE, Ok(mut memory)) => memory.arenas.pop().map(|arena| arena.0),
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
    if let Some(location) = segments::find(block) {
        match location.owner {
            Owner::Chunks => chunks::give_back(&location),
            Owner::Arena => match lock_soon() {
                Some(mut memory) => memory.give_back(location.index(BLOCK)),
                // The lock is taken: the address is never reused, but its pages go back to the kernel.
                // SAFETY: CPython has freed the block, and nobody gets it again.
                None => unsafe { segments::forget(block, BLOCK) },
            },
        }
        return;
    }
    // A kept arena is handed out again as it is: CPython does not ask for zeroed memory.
    let kept = size == ARENA_SIZE
        && MEMORY
            .try_lock()
            .is_ok_and(|mut memory| memory.keep_arena(block));
    let below = below(context);
    if !kept && let Some(free) = below.free {
        free(below.ctx, block, size);
    }
}
