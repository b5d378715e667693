//! `gevent._core`: the engine of gevent-rs. There is one file for each concept, and `unsafe` is in `ffi/` and in the GIL cell only.
//!
//! Data flows one way: system call → reactor → loop (ready queue) → park → greenlet. ARCHITECTURE.md has the map, and
//! the storeys, which state which of these modules may use which.

mod args;
mod asyncio;
mod cell;
mod compat;
mod errors;
mod event_loop;
mod ffi;
mod greenlets;
mod hub;
mod orphan;
mod pools;
mod queues;
mod registered;
mod resolver;
mod servers;
mod sockets;
mod structured;
mod sync;
mod waiting;
mod watcher;
mod websocket;
mod wsgi;

use pyo3::prelude::*;

use cell::add_class;
use greenlets::greenlet::Greenlet;

/// Returns a number that no other living thread has.
#[inline(always)]
pub(crate) fn thread_id() -> u64 {
    ffi::thread::id() as u64
}

#[pymodule(gil_used = true)]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    ffi::greenlet::load(py)?;
    ffi::base::check_layout(py)?;
    ffi::arena::install(py);
    ffi::chunks::install(py);
    ffi::fork::install(&[
        event_loop::unusual::note_gone_loop,
        ffi::hub_slot::in_child,
        waiting::threads::in_child,
        orphan::in_child,
        wsgi::statistics::in_child,
    ]);

    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    add_class::<hub::BaseHub>(module)?;
    ffi::collector::always_collected::<hub::BaseHub, hub::BaseHub>(py);
    ffi::entry::add_body_of_hubs(module)?;
    add_class::<hub::ThreadEnd>(module)?;
    add_class::<event_loop::loop_::Loop>(module)?;
    add_class::<event_loop::callback::Callback>(module)?;
    add_class::<greenlets::greenlet::Greenlet>(module)?;
    ffi::collector::always_collected::<Greenlet, Greenlet>(py);
    ffi::entry::install(py)?;
    ffi::blocking::add_method::<greenlets::join::Join>(py)?;
    ffi::blocking::add_method::<greenlets::join::GetEnd>(py)?;
    add_class::<greenlets::spawn_tree::SpawnFrame>(module)?;
    add_class::<greenlets::spawned_link::SpawnedLink>(module)?;
    add_class::<greenlets::spawned_link::SuccessSpawnedLink>(module)?;
    add_class::<greenlets::spawned_link::FailureSpawnedLink>(module)?;
    add_class::<waiting::sleep::TrackedRawGreenlet>(module)?;
    add_class::<event_loop::signal_handlers::SignalHandler>(module)?;
    add_class::<waiting::waiter::Waiter>(module)?;
    add_class::<waiting::arrivals::Arrivals>(module)?;
    add_class::<waiting::restarting::Restarting>(module)?;
    module.add_function(wrap_pyfunction!(waiting::restarting::keep_running, module)?)?;
    add_class::<waiting::timeout::Timeout>(module)?;

    add_class::<sync::event::Event>(module)?;
    ffi::blocking::add_method::<sync::event::WaitForEvent>(py)?;
    add_class::<sync::async_result::AsyncResult>(module)?;
    ffi::blocking::add_method::<sync::async_result::GetResult>(py)?;
    ffi::blocking::add_method::<sync::async_result::WaitForResult>(py)?;
    add_class::<sync::lock::Semaphore>(module)?;
    add_class::<sync::bounded_semaphore::BoundedSemaphore>(module)?;
    add_class::<sync::dummy_semaphore::DummySemaphore>(module)?;
    add_class::<sync::rlock::RLock>(module)?;
    add_class::<sync::thread_lock::ThreadLock>(module)?;
    add_class::<sync::thread_rlock::ThreadRLock>(module)?;
    add_class::<sync::busy_wait::PyBusyWait>(module)?;
    add_class::<queues::queue::SimpleQueue>(module)?;
    add_class::<queues::classes::Queue>(module)?;
    ffi::blocking::add_method::<queues::put_get::Get>(py)?;
    ffi::blocking::add_method_to::<queues::put_get::Get, queues::classes::Queue>(py)?;
    add_class::<queues::classes::LifoQueue>(module)?;
    add_class::<queues::classes::PriorityQueue>(module)?;
    add_class::<queues::channel::Channel>(module)?;
    add_class::<greenlets::local::Local>(module)?;
    module.add_function(wrap_pyfunction!(
        greenlets::local::all_local_dicts_for_greenlet,
        module
    )?)?;

    errors::register(module)?;
    module.add_function(wrap_pyfunction!(registered::set_objects, module)?)?;
    module.add_function(wrap_pyfunction!(orphan::close_left_hub, module)?)?;
    module.add_function(wrap_pyfunction!(orphan::leave_hub, module)?)?;
    module.add_function(wrap_pyfunction!(orphan::leave_hub_at_fork, module)?)?;
    module.add_function(wrap_pyfunction!(hub::get_hub, module)?)?;
    module.add_function(wrap_pyfunction!(hub::get_hub_if_exists, module)?)?;
    module.add_function(wrap_pyfunction!(hub::get_hub_class, module)?)?;
    module.add_function(wrap_pyfunction!(hub::set_hub, module)?)?;
    module.add_function(wrap_pyfunction!(hub::set_default_hub_class, module)?)?;
    module.add_function(wrap_pyfunction!(hub::getcurrent, module)?)?;
    ffi::tracing::register(module)?;
    waiting::asyncio_state::register(module)?;
    module.add_function(wrap_pyfunction!(hub::check_signals, module)?)?;
    module.add(
        "sleep",
        ffi::blocking::function::<waiting::sleep::Sleep>(module, "gevent.hub")?,
    )?;
    module.add_function(wrap_pyfunction!(waiting::sleep::idle, module)?)?;
    module.add_function(wrap_pyfunction!(waiting::sleep::spawn, module)?)?;
    module.add_function(wrap_pyfunction!(waiting::sleep::spawn_raw, module)?)?;
    module.add_function(wrap_pyfunction!(waiting::sleep::kill, module)?)?;
    module.add_function(wrap_pyfunction!(waiting::sleep::join_greenlets, module)?)?;
    module.add_function(wrap_pyfunction!(waiting::sleep::kill_greenlets, module)?)?;
    module.add_function(wrap_pyfunction!(
        waiting::sleep::set_track_greenlet_tree,
        module
    )?)?;
    module.add_function(wrap_pyfunction!(waiting::sleep::getswitchinterval, module)?)?;
    module.add_function(wrap_pyfunction!(waiting::sleep::setswitchinterval, module)?)?;
    module.add_function(wrap_pyfunction!(waiting::timeout::with_timeout, module)?)?;
    waiting::reason::register(module)?;
    module.add_function(wrap_pyfunction!(sync::rlock::holder_of, module)?)?;
    module.add_function(wrap_pyfunction!(waiting::running::numbers_of, module)?)?;
    structured::register(module)?;
    event_loop::loop_::counters::register(module)?;
    watcher::register(module)?;

    add_class::<pools::group::BaseGroup>(module)?;
    add_class::<pools::group::BasePool>(module)?;
    add_class::<pools::imap::IMapUnordered>(module)?;
    ffi::collector::always_collected::<Greenlet, pools::imap::IMapUnordered>(py);
    add_class::<pools::imap::IMap>(module)?;
    ffi::collector::always_collected::<Greenlet, pools::imap::IMap>(py);
    add_class::<pools::threadpool::TaskQueue>(module)?;
    module.add_function(wrap_pyfunction!(pools::threadpool::retire_workers, module)?)?;
    event_loop::flags::register(module)?;
    add_class::<resolver::channel::NameService>(module)?;
    add_class::<resolver::channel::LookUp>(module)?;
    add_class::<sockets::socket::SocketBase>(module)?;
    add_class::<wsgi::service::Service>(module)?;
    add_class::<wsgi::request_file::RequestFile>(module)?;
    add_class::<wsgi::attributes::Attributes>(module)?;
    add_class::<wsgi::handler::WSGIHandler>(module)?;
    ffi::blocking::add_method::<wsgi::connection::Handle>(py)?;
    wsgi::overriding::install(&py.get_type::<wsgi::handler::WSGIHandler>())?;
    add_class::<wsgi::input::Input>(module)?;
    add_class::<wsgi::file_wrapper::FileWrapper>(module)?;
    add_class::<wsgi::responder::Responder>(module)?;
    module.add_function(wrap_pyfunction!(wsgi::statistics::http_statistics, module)?)?;
    module.add(
        "serve_connection",
        ffi::blocking::function::<wsgi::serve::Serve>(module, "gevent._core")?,
    )?;
    ffi::blocking::add_method::<sockets::socket::io::Receive>(py)?;
    ffi::blocking::add_method::<sockets::socket::send::Send>(py)?;
    ffi::blocking::add_method::<sockets::socket::send::SendAll>(py)?;
    greenlets::connection::register(module)?;
    module.add_function(wrap_pyfunction!(servers::accept::take_in, module)?)?;
    module.add_function(wrap_pyfunction!(
        event_loop::descriptors::wait_descriptor,
        module
    )?)?;
    module.add_function(wrap_pyfunction!(
        event_loop::descriptors::poll_descriptors,
        module
    )?)?;
    module.add_class::<event_loop::descriptors::PollChanges>()?;
    websocket::register(module)?;
    asyncio::register(module)?;
    ffi::signatures::document_constructors(&module.dict())?;
    ffi::call_signatures::document_calls(py)
}
