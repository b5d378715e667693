//! WebSockets: what runs for each message, and the handshakes. What happens seldom is `gevent.websocket`'s.

mod client;
mod codec;
mod connection;
mod deflate;
mod handshake;

use pyo3::prelude::*;

use crate::cell::add_class;
use crate::ffi::blocking::add_method;

/// The exceptions of `gevent.websocket.exceptions`.
mod exceptions {
    use crate::registered::registered_exception;

    registered_exception!(FrameTooLargeException);
    registered_exception!(HandshakeError);
    registered_exception!(InvalidTextError);
    registered_exception!(ProtocolError);
    registered_exception!(WebSocketError);
}

/// What is wrong with a connection that was closed, when it is to receive and when it is to send.
const ALREADY_CLOSED: &str = "Connection is already closed";
const SOCKET_DEAD: &str = "Socket is dead";

/// Adds the classes and functions to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    add_class::<connection::WebSocketBase>(module)?;
    add_method::<connection::Receive>(module.py())?;
    module.add("MSG_ALREADY_CLOSED", ALREADY_CLOSED)?;
    module.add("MSG_SOCKET_DEAD", SOCKET_DEAD)?;
    add_class::<client::WebSocketHandshake>(module)?;
    module.add_function(wrap_pyfunction!(handshake::websocket_respond, module)?)
}
