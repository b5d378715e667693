//! WebSockets: the handshakes, and the code that runs for each message. The Python module `gevent.websocket` has what
//! runs seldom, such as control frames and the end of a connection.

mod client;
mod codec;
mod connection;
mod deflate;
mod handshake;
mod receive;

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

/// The messages of the errors that a closed connection raises, when the program receives and when it sends.
const ALREADY_CLOSED: &str = "Connection is already closed";
const SOCKET_DEAD: &str = "Socket is dead";

/// Adds the classes and functions to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    add_class::<connection::WebSocketBase>(module)?;
    add_method::<receive::Receive>(module.py())?;
    module.add("MSG_ALREADY_CLOSED", ALREADY_CLOSED)?;
    module.add("MSG_SOCKET_DEAD", SOCKET_DEAD)?;
    add_class::<client::WebSocketHandshake>(module)?;
    module.add_function(wrap_pyfunction!(handshake::websocket_respond, module)?)
}
