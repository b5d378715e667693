//! The allocator of the engine: a large block is a mapping of its own, which the kernel has back as soon as it is freed.
//!
//! Buffers grow with what a stranger sends: the parts of a message, an upload. They have to be given back when the
//! connection ends, and `free` alone does not see to that:
//!
//! ```text
//! heap of malloc   │ freed 1 MiB │ in use │ freed 1 MiB │ freed 1 MiB │ in use │ ──► end of the heap
//! ```
//!
//! Only the free end of the heap goes back to the kernel. glibc maps blocks from 128 KiB on separately, but raises that
//! limit to the size of each mapped block that is freed, up to 32 MiB. So the first large message that ends has the next
//! ones put into the heap, where small objects in use keep the memory between them resident for ever, if connections
//! begin and end in turns. `mallopt` could fix the limit, for the whole process, and so for the program's own memory too.
//!
//! A mapping costs page faults in place of the reuse of warm memory. A large block is copied into and from in any case,
//! which takes as long; and growing one (`mremap`) copies nothing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::{copy_nonoverlapping, null_mut};

use rustix::mm::{MapFlags, MremapFlags, ProtFlags, mmap_anonymous, mremap, munmap};

/// The least size of a large block, the limit that glibc begins with.
const LARGE: usize = 128 * 1024;

/// The alignment that every mapping has: no page is smaller.
const ALIGNMENT: usize = 4096;

/// An allocator that maps large blocks, and leaves the others to the system's.
struct LargeBlocks;

#[global_allocator]
static ALLOCATOR: LargeBlocks = LargeBlocks;

/// Returns true if a block of this layout is a mapping. It depends on the layout alone, as freeing has nothing else to go
/// by.
#[inline(always)]
fn is_mapped(layout: Layout) -> bool {
    layout.size() >= LARGE && layout.align() <= ALIGNMENT
}

// SAFETY: a block is either the system allocator's, with whose contract it is used, or a mapping of at least the layout's
// size and alignment, which belongs to the block alone until it is freed. The same rule decides at each call which of the
// two it is. No function here unwinds.
unsafe impl GlobalAlloc for LargeBlocks {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_mapped(layout) {
            return map(layout.size());
        }
        // SAFETY: by the caller's contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_mapped(layout) {
            return map(layout.size());
        }
        // SAFETY: by the caller's contract, which is the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if is_mapped(layout) {
            // SAFETY: the block is a mapping of this size, by the caller's contract and `is_mapped`.
            return unsafe { unmap(block, layout.size()) };
        }
        // SAFETY: the block is the system allocator's, by the caller's contract and `is_mapped`.
        unsafe { System.dealloc(block, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: by the caller's contract, the alignment is valid, and the size does not overflow with it.
        let new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (is_mapped(layout), is_mapped(new)) {
            // SAFETY: by the caller's contract, which is the same.
            (false, false) => unsafe { System.realloc(block, layout, size) },
            // SAFETY: the block is a mapping of this size, by the caller's contract and `is_mapped`.
            (true, true) => unsafe { remap(block, layout.size(), size) },
            // SAFETY: by the caller's contract, with the layout that was computed from it.
            _ => unsafe { self.move_to(block, layout, new) },
        }
    }
}

impl LargeBlocks {
    /// Moves the content of a block to memory of the other kind.
    ///
    /// # Safety
    /// The block is of `layout`, and nobody uses it any more.
    #[cold]
    unsafe fn move_to(&self, block: *mut u8, layout: Layout, new: Layout) -> *mut u8 {
        // SAFETY: `new` has a size, as a block is never shrunk to none.
        let moved = unsafe { self.alloc(new) };
        if !moved.is_null() {
            // SAFETY: both blocks are at least as long as the shorter layout, and the new one is apart from the old one,
            // which is freed only once.
            unsafe {
                copy_nonoverlapping(block, moved, layout.size().min(new.size()));
                self.dealloc(block, layout);
            }
        }
        moved
    }
}

/// Maps `size` bytes; returns null when there is no memory for them.
fn map(size: usize) -> *mut u8 {
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new anonymous mapping at an address of the kernel's choice aliases nothing.
    let mapped = unsafe { mmap_anonymous(null_mut(), size, access, MapFlags::PRIVATE) };
    mapped.map_or(null_mut(), <*mut _>::cast)
}

/// Unmaps a block.
///
/// # Safety
/// The block was mapped with this size, and nobody uses it any more.
unsafe fn unmap(block: *mut u8, size: usize) {
    // SAFETY: by this function's contract. The kernel rounds the size up to whole pages, as it did for mapping it. Should
    // it have no room for the list of mappings, the block stays mapped.
    let _ = unsafe { munmap(block.cast(), size) };
}

/// Gives a block another size, at another address if need be; returns null when there is no memory for it.
///
/// # Safety
/// The block was mapped with this size, and nobody uses its address any more, unless null is returned.
unsafe fn remap(block: *mut u8, size: usize, new: usize) -> *mut u8 {
    // SAFETY: by this function's contract; the kernel moves the whole mapping, or leaves it as it is.
    let moved = unsafe { mremap(block.cast(), size, new, MremapFlags::MAYMOVE) };
    moved.map_or(null_mut(), <*mut _>::cast)
}
