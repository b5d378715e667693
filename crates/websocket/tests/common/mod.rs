//! A simulated connection without an other side.

use websocket::{Decoder, Event, ProtocolError};

/// An event that owns its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Came {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

impl From<Event<'_>> for Came {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Text(text) => Self::Text(text.to_owned()),
            Event::Binary(content) => Self::Binary(content.to_vec()),
            Event::Ping(payload) => Self::Ping(payload.to_vec()),
            Event::Pong(payload) => Self::Pong(payload.to_vec()),
            Event::Close(reason) => Self::Close(reason.map(|(code, text)| (code, text.to_owned()))),
        }
    }
}

/// The events of a connection, and the error that ended it.
pub type Transcript = (Vec<Came>, Option<ProtocolError>);

/// Decode what arrives in `pieces`. How much text comes out ahead of data that cannot be decompressed is the
/// decompressor's choice, so bad text of a compressed message counts as such data.
pub fn receive<'a>(
    decoder: &mut Decoder,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Transcript {
    let compressed = decoder.decompresses();
    let mut came = Vec::new();
    let mut buffer = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match decoder.decode(&mut buffer) {
                Err(ProtocolError::Utf8) if compressed => {
                    return (came, Some(ProtocolError::Compression));
                }
                Err(error) => return (came, Some(error)),
                Ok(decoded) => {
                    let (consumed, event) = (decoded.consumed, decoded.event.map(Came::from));
                    buffer.drain(..consumed);
                    let Some(event) = event else { break };
                    came.push(event);
                }
            }
        }
    }
    (came, None)
}
