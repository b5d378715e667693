//! Takes memory from the kernel in segments of 4 MiB, and finds the owner of an address.
//!
//! Memory that [`super::arena`] and [`super::chunks`] hand out is freed through CPython's arena allocator, together
//! with memory that other allocators handed out. So the owner of an address has to be found quickly, and without a
//! lock:
//!
//! ```text
//! address   0x7f3a_8060_1400
//!             └── & !(4 MiB - 1) ──► segment 0x7f3a_8040_0000 ──► table: owner, number of the segment
//!                 & (4 MiB - 1)  ──► offset  0x20_1400        ──► / size of a piece: its index
//! ```
//!
//! Every segment is aligned to its size, and a table of atomics lists them. It has room for 8 GiB.
//!
//! Segments are mapped when they are needed, not reserved at once: under `RLIMIT_AS`, or where the kernel promises no more
//! memory than it has (`vm.overcommit_memory = 2`), a large reservation would take what the program itself needs.

use std::ffi::c_void;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

/// The size of a segment, and its alignment.
pub const SIZE: usize = 4 << 20;

/// The number of segments that there may be. They are never unmapped, so this bounds the addresses that greenlets leave behind
/// at their end: 8 GiB.
const MOST: usize = 2048;

/// The owner of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// [`super::arena`].
    Arena,
    /// [`super::chunks`].
    Chunks,
}

/// The segment that an address lies in, and its position there.
#[derive(Debug)]
pub struct Location {
    /// The owner of the segment.
    pub owner: Owner,
    /// The number that the owner gave the segment.
    pub number: usize,
    /// The number of bytes from the start of the segment.
    pub offset: usize,
}

/// A hash table with open addressing, half of which is used at most. An entry is the address of a segment with its number and
/// owner in the low bits, which are zeroes in the address; 0 where there is none.
static TABLE: [AtomicUsize; 2 * MOST] = [const { AtomicUsize::new(0) }; 2 * MOST];
static COUNT: AtomicUsize = AtomicUsize::new(0);

const LOW_BITS: usize = SIZE - 1;

fn entries(address: usize) -> impl Iterator<Item = &'static AtomicUsize> {
    // Segments tend to lie side by side, and so do their entries.
    let first = address / SIZE;
    (0..TABLE.len()).map(move |step| &TABLE[(first + step) % TABLE.len()])
}

/// Maps one more segment, with this number among the owner's; returns `None` when the kernel has no memory for it, or
/// there are too many segments.
fn add(owner: Owner, number: usize) -> Option<*mut c_void> {
    if number >= MOST || COUNT.fetch_add(1, Relaxed) >= MOST {
        COUNT.fetch_sub(1, Relaxed);
        return None;
    }
    let Some(start) = map() else {
        COUNT.fetch_sub(1, Relaxed);
        return None;
    };
    let entry = start.addr() | (number << 1) | usize::from(owner == Owner::Chunks);
    for slot in entries(start.addr()) {
        // Two owners may add at the same time. The new entry is not searched for before memory of the segment was
        // handed out.
        if slot.compare_exchange(0, entry, Relaxed, Relaxed).is_ok() {
            return Some(start);
        }
    }
    None
}

/// Finds the segment that an address lies in; `None` when it lies in none.
#[inline]
pub fn find(address: *mut c_void) -> Option<Location> {
    let address = address.addr();
    let start = address & !LOW_BITS;
    for slot in entries(start) {
        let entry = slot.load(Relaxed);
        if entry == 0 {
            return None;
        }
        if entry & !LOW_BITS == start {
            return Some(Location {
                owner: if entry & 1 == 0 {
                    Owner::Arena
                } else {
                    Owner::Chunks
                },
                number: (entry & LOW_BITS) >> 1,
                offset: address & LOW_BITS,
            });
        }
    }
    None
}

/// Maps `SIZE` bytes at an address that is a multiple of `SIZE`.
fn map() -> Option<*mut c_void> {
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new anonymous mapping at an address of the kernel's choice aliases nothing.
    let found = unsafe { mmap_anonymous(std::ptr::null_mut(), 2 * SIZE, access, flags) }.ok()?;
    let before = found.addr().wrapping_neg() & LOW_BITS;
    let start = found.wrapping_byte_add(before);
    // SAFETY: both parts lie in the new mapping, which nobody uses, and are multiples of the page size, as the mapping's
    // address and `SIZE` are. A part of no length is refused, to no harm; one that stays is memory that nobody touches.
    unsafe {
        let _ = munmap(found, before);
        let _ = munmap(start.wrapping_byte_add(SIZE), SIZE - before);
    }
    // A frame uses a page of its block, or a part of one: huge pages would make all of it resident.
    // SAFETY: the segment was just mapped and is not in use.
    let _ = unsafe { madvise(start, SIZE, Advice::LinuxNoHugepage) };
    Some(start)
}

/// Returns the pages that lie wholly in `length` bytes from `start` on to the kernel.
///
/// # Safety
/// The bytes lie in a segment, and nobody needs their content.
pub unsafe fn forget(start: *mut c_void, length: usize) {
    let page = rustix::param::page_size();
    let before = start.addr().wrapping_neg() % page;
    let Some(whole) = length.checked_sub(before) else {
        return;
    };
    let whole = whole - whole % page;
    if whole > 0 {
        // SAFETY: by this function's contract; the kernel rounds neither end, as both are those of pages. Should the call
        // fail, the pages only stay resident.
        let _ = unsafe {
            madvise(
                start.wrapping_byte_add(before),
                whole,
                Advice::LinuxDontNeed,
            )
        };
    }
}

/// The addresses of an owner's segments, by their numbers.
pub struct Segments(Vec<Start>);

struct Start(*mut c_void);

// SAFETY: the address is only copied.
unsafe impl Send for Start {}

impl Segments {
    /// Returns no segments.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds a segment of `owner`; returns false when none can be mapped.
    pub fn grow(&mut self, owner: Owner) -> bool {
        let start = add(owner, self.0.len());
        self.0.extend(start.map(Start));
        start.is_some()
    }

    /// Returns how many segments there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Returns the address of the piece with this index, where each segment consists of pieces of `size` bytes.
    pub fn address(&self, index: u32, size: usize) -> *mut c_void {
        let each = SIZE / size;
        let (number, piece) = (index as usize / each, index as usize % each);
        self.0[number].0.wrapping_byte_add(piece * size)
    }
}

impl Location {
    /// Returns the index of the piece of `size` bytes at this location, as [`Segments::address`] takes it.
    pub fn index(&self, size: usize) -> u32 {
        (self.number * (SIZE / size) + self.offset / size) as u32
    }
}
