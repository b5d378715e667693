//! `gevent.websocket.PerMessageDeflate` as the protocol's own type.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use websocket::Deflate;
use websocket::extension::Side;

/// The fields of a `PerMessageDeflate`: two flags, true if the server or the client keeps no context, and the bits of
/// their windows.
pub type Fields = (bool, bool, u8, u8);

/// Returns the protocol's type for the fields of a `PerMessageDeflate`.
///
/// # Errors
/// Returns `ValueError` for a window that is not one of 9 to 15 bits.
pub fn from_fields(fields: Option<Fields>) -> PyResult<Option<Deflate>> {
    let Some((server_forgets, client_forgets, server_bits, client_bits)) = fields else {
        return Ok(None);
    };
    if !(9..=15).contains(&server_bits) || !(9..=15).contains(&client_bits) {
        return Err(PyValueError::new_err("window bits must be from 9 to 15"));
    }
    Ok(Some(Deflate {
        server: Side {
            context_takeover: !server_forgets,
            window_bits: server_bits,
        },
        client: Side {
            context_takeover: !client_forgets,
            window_bits: client_bits,
        },
    }))
}

/// Returns the fields of a `PerMessageDeflate` for the protocol's type.
pub fn to_fields(deflate: Deflate) -> Fields {
    let Deflate { server, client } = deflate;
    (
        !server.context_takeover,
        !client.context_takeover,
        server.window_bits,
        client.window_bits,
    )
}
