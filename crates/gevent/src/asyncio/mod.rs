//! The fast path of `gevent.aio`: the work of an event loop of asyncio for each callback and each message.
//!
//! `gevent.aio.EventLoop` is a Python class derived from [`AsyncioLoop`](base::AsyncioLoop) and from asyncio's own
//! loop. The engine overrides the methods that a loop runs for each callback; set-up, tear-down and the additions of
//! debug mode are asyncio's code.
//!
//! A message takes this path: the hub's poll finds that a source is ready and notifies its listener, which puts the
//! place of the transport into the loop's [`mailbox`] and wakes the greenlet that runs the loop. In the loop's next
//! [`turn`] the transport receives and calls its protocol.

mod base;
mod datagram;
mod descriptor;
mod handle;
mod mailbox;
mod out;
mod registration;
mod scheduled;
mod selector;
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
/// Fails when a type object cannot be made.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    add_class::<base::AsyncioLoop>(module)?;
    add_class::<mailbox::ReadyView>(module)?;
    add_class::<transport::BaseTransport>(module)?;
    add_class::<datagram::DatagramTransport>(module)?;
    add_class::<stream::StreamTransport>(module)
}
