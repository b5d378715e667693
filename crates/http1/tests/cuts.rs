//! Tests that the decoded requests never depend on how the bytes were cut.

mod common;

use common::{serve, single};
use http1::{Body, Framing, Leniency, Limits, Policy};
use proptest::collection::vec;
use proptest::prelude::*;

/// Small limits, so that random input meets them.
fn tight(lenient: bool) -> Policy {
    let limits = Limits {
        request_line: 40,
        head: 120,
        fields: 5,
        body: 60,
        chunk_line: 12,
        trailers: 24,
    };
    Policy {
        limits,
        leniency: if lenient {
            Leniency::ALL
        } else {
            Leniency::default()
        },
    }
}

/// Pieces of requests, good and bad, which make sense in some order.
fn fragment() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        "GET / HTTP/1.1\r\n",
        "POST /x HTTP/1.1\r\n",
        "POST / HTTP/1.0\r\n",
        "GET / HTTP/2.0\r\n",
        "Host: a\r\n",
        "Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Connection: close\r\n",
        "Connection: upgrade\r\nUpgrade: x\r\n",
        "Expect: 100-continue\r\n",
        "X: a\r\n b\r\n",
        "X: \tvalue \r\n",
        "X : y\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        "\r\n",
        "\n",
        "\r",
        " ",
        "hello",
        "5\r\nhello\r\n",
        "a;ext=\"q\"\r\n0123456789\r\n",
        "0\r\n\r\n",
        "0\r\nTrailer: x\r\n\r\n",
        "0\r\n",
    ]);
    prop_oneof![
        12 => known.prop_map(|text| text.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 1..8),
        1 => (any::<u8>(), 1..60_usize).prop_map(|(byte, times)| vec![byte; times]),
    ]
}

fn input() -> impl Strategy<Value = Vec<u8>> {
    vec(fragment(), 0..14).prop_map(|fragments| fragments.concat())
}

fn pieces<'a>(input: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
    places.sort_unstable();
    let mut begin = 0;
    let mut pieces = Vec::new();
    for place in places.into_iter().chain([input.len()]) {
        pieces.push(&input[begin..place]);
        begin = place;
    }
    pieces
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn same_for_every_cut(
        input in input(),
        cuts in vec(any::<prop::sample::Index>(), 0..8),
        lenient in any::<bool>(),
    ) {
        let policy = tight(lenient);
        let whole = serve([&input[..]], &policy);
        prop_assert_eq!(&serve(pieces(&input, &cuts), &policy), &whole);
        prop_assert_eq!(&serve(single(&input), &policy), &whole);
    }

    #[test]
    fn a_prefix_is_never_refused_later(input in input(), cut in any::<prop::sample::Index>()) {
        let policy = tight(false);
        let prefix = serve([&input[..cut.index(input.len() + 1)]], &policy);
        let whole = serve([&input[..]], &policy);
        if prefix.refusal.is_some() {
            prop_assert_eq!(prefix, whole);
        } else {
            prop_assert!(prefix.requests.len() <= whole.requests.len());
        }
    }

    #[test]
    fn chunks_come_back(content in vec(vec(any::<u8>(), 1..50), 0..6)) {
        let mut encoded = Vec::new();
        for chunk in &content {
            encoded.extend_from_slice(http1::ChunkHead::new(chunk.len()).as_bytes());
            encoded.extend_from_slice(chunk);
            encoded.extend_from_slice(b"\r\n");
        }
        encoded.extend_from_slice(http1::LAST_CHUNK);
        encoded.extend_from_slice(b"next");
        let mut body = Body::new(Framing::Chunked, &Limits::default());
        let mut decoded = Vec::new();
        let mut at = 0;
        while !body.is_done() {
            // Content may be received without the decoder, too.
            let direct = body.contiguous() as usize;
            if direct > 0 && direct.is_multiple_of(2) {
                decoded.extend_from_slice(&encoded[at..at + direct]);
                prop_assert_eq!(body.advance(direct as u64), direct as u64);
                at += direct;
                continue;
            }
            let step = body.decode(&encoded[at..])?;
            decoded.extend_from_slice(&encoded[at..][step.data]);
            at += step.consumed;
        }
        prop_assert_eq!(&encoded[at..], b"next");
        prop_assert_eq!(body.received(), decoded.len() as u64);
        prop_assert_eq!(decoded, content.concat());
    }
}
