//! The fast path of `gevent.aio`: what an event loop of asyncio does for each callback and each message.
//!
//! `gevent.aio.EventLoop` is a Python class derived from [`AsyncioLoop`](base::AsyncioLoop) and from asyncio's own loop. The
//! engine overrides what a loop does for each callback; set-up, tear-down and the additions of debug mode are asyncio's code.
//!
//! The way of a message: the hub's poll finds that a source is ready and notifies its listener, which puts the place of the
//! transport into the loop's [`mailbox`] and wakes the greenlet that runs the loop. That one's next [`turn`] has the
//! transport receive and call its protocol.

mod base;
mod datagram;
mod descriptor;
mod handle;
mod mailbox;
mod out;
mod registration;
mod scheduled;
mod stream;
mod stream_read;
mod stream_write;
mod transport;
mod turn;

use pyo3::prelude::*;

use crate::cell::add_class;

/// Adds the classes to the module.
///
/// # Errors
/// When a type object cannot be made.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    add_class::<base::AsyncioLoop>(module)?;
    add_class::<mailbox::ReadyView>(module)?;
    add_class::<transport::BaseTransport>(module)?;
    add_class::<datagram::DatagramTransport>(module)?;
    add_class::<stream::StreamTransport>(module)
}
