//! Properties that hold for any input. Each function takes bytes from a fuzzer, and panics if its property does not
//! hold.

#[path = "../../crates/http1/tests/common/mod.rs"]
mod connection;
#[path = "../../crates/websocket/tests/common/mod.rs"]
mod frames_in;

use std::sync::Arc;
use std::time::Duration;

use dns::{Action, Hosts, Lookup, Plan, Question, ResolvConf, Settings, Sources};
use frames_in::{Came, receive};
use http1::{Body, ChunkHead, Framing, LAST_CHUNK, Leniency, Limits, Policy};
use websocket::client::{Handshake, Request};
use websocket::extension::Side;
use websocket::{Decoder, Deflate, Encoder, Role};

/// A target's function.
pub type Target = fn(&[u8]);

/// The targets by name.
pub const TARGETS: [(&str, Target); 7] = [
    ("requests", requests),
    ("chunks", chunks),
    ("frames", frames),
    ("messages", messages),
    ("handshakes", handshakes),
    ("replies", replies),
    ("name_files", name_files),
];

/// Splits off two bytes, which choose the options for the rest of the input.
fn choose(data: &[u8]) -> Option<(u8, u8, &[u8])> {
    match data {
        [one, two, rest @ ..] => Some((*one, *two, rest)),
        _ => None,
    }
}

/// Checks that requests are decoded alike however they are cut, and stay within the limits.
pub fn requests(data: &[u8]) {
    let Some((flags, size, input)) = choose(data) else {
        return;
    };
    let limits = if flags & 1 == 0 {
        Limits::default()
    } else {
        Limits {
            request_line: 40,
            head: 120,
            fields: 5,
            body: 60,
            chunk_line: 12,
            trailers: 24,
        }
    };
    let leniency = if flags & 2 == 0 {
        Leniency::default()
    } else {
        Leniency::ALL
    };
    let policy = Policy { limits, leniency };
    let whole = connection::serve([input], &policy);
    let cut = connection::serve(input.chunks(usize::from(size).max(1)), &policy);
    assert_eq!(whole, cut);
    for request in &whole.requests {
        assert!(request.line.len() <= policy.limits.request_line);
        assert!(request.fields.len() <= policy.limits.fields);
        assert!(request.body.len() as u64 <= policy.limits.body);
        for (name, value) in &request.fields {
            assert!(!name.is_empty() && name.is_ascii());
            assert!(
                !value
                    .iter()
                    .any(|byte| byte.is_ascii_control() && *byte != b'\t')
            );
        }
    }
}

/// Checks that content which is encoded in chunks is decoded unchanged.
pub fn chunks(data: &[u8]) {
    let Some((size, cut, content)) = choose(data) else {
        return;
    };
    let mut wire = Vec::new();
    for chunk in content.chunks(usize::from(size).max(1)) {
        wire.extend_from_slice(ChunkHead::new(chunk.len()).as_bytes());
        wire.extend_from_slice(chunk);
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(LAST_CHUNK);
    let mut body = Body::new(Framing::Chunked, &Limits::default());
    let mut decoded = Vec::new();
    let mut buffer = Vec::new();
    for piece in wire.chunks(usize::from(cut).max(1)) {
        buffer.extend_from_slice(piece);
        while let Ok(step) = body.decode(&buffer) {
            decoded.extend_from_slice(&buffer[step.data]);
            buffer.drain(..step.consumed);
            if step.consumed == 0 || step.done {
                break;
            }
        }
    }
    assert!(body.is_done() && buffer.is_empty());
    assert_eq!(decoded, content);
}

/// Returns the compression that these bits choose, if any.
fn deflate(flags: u8) -> Option<Deflate> {
    let side = |bit: u8, bits: u8| Side {
        context_takeover: flags & bit != 0,
        window_bits: 9 + bits % 7,
    };
    (flags & 1 != 0).then(|| Deflate {
        server: side(2, flags >> 4),
        client: side(4, flags >> 5),
    })
}

fn sender(flags: u8) -> Role {
    if flags & 8 == 0 {
        Role::Client
    } else {
        Role::Server
    }
}

/// Checks that frames are decoded alike however they are cut, and that messages stay within the limit.
pub fn frames(data: &[u8]) {
    const LIMIT: usize = 5000;
    let Some((flags, size, input)) = choose(data) else {
        return;
    };
    let decoder = || Decoder::new(sender(flags), LIMIT, deflate(flags).as_ref());
    let whole = receive(&mut decoder(), [input]);
    let cut = receive(&mut decoder(), input.chunks(usize::from(size).max(1)));
    assert_eq!(whole, cut);
    for one in whole.0 {
        match one {
            Came::Text(text) => assert!(text.len() <= LIMIT),
            Came::Binary(content) => assert!(content.len() <= LIMIT),
            Came::Ping(payload) | Came::Pong(payload) => assert!(payload.len() <= 125),
            Came::Close(_) => {}
        }
    }
}

/// Checks that messages which one side encodes are decoded unchanged by the other.
pub fn messages(data: &[u8]) {
    let Some((flags, cut, content)) = choose(data) else {
        return;
    };
    let deflate = deflate(flags);
    let mut encoder = Encoder::new(sender(flags), deflate.as_ref()).unwrap();
    let mut wire = Vec::new();
    let mut sent = Vec::new();
    for part in content.split(|byte| *byte == 0xfe) {
        match std::str::from_utf8(part) {
            Ok(text) => {
                encoder.text(text, &mut wire);
                sent.push(Came::Text(text.to_owned()));
            }
            Err(_) => {
                encoder.binary(part, &mut wire);
                sent.push(Came::Binary(part.to_vec()));
            }
        }
    }
    let mut decoder = Decoder::new(sender(flags), content.len() * 2 + 64, deflate.as_ref());
    let received = receive(&mut decoder, wire.chunks(usize::from(cut).max(1)));
    assert_eq!(received, (sent, None));
}

/// Checks that any response and any list of extensions is accepted or refused without a panic, and that a client
/// confirms what a server has agreed to.
pub fn handshakes(data: &[u8]) {
    let Some((flags, _, input)) = choose(data) else {
        return;
    };
    let offer = deflate(flags | 1).unwrap_or_default();
    let request = Request {
        host: "a",
        target: "/",
        ..Request::default()
    };
    if let Ok(handshake) = Handshake::new(&request, Some(&offer)) {
        let _ = handshake.decode(input);
    }
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let _ = offer.confirm(text);
    if let Some((agreed, answer)) = offer.agree(text) {
        for side in [agreed.server, agreed.client] {
            assert!((9..=15).contains(&side.window_bits));
        }
        assert!(answer.starts_with("permessage-deflate"));
    }
    let (agreed, answer) = Deflate::default()
        .agree(&offer.offer())
        .expect("an offer of ours");
    assert_eq!(offer.confirm(&answer), Some(agreed));
}

/// Checks that a look-up ends after a bounded number of questions, whatever name servers reply.
///
/// The input consists of replies, each after its length in two octets. The first octets of each are overwritten to
/// match its query: the id, and the bit that marks a reply.
pub fn replies(data: &[u8]) {
    let conf = ResolvConf::parse(
        "nameserver 10.0.0.1\nnameserver 10.0.0.2\nsearch b.test\n",
        |_| None,
    );
    let plan = Arc::new(Plan::new(&Settings::default(), conf));
    let question = Question::Addresses {
        name: b"a.test".to_vec(),
        v4: true,
        v6: true,
    };
    let mut lookup = Lookup::new(&question, &Hosts::parse(""), plan, 0, || 7);
    let (mut input, mut now, mut asked) = (data, Duration::ZERO, 0);
    loop {
        match lookup.poll(now) {
            Action::Done(_) => break,
            Action::Wait(until) => now = until.expect("it waits for nothing"),
            Action::Send(query) => {
                asked += 1;
                assert!(asked < 2000);
                lookup.sent(query.id, now);
                if let Some((length, rest)) = input.split_first_chunk() {
                    let length = usize::from(u16::from_be_bytes(*length)) % 600;
                    let (reply, rest) = rest.split_at(length.min(rest.len()));
                    input = rest;
                    let mut reply = reply.to_vec();
                    for (octet, right) in reply.iter_mut().zip([0, 7]) {
                        *octet = right;
                    }
                    if let Some(flags) = reply.get_mut(2) {
                        *flags |= 0x80;
                    }
                    lookup.receive(query.id, &reply);
                }
            }
        }
    }
}

/// Checks that files of the system's resolver can be read whatever their content, and that the values stay within
/// libc's bounds.
pub fn name_files(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let conf = ResolvConf::parse(&text, |_| Some(1)).overridden(Some(&text), Some(&text));
    assert!(!conf.servers.is_empty());
    assert!(
        conf.ndots <= 15 && (1..=30).contains(&conf.timeout) && (1..=5).contains(&conf.attempts)
    );
    let _ = Sources::parse(&text).is_plain();
    let hosts = Hosts::parse(&text);
    for word in text.split_whitespace().take(50) {
        if let Some(answer) = hosts.addresses(word, true, true) {
            assert!(!answer.name.is_empty() && !answer.addresses.is_empty());
        }
    }
}
