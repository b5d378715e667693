//! `gevent._core`: the engine of gevent-rs. One file per concept; only `ffi/` is unsafe beside the GIL cell.
//!
//! Data flows one way: system call → reactor → loop (ready queue) → park → greenlet. See ARCHITECTURE.md.

mod args;
mod async_result;
mod bell;
mod callback;
mod cell;
mod channel;
mod descriptors;
mod errors;
mod event;
mod ffi;
mod flags;
mod greenlet;
mod greenlet_api;
mod greenlet_end;
mod group;
mod hub;
mod imap;
mod imap_results;
mod job;
mod kernel;
mod line;
mod linkable;
mod links;
mod local;
mod lock;
mod loop_;
mod loop_api;
mod park;
mod poll;
mod queue;
mod queue_api;
mod queue_heap;
mod queue_items;
mod queue_wait;
mod ready;
mod rlock;
mod run;
mod sleep;
mod socket;
mod socket_addr;
mod socket_io;
mod socket_life;
mod socket_wait;
mod spawn_tree;
mod spawned_link;
mod spin;
mod threadpool;
mod timeout;
mod turn;
mod wait;
mod waiter;
mod watcher;

use pyo3::prelude::*;

thread_local! {
    static ANCHOR: u8 = const { 0 };
}

/// A number that no other living thread has.
#[inline]
pub(crate) fn thread_id() -> u64 {
    ANCHOR.with(|anchor| std::ptr::from_ref(anchor) as u64)
}

#[pymodule(gil_used = true)]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    ffi::greenlet::load(py)?;
    ffi::base::check_layout(py)?;
    ffi::arena::install(py);
    ffi::fork::install();

    module.add_class::<hub::BaseHub>()?;
    module.add_class::<hub::ThreadEnd>()?;
    module.add_class::<loop_::Loop>()?;
    module.add_class::<callback::Callback>()?;
    module.add_class::<greenlet::Greenlet>()?;
    ffi::entry::install(py)?;
    module.add_class::<spawn_tree::SpawnFrame>()?;
    module.add_class::<spawned_link::SpawnedLink>()?;
    module.add_class::<spawned_link::SuccessSpawnedLink>()?;
    module.add_class::<spawned_link::FailureSpawnedLink>()?;
    module.add_class::<sleep::TrackedRawGreenlet>()?;
    module.add_class::<waiter::Waiter>()?;
    module.add_class::<timeout::Timeout>()?;

    module.add_class::<event::Event>()?;
    ffi::blocking::add_method::<event::WaitForEvent, event::Event>(py)?;
    module.add_class::<async_result::AsyncResult>()?;
    module.add_class::<lock::Semaphore>()?;
    module.add_class::<lock::BoundedSemaphore>()?;
    module.add_class::<lock::DummySemaphore>()?;
    module.add_class::<rlock::RLock>()?;
    module.add_class::<queue::SimpleQueue>()?;
    module.add_class::<queue_api::Queue>()?;
    module.add_class::<queue_api::LifoQueue>()?;
    module.add_class::<queue_api::PriorityQueue>()?;
    module.add_class::<channel::Channel>()?;
    module.add_class::<local::Local>()?;
    module.add_function(wrap_pyfunction!(
        local::all_local_dicts_for_greenlet,
        module
    )?)?;

    module.add_function(wrap_pyfunction!(hub::get_hub, module)?)?;
    module.add_function(wrap_pyfunction!(hub::get_hub_if_exists, module)?)?;
    module.add_function(wrap_pyfunction!(hub::get_hub_class, module)?)?;
    module.add_function(wrap_pyfunction!(hub::set_hub, module)?)?;
    module.add_function(wrap_pyfunction!(hub::set_default_hub_class, module)?)?;
    module.add_function(wrap_pyfunction!(hub::getcurrent, module)?)?;
    module.add(
        "sleep",
        ffi::blocking::function::<sleep::Sleep>(module, "gevent.hub")?,
    )?;
    module.add_function(wrap_pyfunction!(sleep::idle, module)?)?;
    module.add_function(wrap_pyfunction!(sleep::spawn, module)?)?;
    module.add_function(wrap_pyfunction!(sleep::spawn_raw, module)?)?;
    module.add_function(wrap_pyfunction!(sleep::kill, module)?)?;
    module.add_function(wrap_pyfunction!(sleep::join_greenlets, module)?)?;
    module.add_function(wrap_pyfunction!(sleep::kill_greenlets, module)?)?;
    module.add_function(wrap_pyfunction!(sleep::set_track_greenlet_tree, module)?)?;
    module.add_function(wrap_pyfunction!(sleep::getswitchinterval, module)?)?;
    module.add_function(wrap_pyfunction!(sleep::setswitchinterval, module)?)?;
    module.add_function(wrap_pyfunction!(timeout::with_timeout, module)?)?;
    watcher::register(module)?;

    module.add_class::<group::BaseGroup>()?;
    module.add_class::<group::BasePool>()?;
    module.add_class::<imap::IMapUnordered>()?;
    module.add_class::<imap::IMap>()?;
    module.add_class::<threadpool::TaskQueue>()?;
    module.add_function(wrap_pyfunction!(bell::retire_workers, module)?)?;
    flags::register(module)?;
    module.add_class::<socket::SocketBase>()?;
    ffi::blocking::add_method::<socket_io::Receive, socket::SocketBase>(py)?;
    module.add_function(wrap_pyfunction!(descriptors::wait_descriptor, module)?)?;
    module.add_function(wrap_pyfunction!(descriptors::poll_descriptors, module)?)?;
    Ok(())
}
