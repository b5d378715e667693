//! Negotiates permessage-deflate (RFC 7692 section 7.1).

use std::fmt::Write as _;

use crate::Role;

const NAME: &str = "permessage-deflate";

/// The compression that both sides agreed on or, before that, the most that one side would accept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deflate {
    /// The compression of the server's messages.
    pub server: Side,
    /// The compression of the client's messages.
    pub client: Side,
}

/// The settings by which one side compresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Side {
    /// True if a message may refer to those before it.
    pub context_takeover: bool,
    /// The distance that it may refer back: 2 to the power of this number in bytes, 9 to 15.
    pub window_bits: u8,
}

impl Default for Side {
    fn default() -> Self {
        Self {
            context_takeover: true,
            window_bits: 15,
        }
    }
}

/// The parameters of one offer or answer. Windows of 8 bits, which zlib cannot compress with, are refused as they are
/// read.
#[derive(Clone, Copy, Debug, Default)]
struct Parameters {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<u8>,
    /// The outer `Option` says if the parameter is there, the inner one if it has a value.
    client_max_window_bits: Option<Option<u8>>,
}

impl Deflate {
    pub(crate) fn side(&self, role: Role) -> Side {
        match role {
            Role::Client => self.client,
            Role::Server => self.server,
        }
    }

    /// Chooses, as a server, among the offers in a request's `Sec-WebSocket-Extensions`. Returns the agreement and the
    /// response's field, or `None` when no offer can be accepted. `self` is the most that the server would agree to.
    #[must_use]
    pub fn agree(&self, offers: &str) -> Option<(Self, String)> {
        elements(offers, ',')
            .filter_map(parse)
            .find_map(|offer| self.accept(offer))
    }

    fn accept(&self, offer: Parameters) -> Option<(Self, String)> {
        let mut agreed = *self;
        let mut answer = NAME.to_owned();
        agreed.server.context_takeover &= !offer.server_no_context_takeover;
        if !agreed.server.context_takeover {
            answer.push_str("; server_no_context_takeover");
        }
        agreed.client.context_takeover &= !offer.client_no_context_takeover;
        if !agreed.client.context_takeover {
            answer.push_str("; client_no_context_takeover");
        }
        if let Some(bits) = offer.server_max_window_bits {
            agreed.server.window_bits = agreed.server.window_bits.min(bits);
        }
        if offer.server_max_window_bits.is_some() || agreed.server.window_bits < 15 {
            let _ = write!(
                answer,
                "; server_max_window_bits={}",
                agreed.server.window_bits
            );
        }
        match offer.client_max_window_bits {
            Some(bits) => {
                agreed.client.window_bits = agreed.client.window_bits.min(bits.unwrap_or(15));
                let _ = write!(
                    answer,
                    "; client_max_window_bits={}",
                    agreed.client.window_bits
                );
            }
            // A client that does not offer the parameter cannot be asked to limit its window.
            None => agreed.client.window_bits = 15,
        }
        Some((agreed, answer))
    }

    /// Returns the field by which a client offers `self`.
    #[must_use]
    pub fn offer(&self) -> String {
        let mut offer = format!("{NAME}; client_max_window_bits");
        if self.client.window_bits < 15 {
            let _ = write!(offer, "={}", self.client.window_bits);
        }
        if !self.client.context_takeover {
            offer.push_str("; client_no_context_takeover");
        }
        if !self.server.context_takeover {
            offer.push_str("; server_no_context_takeover");
        }
        if self.server.window_bits < 15 {
            let _ = write!(
                offer,
                "; server_max_window_bits={}",
                self.server.window_bits
            );
        }
        offer
    }

    /// Returns the agreement that the `Sec-WebSocket-Extensions` of a response states, to a client that made the
    /// [`offer`](Self::offer) of `self`; `None` when it is no answer to that offer.
    #[must_use]
    pub fn confirm(&self, answer: &str) -> Option<Self> {
        let mut answers = elements(answer, ',');
        let parameters = parse(answers.next()?)?;
        if answers.next().is_some() {
            return None;
        }
        let mut agreed = *self;
        // The server must confirm the parameters that the offer asks for.
        if !self.server.context_takeover && !parameters.server_no_context_takeover {
            return None;
        }
        agreed.server.context_takeover = !parameters.server_no_context_takeover;
        let bits = parameters.server_max_window_bits.unwrap_or(15);
        if bits > self.server.window_bits {
            return None;
        }
        agreed.server.window_bits = bits;
        agreed.client.context_takeover &= !parameters.client_no_context_takeover;
        match parameters.client_max_window_bits {
            Some(None) => return None,
            Some(Some(bits)) => agreed.client.window_bits = self.client.window_bits.min(bits),
            None => {}
        }
        Some(agreed)
    }
}

/// Yields the elements of a list, without the spaces around them. Neither offers nor answers have use for quoted
/// separators.
fn elements(list: &str, separator: char) -> impl Iterator<Item = &str> {
    list.split(separator)
        .map(str::trim)
        .filter(|element| !element.is_empty())
}

/// Returns the parameters of one extension; `None` when it is another, or malformed (section 7.1).
fn parse(extension: &str) -> Option<Parameters> {
    let mut parts = elements(extension, ';');
    if !parts.next()?.eq_ignore_ascii_case(NAME) {
        return None;
    }
    let mut found = Parameters::default();
    for part in parts {
        let (name, value) = match part.split_once('=') {
            Some((name, value)) => (name.trim(), Some(value.trim().trim_matches('"'))),
            None => (part, None),
        };
        match (name, value) {
            ("server_no_context_takeover", None) if !found.server_no_context_takeover => {
                found.server_no_context_takeover = true;
            }
            ("client_no_context_takeover", None) if !found.client_no_context_takeover => {
                found.client_no_context_takeover = true;
            }
            ("server_max_window_bits", Some(bits)) if found.server_max_window_bits.is_none() => {
                found.server_max_window_bits = Some(window_bits(bits)?);
            }
            ("client_max_window_bits", None) if found.client_max_window_bits.is_none() => {
                found.client_max_window_bits = Some(None);
            }
            ("client_max_window_bits", Some(bits)) if found.client_max_window_bits.is_none() => {
                found.client_max_window_bits = Some(Some(window_bits(bits)?));
            }
            _ => return None,
        }
    }
    Some(found)
}

fn window_bits(text: &str) -> Option<u8> {
    match text.as_bytes() {
        [digit @ b'9'] => Some(digit - b'0'),
        [b'1', digit @ b'0'..=b'5'] => Some(10 + digit - b'0'),
        _ => None,
    }
}
