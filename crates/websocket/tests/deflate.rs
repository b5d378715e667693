//! Tests permessage-deflate: its negotiation, and the messages that are refused (RFC 7692).

mod common;

use common::receive;
use websocket::extension::Side;
use websocket::{Decoder, Deflate, Encoder, Event, ProtocolError, Role};

fn agree(have: &Deflate, offers: &str) -> Option<String> {
    have.agree(offers).map(|(_, answer)| answer)
}

#[test]
fn offers() {
    let have = Deflate::default();
    for (offers, answer) in [
        ("permessage-deflate", Some("permessage-deflate")),
        ("x-webkit-deflate-frame", None),
        ("foo, permessage-deflate", Some("permessage-deflate")),
        (
            "Permessage-Deflate; client_max_window_bits",
            Some("permessage-deflate; client_max_window_bits=15"),
        ),
        (
            "permessage-deflate; client_max_window_bits=\"10\"",
            Some("permessage-deflate; client_max_window_bits=10"),
        ),
        (
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            Some("permessage-deflate; server_no_context_takeover; client_no_context_takeover"),
        ),
        (
            "permessage-deflate; server_max_window_bits=10",
            Some("permessage-deflate; server_max_window_bits=10"),
        ),
        // zlib does not support 8 bits, so the next offer counts.
        (
            "permessage-deflate; server_max_window_bits=8, permessage-deflate",
            Some("permessage-deflate"),
        ),
        ("permessage-deflate; server_max_window_bits", None),
        ("permessage-deflate; server_max_window_bits=16", None),
        ("permessage-deflate; server_max_window_bits=010", None),
        ("permessage-deflate; server_no_context_takeover=1", None),
        (
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            None,
        ),
        ("permessage-deflate; unknown", None),
        ("", None),
    ] {
        assert_eq!(agree(&have, offers).as_deref(), answer, "{offers}");
    }
}

#[test]
fn what_the_server_would_have_at_most() {
    let small = Side {
        context_takeover: false,
        window_bits: 11,
    };
    let have = Deflate {
        server: small,
        client: small,
    };
    let (agreed, answer) = have
        .agree("permessage-deflate; client_max_window_bits")
        .unwrap();
    assert_eq!(agreed, have);
    assert_eq!(
        answer,
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
         server_max_window_bits=11; client_max_window_bits=11"
    );
    // A client that cannot limit its window keeps the largest.
    let (agreed, _) = have.agree("permessage-deflate").unwrap();
    assert_eq!(agreed.client.window_bits, 15);
}

#[test]
fn answers() {
    let offer = Deflate::default();
    let confirmed = |answer: &str| offer.confirm(answer);
    assert_eq!(confirmed("permessage-deflate"), Some(offer));
    let agreed =
        confirmed("permessage-deflate; server_no_context_takeover; client_max_window_bits=12")
            .unwrap();
    assert_eq!(
        (agreed.server.context_takeover, agreed.client.window_bits),
        (false, 12)
    );
    for bad in [
        "",
        "foo",
        "permessage-deflate, permessage-deflate",
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate; x",
    ] {
        assert_eq!(confirmed(bad), None, "{bad}");
    }
    let strict = Deflate {
        server: Side {
            context_takeover: false,
            window_bits: 10,
        },
        ..offer
    };
    assert_eq!(strict.confirm("permessage-deflate"), None);
    assert_eq!(
        strict.confirm("permessage-deflate; server_no_context_takeover; server_max_window_bits=12"),
        None
    );
    assert!(
        strict
            .confirm("permessage-deflate; server_no_context_takeover; server_max_window_bits=9")
            .is_some()
    );
}

#[test]
fn both_sides_agree_for_every_offer() {
    let sides: Vec<Side> = [true, false]
        .into_iter()
        .flat_map(|context_takeover| {
            (9..=15).map(move |window_bits| Side {
                context_takeover,
                window_bits,
            })
        })
        .collect();
    for server in &sides {
        for client in &sides {
            let offer = Deflate {
                server: *server,
                client: *client,
            };
            for have in [
                Deflate::default(),
                Deflate {
                    server: sides[9],
                    client: sides[3],
                },
            ] {
                let (agreed, answer) = have.agree(&offer.offer()).unwrap();
                assert_eq!(offer.confirm(&answer), Some(agreed), "{offer:?} {answer}");
            }
        }
    }
}

/// The example of RFC 7692 section 7.2.3.1 and .2: `Hello` twice, the second referring to the first.
#[test]
fn the_example_of_the_rfc() {
    let agreed = Deflate::default();
    let mut decoder = Decoder::new(Role::Server, 100, Some(&agreed));
    for wire in [
        &b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00"[..],
        b"\xc1\x05\xf2\x00\x11\x00\x00",
    ] {
        let mut input = wire.to_vec();
        let decoded = decoder.decode(&mut input).unwrap();
        assert_eq!(decoded.event, Some(Event::Text("Hello")));
    }
    // Section 7.2.3.4: a block marked as the last.
    let mut input = b"\xc1\x08\xf3\x48\xcd\xc9\xc9\x07\x00\x00".to_vec();
    assert_eq!(
        decoder.decode(&mut input).unwrap().event,
        Some(Event::Text("Hello"))
    );
    // Section 7.2.3.3: a block without compression.
    let mut input = b"\xc1\x0b\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00".to_vec();
    assert_eq!(
        decoder.decode(&mut input).unwrap().event,
        Some(Event::Text("Hello"))
    );
    // Fragments: the bit is on the first alone.
    let mut input = b"\x41\x03\xf2\x48\xcd\x80\x04\xc9\xc9\x07\x00".to_vec();
    let mut fresh = Decoder::new(Role::Server, 100, Some(&agreed));
    assert_eq!(
        fresh.decode(&mut input).unwrap().event,
        Some(Event::Text("Hello"))
    );
    let mut input = b"\x41\x03\xf2\x48\xcd\xc0\x04\xc9\xc9\x07\x00".to_vec();
    let mut fresh = Decoder::new(Role::Server, 100, Some(&agreed));
    assert_eq!(
        fresh.decode(&mut input).unwrap_err(),
        ProtocolError::ReservedBits
    );
}

/// Returns the error for bytes of a server, which come in pieces of `size`.
fn refusal(wire: &[u8], size: usize, limit: usize) -> Option<ProtocolError> {
    let mut decoder = Decoder::new(Role::Server, limit, Some(&Deflate::default()));
    receive(&mut decoder, wire.chunks(size)).1
}

fn compressed(content: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    Encoder::new(Role::Server, Some(&Deflate::default()))
        .unwrap()
        .binary(content, &mut wire);
    wire
}

/// A message with two errors is refused for the first, however its bytes arrive.
#[test]
fn large_messages_of_bad_text() {
    let mut wire = compressed(&[&[b'a'; 900][..], &[0xff; 900]].concat());
    // Text in place of binary data.
    wire[0] -= 1;
    for size in 1..=wire.len() {
        // As `receive` says, bad text counts as bad data.
        assert_eq!(refusal(&wire, size, 1000), Some(ProtocolError::Compression));
        assert_eq!(refusal(&wire, size, 800), Some(ProtocolError::TooLarge));
    }
}

#[test]
fn large_messages_with_a_bad_block() {
    let mut wire = compressed(&[b'a'; 801]);
    // A stored block whose length and its complement do not match.
    wire.extend(b"\x01\0\x01\0");
    wire[1] += 4;
    for size in 1..=wire.len() {
        assert_eq!(refusal(&wire, size, 801), Some(ProtocolError::Compression));
        assert_eq!(refusal(&wire, size, 800), Some(ProtocolError::TooLarge));
    }
}

/// Tests CVE-2021-21419: a message that is small on the wire and large when decompressed.
#[test]
fn a_bomb_is_refused() {
    let agreed = Deflate::default();
    let mut wire = Vec::new();
    Encoder::new(Role::Client, Some(&agreed))
        .unwrap()
        .binary(&vec![0; 10_000_000], &mut wire);
    assert!(wire.len() < 20_000);
    let mut decoder = Decoder::new(Role::Client, 100_000, Some(&agreed));
    assert_eq!(
        decoder.decode(&mut wire).unwrap_err(),
        ProtocolError::TooLarge
    );
}

#[test]
fn exactly_the_limit_after_decompression() {
    let agreed = Deflate::default();
    for (size, fits) in [(5000, true), (5001, false)] {
        let mut wire = Vec::new();
        Encoder::new(Role::Client, Some(&agreed))
            .unwrap()
            .binary(&vec![0; size], &mut wire);
        let mut decoder = Decoder::new(Role::Client, 5000, Some(&agreed));
        assert_eq!(decoder.decode(&mut wire).is_ok(), fits, "{size}");
    }
}

#[test]
fn nonsense_is_refused() {
    let agreed = Deflate::default();
    let mut decoder = Decoder::new(Role::Server, 100, Some(&agreed));
    let mut input = b"\xc1\x03\xff\xff\xff".to_vec();
    assert_eq!(
        decoder.decode(&mut input).unwrap_err(),
        ProtocolError::Compression
    );
}

#[test]
fn uncompressed_messages_may_come_between() {
    let agreed = Deflate::default();
    let mut wire = Vec::new();
    let mut encoder = Encoder::new(Role::Server, Some(&agreed)).unwrap();
    encoder.text("compressed", &mut wire);
    wire.extend(b"\x81\x05plain");
    encoder.text("compressed", &mut wire);
    let mut decoder = Decoder::new(Role::Server, 100, Some(&agreed));
    for expected in ["compressed", "plain", "compressed"] {
        let decoded = decoder.decode(&mut wire).unwrap();
        assert_eq!(decoded.event, Some(Event::Text(expected)));
        let consumed = decoded.consumed;
        wire.drain(..consumed);
    }
}

#[test]
fn empty_messages_in_a_row() {
    let agreed = Deflate::default();
    let mut encoder = Encoder::new(Role::Server, Some(&agreed)).unwrap();
    let mut decoder = Decoder::new(Role::Server, 100, Some(&agreed));
    for _ in 0..4 {
        let mut wire = Vec::new();
        encoder.text("", &mut wire);
        assert_eq!(wire, b"\xc1\x01\x00");
        assert_eq!(
            decoder.decode(&mut wire).unwrap().event,
            Some(Event::Text(""))
        );
    }
}
