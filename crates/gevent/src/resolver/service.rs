//! The native thread that all look-ups of the process run in.

use std::io;
use std::thread;

use pyo3::Python;
use reactor::signals;
use tokio::runtime::{Builder, Handle};

use crate::cell::GilCell;
use crate::ffi::fork;

/// A look-up keeps its state on the heap.
const STACK_SIZE: usize = 512 << 10;

struct Service {
    handle: Handle,
    /// The count of forks of the process that the thread is in.
    forks: u64,
}

static SERVICE: GilCell<Option<Service>> = GilCell::in_static(None);

/// What starts work in the thread. The thread itself is started where it does not run yet: at the first look-up, and at
/// the first one in a forked child.
///
/// # Errors
/// When the process may have no more threads or descriptors.
pub fn handle(py: Python<'_>) -> io::Result<Handle> {
    let forks = fork::count();
    let running = SERVICE.with(py, |service| match service {
        Some(service) if service.forks == forks => Some(service.handle.clone()),
        _ => None,
    });
    if let Some(handle) = running {
        return Ok(handle);
    }
    let handle = start()?;
    let service = Service {
        handle: handle.clone(),
        forks,
    };
    // The parent's is not to be touched: dropping it would take locks that its thread may have held, and wake it.
    std::mem::forget(SERVICE.replace(py, Some(service)));
    Ok(handle)
}

fn start() -> io::Result<Handle> {
    let runtime = Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .on_thread_park(fork::end_work)
        .on_thread_unpark(fork::begin_work)
        .build()?;
    let handle = runtime.handle().clone();
    thread::Builder::new()
        .name("gevent-dns".to_owned())
        .stack_size(STACK_SIZE)
        .spawn(move || {
            // Signals belong to the threads of the program. Without this they would still be handled, only later.
            let _ = signals::block_all_in_this_thread();
            fork::begin_work();
            runtime.block_on(std::future::pending::<()>());
        })?;
    Ok(handle)
}
