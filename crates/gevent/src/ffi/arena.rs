//! Keeps the memory of ended greenlets' first frames.
//!
//! Since CPython 3.11 each greenlet's first Python frame takes a 16 KiB data-stack chunk from the arena allocator, which
//! maps it, and gives it back at its end, which unmaps it: two system calls and page faults a greenlet. The allocator
//! installed here keeps a bounded free list of such blocks and passes every other size through.

use std::cell::UnsafeCell;
use std::ffi::c_void;

use pyo3::Python;
use pyo3::ffi;

const BLOCK: usize = 16 * 1024;
const KEPT: usize = 1024;

struct Cache {
    next: ffi::PyObjectArenaAllocator,
    blocks: [*mut c_void; KEPT],
    len: usize,
}

struct Slot(UnsafeCell<Option<Cache>>);

// SAFETY: CPython calls arena allocators with the GIL held (builds without one are refused by the module), and `install`
// holds it too, so there is one user at a time.
unsafe impl Sync for Slot {}

static CACHE: Slot = Slot(UnsafeCell::new(None));

/// Puts the caching allocator in front of the current one. Idempotent.
pub fn install(_py: Python<'_>) {
    // SAFETY: the GIL is held; `Get` fills a plain struct of pointers, and `Set` copies it. The new context outlives the
    // process's use of it, being static.
    unsafe {
        let cache = &mut *CACHE.0.get();
        if cache.is_some() {
            return;
        }
        let mut next = std::mem::zeroed::<ffi::PyObjectArenaAllocator>();
        ffi::PyObject_GetArenaAllocator(&raw mut next);
        *cache = Some(Cache { next, blocks: [std::ptr::null_mut(); KEPT], len: 0 });
        let mut ours = ffi::PyObjectArenaAllocator { ctx: std::ptr::null_mut(), alloc: Some(alloc), free: Some(free) };
        ffi::PyObject_SetArenaAllocator(&raw mut ours);
    }
}

extern "C" fn alloc(_ctx: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: called by CPython with the GIL held, after `install` filled the slot.
    let Some(cache) = (unsafe { &mut *CACHE.0.get() }) else { return std::ptr::null_mut() };
    if size == BLOCK && cache.len > 0 {
        cache.len -= 1;
        return cache.blocks[cache.len];
    }
    cache.next.alloc.map_or(std::ptr::null_mut(), |alloc| alloc(cache.next.ctx, size))
}

extern "C" fn free(_ctx: *mut c_void, block: *mut c_void, size: usize) {
    // SAFETY: as in `alloc`.
    let Some(cache) = (unsafe { &mut *CACHE.0.get() }) else { return };
    if size == BLOCK && cache.len < KEPT {
        cache.blocks[cache.len] = block;
        cache.len += 1;
        return;
    }
    if let Some(free) = cache.next.free {
        free(cache.next.ctx, block, size);
    }
}
