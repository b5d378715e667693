//! Tests the decoding of bodies step by step.

use http1::{Body, Framing, Limits, Refusal, Step};

fn chunked(limits: &Limits, input: &[u8]) -> Result<Vec<u8>, Refusal> {
    let mut body = Body::new(Framing::Chunked, limits);
    let mut content = Vec::new();
    let mut at = 0;
    loop {
        let step = body.decode(&input[at..])?;
        content.extend_from_slice(&input[at..][step.data]);
        at += step.consumed;
        if step.done || step.consumed == 0 {
            return Ok(content);
        }
    }
}

#[test]
fn none() {
    let mut body = Body::new(Framing::None, &Limits::default());
    assert!(body.is_done());
    assert_eq!(
        body.decode(b"GET").unwrap(),
        Step {
            consumed: 0,
            data: 0..0,
            done: true
        }
    );
}

#[test]
fn length() {
    let mut body = Body::new(Framing::Length(5), &Limits::default());
    assert_eq!(body.contiguous(), 5);
    assert_eq!(body.decode(b"").unwrap(), Step::default());
    assert_eq!(
        body.decode(b"he").unwrap(),
        Step {
            consumed: 2,
            data: 0..2,
            done: false
        }
    );
    assert_eq!(body.advance(2), 2);
    assert_eq!(
        body.decode(b"oGET").unwrap(),
        Step {
            consumed: 1,
            data: 0..1,
            done: true
        }
    );
    assert_eq!(
        (body.received(), body.contiguous(), body.advance(1)),
        (5, 0, 0)
    );
}

#[test]
fn a_chunk_a_step() {
    let mut body = Body::new(Framing::Chunked, &Limits::default());
    let input = b"2\r\noh\r\n4\r\n hai\r\n0\r\n\r\nGET";
    assert_eq!(
        body.decode(input).unwrap(),
        Step {
            consumed: 5,
            data: 3..5,
            done: false
        }
    );
    assert_eq!(
        body.decode(&input[5..]).unwrap(),
        Step {
            consumed: 9,
            data: 5..9,
            done: false
        }
    );
    assert_eq!(
        body.decode(&input[14..]).unwrap(),
        Step {
            consumed: 7,
            data: 7..7,
            done: true
        }
    );
    assert_eq!(body.received(), 6);
}

#[test]
fn limits_are_exact() {
    let limits = Limits {
        body: 4,
        chunk_line: 4,
        trailers: 4,
        ..Limits::default()
    };
    assert_eq!(
        chunked(&limits, b"2\r\noh\r\n2\r\noh\r\n0\r\n\r\n"),
        Ok(b"ohoh".to_vec())
    );
    assert_eq!(
        chunked(&limits, b"2\r\noh\r\n3\r\n"),
        Err(Refusal::BodyTooLarge)
    );
    assert_eq!(chunked(&limits, b"0002\r\noh\r\n"), Ok(b"oh".to_vec()));
    assert_eq!(
        chunked(&limits, b"00002\r\noh\r\n"),
        Err(Refusal::ChunkLineTooLong)
    );
    assert_eq!(chunked(&limits, b"2;ab\r\noh\r\n"), Ok(b"oh".to_vec()));
    assert_eq!(chunked(&limits, b"2;abc"), Err(Refusal::ChunkLineTooLong));
    assert_eq!(chunked(&limits, b"0\r\nA: b\r\n\r\n"), Ok(Vec::new()));
    assert_eq!(chunked(&limits, b"0\r\nA:\r\nB:\r\n\r\n"), Ok(Vec::new()));
    assert_eq!(
        chunked(&limits, b"0\r\nA:\r\nB:c"),
        Err(Refusal::TrailersTooLarge)
    );
}
