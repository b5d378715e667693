//! Memory for the first frames of greenlets.
//!
//! Since CPython 3.11 each greenlet's first Python frame takes a 16 KiB data-stack chunk from the arena allocator, which
//! maps it, and gives it back at its end, which unmaps it: two system calls and page faults a greenlet. The allocator
//! installed here cuts such blocks from one reserved range of addresses and hands freed ones out again. It keeps the pages
//! of some and returns those of the rest to the kernel, many blocks a call. It also keeps a few of the arenas that CPython
//! frees when a crowd of greenlets has ended, for the next crowd. Every other size passes through.
//!
//! The allocator is the process's: since 3.12 interpreters with a GIL of their own call it at the same time. Nobody waits
//! here, as a lock that another thread held during a fork stays held in the child: who does not get it goes around it.

use std::ffi::c_void;
use std::hint::spin_loop;
use std::sync::{Mutex, MutexGuard, OnceLock};

use pyo3::Python;
use pyo3::ffi;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};

use super::chunks;

const BLOCK: usize = 16 * 1024;
/// What CPython takes for small objects at a time.
const ARENA_SIZE: usize = 1024 * 1024;
/// Arenas that are kept when CPython frees them.
const ARENAS_KEPT: usize = 8;
/// Addresses for this many blocks are reserved; greenlets beyond that are served as before.
const BLOCKS: u32 = 512 * 1024;
/// Freed blocks whose pages are kept for the next greenlets.
const KEPT: usize = 1024;
/// Blocks whose pages are returned at once.
const BATCH: usize = 256;
/// How often a freed block is offered to somebody who is busy.
const TRIES: u32 = 1000;

struct Arena {
    below: ffi::PyObjectArenaAllocator,
    range: *mut c_void,
    blocks: Mutex<Blocks>,
}

#[derive(Default)]
struct Blocks {
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

// SAFETY: the pointers are only copied, and `below` is CPython's own allocator, which has to serve any thread.
unsafe impl Send for Arena {}
// SAFETY: as for `Send`; what changes is behind the lock.
unsafe impl Sync for Arena {}

static ARENA: OnceLock<Arena> = OnceLock::new();

/// Puts this allocator in front of the current one. Idempotent; does nothing where the addresses cannot be reserved.
pub fn install(_py: Python<'_>) {
    if ARENA.get().is_some() {
        return;
    }
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
    let size = BLOCK * BLOCKS as usize;
    // SAFETY: a new anonymous mapping at an address of the kernel's choice aliases nothing.
    let Ok(range) = (unsafe {
        mmap_anonymous(
            std::ptr::null_mut(),
            size,
            ProtFlags::READ | ProtFlags::WRITE,
            flags,
        )
    }) else {
        return;
    };
    // A block is 16 KiB of which a frame uses a page: huge pages would make all of it resident.
    // SAFETY: the range was just mapped and is not in use.
    let _ = unsafe { madvise(range, size, Advice::LinuxNoHugepage) };
    // SAFETY: `Get` fills a plain struct of pointers, which is valid when zeroed, and `Set` copies one; the GIL is held.
    unsafe {
        let mut below = std::mem::zeroed::<ffi::PyObjectArenaAllocator>();
        ffi::PyObject_GetArenaAllocator(&raw mut below);
        let _ = ARENA.set(Arena {
            below,
            range,
            blocks: Mutex::default(),
        });
        let mut ours = ffi::PyObjectArenaAllocator {
            ctx: std::ptr::null_mut(),
            alloc: Some(alloc),
            free: Some(free),
        };
        ffi::PyObject_SetArenaAllocator(&raw mut ours);
    }
}

impl Arena {
    fn address(&self, index: u32) -> *mut c_void {
        self.range.wrapping_byte_add(BLOCK * index as usize)
    }

    /// The block at an address, none for an address that was not handed out here.
    fn index_of(&self, block: *mut c_void) -> Option<u32> {
        let offset = block.addr().checked_sub(self.range.addr())?;
        u32::try_from(offset / BLOCK)
            .ok()
            .filter(|index| *index < BLOCKS)
    }

    fn take(&self) -> Option<*mut c_void> {
        let index = self.blocks.try_lock().ok()?.take()?;
        Some(self.address(index))
    }

    fn give_back(&self, index: u32) {
        let Some(mut blocks) = self.lock_soon() else {
            // The address is lost, the memory is not.
            self.forget(&[index]);
            return;
        };
        blocks.warm.push(index);
        if blocks.warm.len() >= KEPT + BATCH {
            let mut oldest: Vec<u32> = blocks.warm.drain(..BATCH).collect();
            oldest.sort_unstable();
            for run in oldest.chunk_by(|one, next| one + 1 == *next) {
                self.forget(run);
            }
            blocks.cold.extend(oldest.into_iter().rev());
        }
    }

    fn take_arena(&self) -> Option<*mut c_void> {
        let spare = self.blocks.try_lock().ok()?.arenas.pop()?;
        Some(spare.0)
    }

    /// Whether a freed arena is kept.
    fn keep_arena(&self, arena: *mut c_void) -> bool {
        let Ok(mut blocks) = self.blocks.try_lock() else {
            return false;
        };
        let room = blocks.arenas.len() < ARENAS_KEPT;
        if room {
            blocks.arenas.push(Spare(arena));
        }
        room
    }

    fn lock_soon(&self) -> Option<MutexGuard<'_, Blocks>> {
        (0..TRIES).find_map(|_| {
            let blocks = self.blocks.try_lock().ok();
            if blocks.is_none() {
                spin_loop();
            }
            blocks
        })
    }

    /// Returns the pages of adjacent blocks to the kernel.
    fn forget(&self, run: &[u32]) {
        let Some(first) = run.first() else { return };
        // SAFETY: these blocks lie in the range, were freed by CPython and are handed out to nobody meanwhile: their content
        // may be forgotten. Should the call fail, they only stay resident.
        let _ = unsafe {
            madvise(
                self.address(*first),
                BLOCK * run.len(),
                Advice::LinuxDontNeed,
            )
        };
    }
}

impl Blocks {
    fn take(&mut self) -> Option<u32> {
        self.warm.pop().or_else(|| self.cold.pop()).or_else(|| {
            let fresh = self.fresh;
            self.fresh = (fresh + 1).min(BLOCKS);
            (fresh < BLOCKS).then_some(fresh)
        })
    }
}

extern "C" fn alloc(_ctx: *mut c_void, size: usize) -> *mut c_void {
    let Some(arena) = ARENA.get() else {
        return std::ptr::null_mut();
    };
    let kept = match size {
        BLOCK => arena.take(),
        ARENA_SIZE => arena.take_arena(),
        _ => None,
    };
    if let Some(block) = kept {
        return block;
    }
    arena
        .below
        .alloc
        .map_or(std::ptr::null_mut(), |alloc| alloc(arena.below.ctx, size))
}

extern "C" fn free(_ctx: *mut c_void, block: *mut c_void, size: usize) {
    let Some(arena) = ARENA.get() else { return };
    if size == chunks::CHUNK && chunks::reclaim(block) {
        return;
    }
    if let Some(index) = arena.index_of(block) {
        arena.give_back(index);
    } else if size == ARENA_SIZE && arena.keep_arena(block) {
        // Handed out again as it is: CPython does not ask for zeroed memory.
    } else if let Some(free) = arena.below.free {
        free(arena.below.ctx, block, size);
    }
}
