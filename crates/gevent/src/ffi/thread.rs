//! Keeps CPython from unwinding the stacks of threads that are inside this extension.
//!
//! Up to version 3.13, a daemon thread that asks for the GIL while the interpreter is being finalized is ended by
//! `pthread_exit`. glibc then unwinds the thread's stack, frame by frame, and aborts the process at the first frame of Rust
//! that may not be unwound. So each thread that enters this crate registers a cleanup handler, which glibc calls before it
//! leaves the first frame, and which does what CPython 3.14 does by itself: it makes the thread wait for the end of the
//! process. musl calls these handlers too; it unwinds nothing.
//!
//! ```text
//! work()              Python          pthread_exit ── step 1: leave take_gil; is a handler's record in no frame
//! Greenlet.run        Rust            that stays? Then call it ── wait_for_the_end(), which never returns
//! g_initialstub       greenlet, C++
//! Thread.run          Python
//! start_thread        glibc
//! ```
//!
//! glibc compares the address of a handler's record with those of the frames that it leaves, as the record of a C program
//! lies in the frame that it cleans up. A record on the heap lies in none, which counts as left at the first step. It must not
//! lie on a stack: greenlet copies other stacks over it.

use std::cell::Cell;
use std::ffi::{CStr, c_int, c_void};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use pyo3::ffi;

/// glibc's `struct _pthread_cleanup_buffer` has four words, musl's `struct __ptcb` three.
#[repr(C)]
struct Record([Cell<*mut c_void>; 4]);

type Push = unsafe extern "C" fn(*mut Record, unsafe extern "C" fn(*mut c_void), *mut c_void);
type Pop = unsafe extern "C" fn(*mut Record, c_int);
type IsFinalizing = unsafe extern "C" fn() -> c_int;

/// Functions that are looked up at run time instead of linked, so that the extension can be loaded where they are
/// missing.
struct Functions {
    /// The function behind the macro `pthread_cleanup_push`.
    push: Push,
    /// The function behind the macro `pthread_cleanup_pop`.
    pop: Pop,
    /// `Py_IsFinalizing`, which had another name before CPython 3.13.
    is_finalizing: Option<IsFinalizing>,
}

fn functions() -> Option<&'static Functions> {
    static FUNCTIONS: OnceLock<Option<Functions>> = OnceLock::new();
    fn find(name: &CStr) -> Option<*mut c_void> {
        // SAFETY: the name ends with NUL; the lookup has no other precondition.
        let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
        (!found.is_null()).then_some(found)
    }
    let found = FUNCTIONS.get_or_init(|| {
        let push = find(c"_pthread_cleanup_push")?;
        let pop = find(c"_pthread_cleanup_pop")?;
        let finalizing = find(c"Py_IsFinalizing").or_else(|| find(c"_Py_IsFinalizing"));
        // SAFETY: glibc and musl have had the first two with these parameters since long before CPython 3.11, and CPython's
        // takes none.
        Some(unsafe {
            Functions {
                push: std::mem::transmute::<*mut c_void, Push>(push),
                pop: std::mem::transmute::<*mut c_void, Pop>(pop),
                is_finalizing: finalizing
                    .map(|found| std::mem::transmute::<*mut c_void, IsFinalizing>(found)),
            }
        })
    });
    found.as_ref()
}

/// The thread that entered last. As threads take turns with the GIL, nearly every call finds itself here and need not
/// read thread-local data.
static LAST: AtomicUsize = AtomicUsize::new(0);

/// The handler of a thread, registered from its first entry to its end.
struct Registered(*mut Record);

impl Registered {
    fn new() -> Self {
        let record = Box::into_raw(Box::new(Record(
            [const { Cell::new(std::ptr::null_mut()) }; 4],
        )));
        if let Some(Functions { push, .. }) = functions() {
            // SAFETY: the record is as large as either C library asks for, and stays where it is until it is popped.
            unsafe { push(record, wait_for_the_end, std::ptr::null_mut()) };
        }
        Self(record)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        // A thread that begins later may have this address.
        let _ = LAST.compare_exchange(id(), 0, Relaxed, Relaxed);
        if let Some(Functions { pop, .. }) = functions() {
            // SAFETY: the record was pushed by this thread. At its end no frame is left, so that a record which was pushed
            // after this one and is dropped with it has nothing to clean up. Zero means that the handler is not called.
            unsafe { pop(self.0, 0) };
        }
        // SAFETY: the record is a leaked box, which the C library does not know any more.
        drop(unsafe { Box::from_raw(self.0) });
    }
}

thread_local! {
    static REGISTERED: Registered = Registered::new();
}

/// Returns a number that no other living thread has: the address of its control block.
#[inline(always)]
pub fn id() -> usize {
    #[cfg(target_arch = "x86_64")]
    {
        let pointer: usize;
        // SAFETY: the first word of a thread's control block holds its own address (System V ABI, thread-local storage).
        unsafe {
            std::arch::asm!("mov {}, fs:0", out(reg) pointer, options(nostack, preserves_flags, pure, readonly));
        }
        pointer
    }
    #[cfg(target_arch = "aarch64")]
    {
        let pointer: usize;
        // SAFETY: reading this register, which holds the address of the thread's control block, has no effect.
        unsafe {
            std::arch::asm!("mrs {}, tpidr_el0", out(reg) pointer, options(nomem, nostack, preserves_flags));
        }
        pointer
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        // SAFETY: the function has no precondition.
        unsafe { libc::pthread_self() as usize }
    }
}

/// Notes that the running thread is inside this crate. It must be called once in each thread before code that may call
/// Python, run a finalizer or ask for the GIL: making, using and dropping the fields of classes ([`crate::cell`]) does
/// so, as does the entry of a function that may wait ([`super::attached`]).
#[inline(always)]
pub fn enter() {
    let thread = id();
    if LAST.load(Relaxed) != thread {
        enter_anew(thread);
    }
}

/// Forgets, in a forked child, which thread entered last: a new thread of the child may have the same address.
pub fn in_child() {
    LAST.store(0, Relaxed);
}

#[cold]
#[inline(never)]
fn enter_anew(thread: usize) {
    // A thread that is ending, and has begun to destroy its thread-local data, no longer calls Python.
    if REGISTERED.try_with(|_| ()).is_ok() {
        LAST.store(thread, Relaxed);
    }
}

/// Waits for the end of the process if the interpreter is being finalized. A thread that ends for another reason goes on
/// ending.
unsafe extern "C" fn wait_for_the_end(_: *mut c_void) {
    while is_at_its_end() {
        // SAFETY: it only waits, for a signal.
        unsafe { libc::pause() };
    }
}

fn is_at_its_end() -> bool {
    let finalizing = functions().is_some_and(|functions| {
        // SAFETY: the function reads a flag and may be called by any thread at any time.
        functions
            .is_finalizing
            .is_some_and(|is| unsafe { is() } != 0)
    });
    // SAFETY: as above.
    finalizing || unsafe { ffi::Py_IsInitialized() } == 0
}
