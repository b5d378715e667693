//! The opening handshake as a server sees it (RFC 6455 section 4.2).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};
use thiserror::Error;

use crate::extension::Deflate;

const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The versions whose frames are those of RFC 6455, the RFC's own first; as for `Sec-WebSocket-Version`.
pub const VERSIONS: &str = "13, 8, 7";

/// The reason why a request to change to WebSocket is refused.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
pub enum HandshakeError {
    /// No `Sec-WebSocket-Version`, or none of [`VERSIONS`]. The answer must list those.
    #[error("unsupported WebSocket version")]
    Version,
    /// No `Sec-WebSocket-Key`, or one that is not 16 bytes in base64.
    #[error("invalid Sec-WebSocket-Key")]
    Key,
}

impl HandshakeError {
    /// Returns the status to answer with.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Version => 426,
            Self::Key => 400,
        }
    }
}

/// The fields of a request that matter once it asked for `Upgrade: websocket`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request<'a> {
    /// The value of `Sec-WebSocket-Key`.
    pub key: Option<&'a str>,
    /// The value of `Sec-WebSocket-Version`.
    pub version: Option<&'a str>,
    /// The value of `Sec-WebSocket-Extensions`.
    pub extensions: Option<&'a str>,
}

/// The fields of a `101 Switching Protocols`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The value of `Sec-WebSocket-Accept`.
    pub accept: String,
    /// The value of `Sec-WebSocket-Extensions`, when there is one.
    pub extensions: Option<String>,
    /// The compression that the extension stands for.
    pub deflate: Option<Deflate>,
}

/// Judges a request. `deflate` is the most compression that the server would agree to. The caller decides which origins
/// and subprotocols it accepts.
///
/// # Errors
/// Returns a [`HandshakeError`] when the request does not come from a WebSocket client of a supported version.
pub fn respond(
    request: &Request<'_>,
    deflate: Option<&Deflate>,
) -> Result<Response, HandshakeError> {
    let version = request.version.unwrap_or_default();
    if !VERSIONS.split(", ").any(|known| known == version) {
        return Err(HandshakeError::Version);
    }
    let key = request.key.unwrap_or_default();
    if STANDARD.decode(key).map_or(true, |nonce| nonce.len() != 16) {
        return Err(HandshakeError::Key);
    }
    let agreed = deflate
        .zip(request.extensions)
        .and_then(|(deflate, offers)| deflate.agree(offers));
    let (deflate, extensions) = agreed.unzip();
    Ok(Response {
        accept: accept(key),
        extensions,
        deflate,
    })
}

/// Returns the `Sec-WebSocket-Accept` of a `Sec-WebSocket-Key`.
#[must_use]
pub fn accept(key: &str) -> String {
    let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    STANDARD.encode(digest)
}
