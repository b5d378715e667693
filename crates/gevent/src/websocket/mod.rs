//! WebSockets: what runs for each message, and the handshakes. What is sent and received, and when, is
//! `gevent.websocket`'s.

mod client;
mod codec;
mod deflate;
mod handshake;

use pyo3::prelude::*;

/// The exceptions of `gevent.websocket.exceptions`.
mod exceptions {
    pyo3::import_exception!(gevent.websocket.exceptions, FrameTooLargeException);
    pyo3::import_exception!(gevent.websocket.exceptions, HandshakeError);
    pyo3::import_exception!(gevent.websocket.exceptions, InvalidTextError);
    pyo3::import_exception!(gevent.websocket.exceptions, ProtocolError);
}

/// Adds the classes and functions to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<codec::WebSocketCodec>()?;
    module.add_class::<client::WebSocketHandshake>()?;
    module.add_function(wrap_pyfunction!(handshake::websocket_respond, module)?)
}
