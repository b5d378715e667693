//! Tests frames and messages: good and bad ones, whole and in pieces.

mod common;

use common::{Came, Transcript, receive};
use proptest::collection::vec;
use proptest::prelude::*;
use websocket::{CloseError, Decoder, Deflate, Encoder, Opcode, ProtocolError, Role};

const LIMIT: usize = 1000;

/// Returns the events that a server decodes from frames, and checks that they are the same in one piece and byte by
/// byte.
fn server(input: &[u8]) -> Transcript {
    let whole = receive(&mut Decoder::new(Role::Client, LIMIT, None), [input]);
    let single = receive(
        &mut Decoder::new(Role::Client, LIMIT, None),
        input.chunks(1),
    );
    assert_eq!(whole, single);
    whole
}

/// Returns a frame with this first byte and payload, masked with a key.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let key = [1, 2, 3, 4];
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..=125 => bytes.push(0x80 | length as u8),
        length => {
            bytes.push(0x80 | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
    }
    bytes.extend(key);
    bytes.extend(
        payload
            .iter()
            .zip(key.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    bytes
}

#[test]
fn messages() {
    let long = "x".repeat(300);
    for (input, expected) in [
        (frame(0x81, b"hi"), vec![Came::Text("hi".into())]),
        (frame(0x81, b""), vec![Came::Text(String::new())]),
        (frame(0x82, b"\xff\0"), vec![Came::Binary(b"\xff\0".into())]),
        (frame(0x81, long.as_bytes()), vec![Came::Text(long.clone())]),
        (frame(0x89, b"p"), vec![Came::Ping(b"p".into())]),
        (frame(0x8a, b""), vec![Came::Pong(b"".into())]),
        (
            [frame(0x01, b"a"), frame(0x00, b""), frame(0x80, b"b")].concat(),
            vec![Came::Text("ab".into())],
        ),
        // A character in two fragments, with a ping between them.
        (
            [
                frame(0x01, b"\xe2\x82"),
                frame(0x89, b"p"),
                frame(0x80, b"\xac"),
            ]
            .concat(),
            vec![Came::Ping(b"p".into()), Came::Text("€".into())],
        ),
        (frame(0x88, b""), vec![Came::Close(None)]),
        (
            frame(0x88, b"\x03\xe8bye"),
            vec![Came::Close(Some((1000, "bye".into())))],
        ),
        // All bytes after a close frame are dropped.
        (
            [frame(0x88, b""), vec![0xff; 9]].concat(),
            vec![Came::Close(None)],
        ),
    ] {
        assert_eq!(server(&input), (expected, None), "{input:?}");
    }
}

#[test]
fn refused_frames() {
    let table: [(&[u8], ProtocolError, u16); 25] = [
        (&frame(0xc1, b"hi"), ProtocolError::ReservedBits, 1002),
        (&frame(0xa1, b"hi"), ProtocolError::ReservedBits, 1002),
        (&frame(0x91, b"hi"), ProtocolError::ReservedBits, 1002),
        (&frame(0xc9, b"hi"), ProtocolError::ReservedBits, 1002),
        (&frame(0x83, b"hi"), ProtocolError::ReservedOpcode, 1002),
        (&frame(0x87, b"hi"), ProtocolError::ReservedOpcode, 1002),
        (&frame(0x8b, b""), ProtocolError::ReservedOpcode, 1002),
        (&frame(0x8f, b""), ProtocolError::ReservedOpcode, 1002),
        (&frame(0x09, b""), ProtocolError::FragmentedControl, 1002),
        (&frame(0x08, b""), ProtocolError::FragmentedControl, 1002),
        (&frame(0x89, &[0; 126]), ProtocolError::LongControl, 1002),
        (b"\x81\x02hi", ProtocolError::Unmasked, 1002),
        (b"\x88\x00", ProtocolError::Unmasked, 1002),
        (
            &frame(0x80, b"x"),
            ProtocolError::UnexpectedContinuation,
            1002,
        ),
        (
            &[frame(0x01, b"x"), frame(0x81, b"y")].concat(),
            ProtocolError::ExpectedContinuation,
            1002,
        ),
        (b"\x81\xfe\x00\x7d\0\0\0\0", ProtocolError::Length, 1002),
        (
            b"\x81\xff\0\0\0\0\0\0\xff\xff\0\0\0\0",
            ProtocolError::Length,
            1002,
        ),
        (
            b"\x81\xff\x80\0\0\0\0\x01\0\0\0\0\0\0",
            ProtocolError::Length,
            1002,
        ),
        (&frame(0x88, b"x"), ProtocolError::Close, 1002),
        (&frame(0x88, b"\x03\xed"), ProtocolError::Close, 1002),
        (&frame(0x88, b"\x03\xe8\xff"), ProtocolError::Utf8, 1007),
        (&frame(0x81, b"\xff"), ProtocolError::Utf8, 1007),
        (&frame(0x81, b"\xe2\x82"), ProtocolError::Utf8, 1007),
        (
            &[frame(0x01, b"\xed"), frame(0x00, b"\xa0")].concat(),
            ProtocolError::Utf8,
            1007,
        ),
        (
            b"\x82\xff\0\0\0\x01\0\0\0\0\0\0\0\0",
            ProtocolError::TooLarge,
            1009,
        ),
    ];
    for (input, error, code) in table {
        assert_eq!(server(input), (Vec::new(), Some(error)), "{input:?}");
        assert_eq!(error.close_code(), code);
    }
}

#[test]
fn close_codes() {
    for code in 0..6000_u16 {
        let valid = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
        let expected = if valid {
            (vec![Came::Close(Some((code, String::new())))], None)
        } else {
            (vec![], Some(ProtocolError::Close))
        };
        assert_eq!(
            server(&frame(0x88, &code.to_be_bytes())),
            expected,
            "{code}"
        );
        let mut out = Vec::new();
        assert_eq!(
            Encoder::new(Role::Server, None)
                .unwrap()
                .close(Some((code, "")), &mut out)
                .is_ok(),
            valid
        );
    }
}

#[test]
fn invalid_text_is_refused_before_its_end() {
    let mut whole = frame(0x01, b"ok \xff and more");
    whole.truncate(whole.len() - 8);
    assert_eq!(server(&whole), (Vec::new(), Some(ProtocolError::Utf8)));
}

#[test]
fn messages_up_to_the_limit() {
    assert_eq!(
        server(&frame(0x82, &[7; LIMIT])),
        (vec![Came::Binary(vec![7; LIMIT])], None)
    );
    // The header is enough to refuse.
    assert_eq!(
        server(&frame(0x82, &[7; LIMIT + 1])[..8]),
        (vec![], Some(ProtocolError::TooLarge))
    );
    let fragments = [
        frame(0x02, &[7; LIMIT / 2]),
        frame(0x80, &[7; LIMIT / 2 + 1]),
    ]
    .concat();
    assert_eq!(server(&fragments), (vec![], Some(ProtocolError::TooLarge)));
}

#[test]
fn servers_do_not_mask() {
    let masked = receive(
        &mut Decoder::new(Role::Server, LIMIT, None),
        [&frame(0x81, b"hi")[..]],
    );
    assert_eq!(masked, (vec![], Some(ProtocolError::Masked)));
    let mut out = Vec::new();
    Encoder::new(Role::Server, None)
        .unwrap()
        .text("hi", &mut out);
    assert_eq!(out, b"\x81\x02hi");
}

#[test]
fn keys_differ() {
    let mut encoder = Encoder::new(Role::Client, None).unwrap();
    let mut keys = std::collections::HashSet::new();
    for _ in 0..100 {
        let mut out = Vec::new();
        encoder.text("", &mut out);
        keys.insert(out[2..6].to_vec());
    }
    assert!(keys.len() > 90, "{} keys", keys.len());
}

#[test]
fn control_frames_that_may_not_be_sent() {
    let mut encoder = Encoder::new(Role::Server, None).unwrap();
    let mut out = Vec::new();
    let long = "x".repeat(124);
    assert_eq!(
        encoder.close(Some((1000, &long)), &mut out),
        Err(CloseError::TooLong)
    );
    assert_eq!(
        encoder.close(Some((1005, "")), &mut out),
        Err(CloseError::Code)
    );
    assert_eq!(
        encoder.frame(true, Opcode::Ping, &[0; 126], &mut out),
        Err(CloseError::TooLong)
    );
    assert_eq!(out, b"");
    assert_eq!(encoder.close(None, &mut out), Ok(()));
    assert_eq!(out, b"\x88\x00");
}

fn sides() -> impl Strategy<Value = Deflate> {
    let side = || {
        (any::<bool>(), 9..=15_u8).prop_map(|(context_takeover, window_bits)| {
            websocket::extension::Side {
                context_takeover,
                window_bits,
            }
        })
    };
    (side(), side()).prop_map(|(server, client)| Deflate { server, client })
}

fn content() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..600),
        (any::<u8>(), 0..200_000_usize).prop_map(|(byte, times)| vec![byte; times]),
        vec(prop::sample::select(vec!["lorem ", "ipsum ", "€"]), 0..400)
            .prop_map(|words| words.concat().into_bytes()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Tests that one side decodes the messages that the other encodes, however the bytes are cut, compressed or not.
    #[test]
    fn round_trip(
        contents in vec(content(), 1..5),
        deflate in prop::option::of(sides()),
        client in any::<bool>(),
        cut in 1..5000_usize,
    ) {
        let sender = if client { Role::Client } else { Role::Server };
        let mut encoder = Encoder::new(sender, deflate.as_ref()).unwrap();
        let mut wire = Vec::new();
        let mut expected = Vec::new();
        for content in contents {
            match String::from_utf8(content) {
                Ok(text) => {
                    encoder.text(&text, &mut wire);
                    expected.push(Came::Text(text));
                }
                Err(error) => {
                    let content = error.into_bytes();
                    encoder.binary(&content, &mut wire);
                    expected.push(Came::Binary(content));
                }
            }
            encoder.frame(true, Opcode::Ping, b"p", &mut wire)?;
            expected.push(Came::Ping(b"p".to_vec()));
        }
        let mut decoder = Decoder::new(sender, 1 << 20, deflate.as_ref());
        let (came, error) = receive(&mut decoder, wire.chunks(cut));
        prop_assert_eq!(error, None);
        prop_assert!(came == expected);
    }

    /// Tests that any bytes are decoded alike in one piece and byte by byte, without a panic.
    #[test]
    fn independent_of_cuts(
        frames in vec((any::<u8>(), vec(any::<u8>(), 0..40)), 0..6),
        tail in vec(any::<u8>(), 0..10),
        deflate in prop::option::of(sides()),
    ) {
        let mut input: Vec<u8> = frames.iter().flat_map(|(first, payload)| frame(*first, payload)).collect();
        input.extend(tail);
        let transcripts = [input.len().max(1), 1].map(|size| {
            receive(&mut Decoder::new(Role::Client, LIMIT, deflate.as_ref()), input.chunks(size))
        });
        prop_assert_eq!(&transcripts[0], &transcripts[1]);
    }
}
