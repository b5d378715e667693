//! The opening handshake as a client sees it (RFC 6455 section 4.1).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

use crate::extension::Deflate;
use crate::handshake::accept;

/// The largest number of bytes and of fields in the head of a response.
const HEAD_LIMIT: usize = 64 * 1024;
const FIELDS: usize = 100;

/// The reason why a client gives up.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ClientError {
    /// A part of the request holds a control character, or is missing.
    #[error("invalid {0}")]
    Request(&'static str),
    /// There is the system provides no random bytes for the key.
    #[error("the system provides no random bytes")]
    Randomness,
    /// The server sent something other than an HTTP response.
    #[error("malformed response")]
    Response,
    /// The server answered with another status than 101.
    #[error("server answered {0} {1}")]
    Status(u16, String),
    /// A field of the response is missing, or does not match the request.
    #[error("invalid {0} in response")]
    Field(&'static str),
}

/// A request for a WebSocket.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request<'a> {
    /// The host and, unless it is the scheme's own, the port.
    pub host: &'a str,
    /// The path and the query.
    pub target: &'a str,
    /// The origin of the page, for a client that has one.
    pub origin: Option<&'a str>,
    /// The subprotocols, the preferred one first.
    pub protocols: &'a [&'a str],
    /// Further fields, from the caller. A `Host` among them takes the place of `host`.
    pub fields: &'a [(&'a str, &'a str)],
}

/// The answer of a server that agreed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Agreed {
    /// The subprotocol it chose.
    pub protocol: Option<String>,
    /// The compression it accepted.
    pub deflate: Option<Deflate>,
}

/// A handshake that waits for its response.
#[derive(Clone, Debug)]
pub struct Handshake {
    request: Vec<u8>,
    accept: String,
    protocols: Vec<String>,
    deflate: Option<Deflate>,
}

impl Handshake {
    /// Begins a handshake. `deflate` is the compression to offer.
    ///
    /// # Errors
    /// Returns [`ClientError::Request`] when a part would end its line, and [`ClientError::Randomness`] when there is
    /// no random key.
    pub fn new(request: &Request<'_>, deflate: Option<&Deflate>) -> Result<Self, ClientError> {
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).map_err(|_| ClientError::Randomness)?;
        let key = STANDARD.encode(nonce);
        if request.target.is_empty()
            || request
                .target
                .contains(|c: char| c == ' ' || c.is_control())
        {
            return Err(ClientError::Request("path"));
        }
        let mut text = format!("GET {} HTTP/1.1\r\n", request.target);
        let mut field = |name: &str, value: &str| {
            let token = |c: char| c.is_ascii_graphic() && c != ':';
            if name.is_empty() || !name.chars().all(token) || value.contains(char::is_control) {
                return Err(ClientError::Request("header"));
            }
            text.push_str(name);
            text.push_str(": ");
            text.push_str(value);
            text.push_str("\r\n");
            Ok(())
        };
        let has = |name: &str| {
            let is = |(other, _): &(&str, &str)| other.eq_ignore_ascii_case(name);
            request.fields.iter().any(is)
        };
        if !has("Host") {
            field("Host", request.host)?;
        }
        field("Upgrade", "websocket")?;
        field("Connection", "Upgrade")?;
        field("Sec-WebSocket-Key", &key)?;
        field("Sec-WebSocket-Version", "13")?;
        if let Some(origin) = request.origin {
            field("Origin", origin)?;
        }
        if !request.protocols.is_empty() {
            field("Sec-WebSocket-Protocol", &request.protocols.join(", "))?;
        }
        if let Some(deflate) = deflate {
            field("Sec-WebSocket-Extensions", &deflate.offer())?;
        }
        for (name, value) in request.fields {
            field(name, value)?;
        }
        text.push_str("\r\n");
        Ok(Self {
            request: text.into_bytes(),
            accept: accept(&key),
            protocols: request
                .protocols
                .iter()
                .map(|&one| one.to_owned())
                .collect(),
            deflate: deflate.copied(),
        })
    }

    /// Returns the bytes to send.
    #[must_use]
    pub fn request(&self) -> &[u8] {
        &self.request
    }

    /// Judges the response, of which `input` holds the bytes so far. Returns how many bytes its head took, and what the
    /// server agreed to; `None` when more bytes are needed.
    ///
    /// # Errors
    /// Returns a [`ClientError`] when the server does not agree to the request. The connection must be closed then.
    pub fn decode(&self, input: &[u8]) -> Result<Option<(usize, Agreed)>, ClientError> {
        let mut skipped = 0;
        // Interim responses (1xx other than 101) may come first (RFC 9110 section 15.2).
        loop {
            let mut headers = [httparse::EMPTY_HEADER; FIELDS];
            let mut response = httparse::Response::new(&mut headers);
            let taken = match response.parse(&input[skipped..]) {
                Ok(httparse::Status::Complete(taken)) => taken,
                Ok(httparse::Status::Partial) if input.len() < HEAD_LIMIT => return Ok(None),
                _ => return Err(ClientError::Response),
            };
            match response.code.unwrap_or_default() {
                101 | 200.. => {
                    let agreed = self.judge(&response)?;
                    return Ok(Some((skipped + taken, agreed)));
                }
                _ => skipped += taken,
            }
            if skipped > HEAD_LIMIT {
                return Err(ClientError::Response);
            }
        }
    }

    /// Judges the head of the response.
    fn judge(&self, response: &httparse::Response<'_, '_>) -> Result<Agreed, ClientError> {
        if response.version != Some(1) {
            // HTTP/1.0 has no change of the protocol.
            return Err(ClientError::Response);
        }
        let status = response.code.unwrap_or_default();
        if status != 101 {
            return Err(ClientError::Status(
                status,
                response.reason.unwrap_or_default().to_owned(),
            ));
        }
        let once = |name: &'static str| {
            let mut values = response
                .headers
                .iter()
                .filter(|header| header.name.eq_ignore_ascii_case(name));
            match (values.next(), values.next()) {
                (None, _) => Ok(None),
                (Some(header), None) => std::str::from_utf8(header.value)
                    .map(|value| Some(value.trim()))
                    .map_err(|_| ClientError::Field(name)),
                _ => Err(ClientError::Field(name)),
            }
        };
        if !once("Upgrade")?.is_some_and(|value| value.eq_ignore_ascii_case("websocket")) {
            return Err(ClientError::Field("Upgrade"));
        }
        let upgrades = |value: &str| {
            value
                .split(',')
                .any(|token| token.trim().eq_ignore_ascii_case("upgrade"))
        };
        if !once("Connection")?.is_some_and(upgrades) {
            return Err(ClientError::Field("Connection"));
        }
        if once("Sec-WebSocket-Accept")? != Some(self.accept.as_str()) {
            return Err(ClientError::Field("Sec-WebSocket-Accept"));
        }
        let protocol = once("Sec-WebSocket-Protocol")?.map(str::to_owned);
        if protocol
            .as_ref()
            .is_some_and(|chosen| !self.protocols.contains(chosen))
        {
            return Err(ClientError::Field("Sec-WebSocket-Protocol"));
        }
        let deflate = match (once("Sec-WebSocket-Extensions")?, &self.deflate) {
            (None | Some(""), _) => None,
            (Some(answer), Some(offer)) => Some(
                offer
                    .confirm(answer)
                    .ok_or(ClientError::Field("Sec-WebSocket-Extensions"))?,
            ),
            (Some(_), None) => return Err(ClientError::Field("Sec-WebSocket-Extensions")),
        };
        Ok(Agreed { protocol, deflate })
    }
}
