//! Small memory for the Python frames of greenlets that do not call deep.
//!
//! CPython keeps a thread's frames in chunks of 16 KiB, greenlet gives each greenlet chunks of its own, and one that waits
//! in its handler's `recv` keeps a page resident for two frames. So `gevent.Greenlet` begins with a chunk of 1 KiB, four of
//! which share a page. Where that is full, CPython appends a chunk of its own, and takes it away again, by itself. At its end
//! greenlet gives all of a greenlet's chunks to the arena allocator, which brings these back here.
//!
//! As in [`super::arena`], nobody waits for the lock: who does not get it goes without.

use std::ffi::c_void;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock};

use pyo3::ffi;
use pyo3::prelude::*;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};

use crate::ffi::frame_stack::{self, Chunk};

/// The size of such a chunk, which no other has.
pub const CHUNK: usize = 1024;
const PAGE: usize = 4096;
/// Addresses for this many pages are reserved; greenlets beyond that begin with a chunk of CPython's.
const PAGES: u32 = 256 * 1024;
/// Unused pages that are kept for the next greenlets.
const KEPT: usize = 2048;
/// Pages that are returned to the kernel at once. Greenlets end in any order, and pages that do not lie side by side cost a
/// system call each: the more are returned together, the more of them do.
const BATCH: usize = 2048;
/// How often a chunk is given back to somebody who is busy.
const TRIES: u32 = 1000;

/// Where the fields of [`FrameStack`] are in a thread's state; 0 where this CPython is not known.
static FIELDS: AtomicUsize = AtomicUsize::new(0);

struct Store {
    range: *mut c_void,
    pages: Mutex<Pages>,
}

// SAFETY: the address is only copied.
unsafe impl Send for Store {}
// SAFETY: as for `Send`; what changes is behind the lock.
unsafe impl Sync for Store {}

static STORE: OnceLock<Store> = OnceLock::new();

/// All four chunks of a page.
const WHOLE: u8 = 0b1111;
/// The page is with the kernel.
const COLD: u8 = 0b1_0000;

/// Which chunks of which pages are free.
#[derive(Default)]
struct Pages {
    /// By page, a bit for each free chunk, and [`COLD`].
    free: Vec<u8>,
    /// Pages with a free chunk that are not cold.
    open: Vec<u32>,
    /// How many of those are free as a whole.
    unused: usize,
    cold: Vec<u32>,
}

impl Pages {
    fn take(&mut self) -> Option<u32> {
        if let Some(page) = self.open.last().copied() {
            let free = &mut self.free[page as usize];
            if *free == WHOLE {
                self.unused -= 1;
            }
            let which = free.trailing_zeros();
            *free &= *free - 1;
            if *free == 0 {
                self.open.pop();
            }
            return Some(page * 4 + which);
        }
        let page = match self.cold.pop() {
            Some(page) => page,
            None => {
                let fresh = u32::try_from(self.free.len()).ok()?;
                if fresh == PAGES {
                    return None;
                }
                self.free.push(0);
                fresh
            }
        };
        self.free[page as usize] = WHOLE & !1;
        self.open.push(page);
        Some(page * 4)
    }

    /// Takes a chunk back; the pages to return to the kernel, in order, when there are many.
    fn give_back(&mut self, index: u32) -> Vec<u32> {
        let page = index / 4;
        let free = &mut self.free[page as usize];
        if *free == 0 {
            self.open.push(page);
        }
        *free |= 1 << (index % 4);
        if *free != WHOLE {
            return Vec::new();
        }
        self.unused += 1;
        if self.unused < KEPT + BATCH {
            return Vec::new();
        }
        self.cool()
    }

    /// Picks the pages with the highest addresses: many of those lie side by side.
    fn cool(&mut self) -> Vec<u32> {
        let unused = (0..self.free.len()).rev();
        let mut pages: Vec<u32> = unused
            .filter(|page| self.free[*page] == WHOLE)
            .take(BATCH)
            .map(|page| page as u32)
            .collect();
        for page in &pages {
            self.free[*page as usize] |= COLD;
        }
        self.unused -= pages.len();
        self.open
            .retain(|page| self.free[*page as usize] & COLD == 0);
        self.cold.extend(&pages);
        pages.reverse();
        pages
    }
}

/// Reserves the addresses and finds the fields. Idempotent; where either fails, greenlets begin as CPython has it.
pub fn install(py: Python<'_>) {
    let Some(offset) = frame_stack::offset(py) else {
        return;
    };
    if STORE.get().is_some() {
        return;
    }
    // SAFETY: the thread's state is live, and the offset lies in it.
    let stack = unsafe { &*frame_stack::at(offset) };
    // A layout that is not the one of these versions' headers hardly looks like it: the code that imports this has frames.
    let start = stack.chunk.addr();
    let plausible = start != 0
        && start % 8 == 0
        && stack.limit.addr().checked_sub(start).is_some_and(|size| {
            size % (4 * PAGE) == 0 && size <= 1 << 24 && size > stack.top.addr().wrapping_sub(start)
        });
    if !plausible {
        return;
    }
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
    let size = PAGE * PAGES as usize;
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new anonymous mapping at an address of the kernel's choice aliases nothing.
    let Ok(range) = (unsafe { mmap_anonymous(std::ptr::null_mut(), size, access, flags) }) else {
        return;
    };
    // SAFETY: the range was just mapped and is not in use.
    let _ = unsafe { madvise(range, size, Advice::LinuxNoHugepage) };
    let _ = STORE.set(Store {
        range,
        pages: Mutex::default(),
    });
    FIELDS.store(offset, Relaxed);
}

/// Gives the running greenlet, which has just begun, a small chunk, unless it has one already.
///
/// # Safety
/// The GIL is held, and a greenlet runs whose chunks are freed at its end, not the thread's own.
#[inline(never)]
pub unsafe fn begin() {
    let offset = FIELDS.load(Relaxed);
    if offset == 0 {
        return;
    }
    // SAFETY: `install` found the fields at this offset; the GIL is held.
    let stack = unsafe { &mut *frame_stack::at(offset) };
    if !stack.chunk.is_null() {
        return;
    }
    let Some(chunk) = STORE.get().and_then(Store::take) else {
        return;
    };
    // SAFETY: the chunk is `CHUNK` bytes of our own memory, aligned to them, and handed out to nobody else. The fields get
    // what CPython's `push_chunk` gives them for a first chunk, of which it skips one word so that it is never popped.
    unsafe {
        chunk.write(Chunk {
            previous: std::ptr::null_mut(),
            size: CHUNK,
            top: 0,
        });
        stack.chunk = chunk;
        stack.top = chunk.add(1).cast::<*mut ffi::PyObject>().add(1);
        stack.limit = chunk.byte_add(CHUNK).cast();
    }
}

/// Takes back what the arena allocator was given to free; false when that is none of ours.
pub fn reclaim(block: *mut c_void) -> bool {
    let Some(store) = STORE.get() else {
        return false;
    };
    let Some(offset) = block.addr().checked_sub(store.range.addr()) else {
        return false;
    };
    match u32::try_from(offset / CHUNK) {
        Ok(index) if index / 4 < PAGES => {
            store.give_back(index);
            true
        }
        _ => false,
    }
}

impl Store {
    fn take(&self) -> Option<*mut Chunk> {
        let index = self.pages.try_lock().ok()?.take()?;
        Some(self.range.wrapping_byte_add(CHUNK * index as usize).cast())
    }

    fn give_back(&self, index: u32) {
        let lock = || {
            let pages = self.pages.try_lock().ok();
            if pages.is_none() {
                std::hint::spin_loop();
            }
            pages
        };
        // Without the lock, a kilobyte is lost.
        let Some(mut pages) = (0..TRIES).find_map(|_| lock()) else {
            return;
        };
        // They are returned under the lock, as they may be taken as soon as it is released.
        for run in pages
            .give_back(index)
            .chunk_by(|one, next| one + 1 == *next)
        {
            let start = self.range.wrapping_byte_add(PAGE * run[0] as usize);
            // SAFETY: these pages lie in the range, and all their chunks were freed: their content may be forgotten. Should
            // the call fail, they only stay resident.
            let _ = unsafe { madvise(start, PAGE * run.len(), Advice::LinuxDontNeed) };
        }
    }
}
