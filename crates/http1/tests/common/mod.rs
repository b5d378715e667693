//! A simulated connection, on which requests are decoded one after the other, from input in any pieces.

use http1::{Body, Head, Policy, Refusal, Step, Version};

/// Everything that was decoded of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub line: Vec<u8>,
    pub version: Version,
    pub fields: Vec<(String, Vec<u8>)>,
    pub keep_alive: bool,
    pub expects_continue: bool,
    pub upgrade: bool,
    pub body: Vec<u8>,
    pub whole: bool,
}

/// The events of a connection: its requests, and the refusal that ended it, if one did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transcript {
    pub requests: Vec<Request>,
    pub refusal: Option<Refusal>,
    /// The request line of a refused head, as a log would show it.
    pub refused_line: Vec<u8>,
    /// The number of bytes at the end that belong to no request yet.
    pub left: usize,
}

/// Serve what arrives in `pieces`. The buffer is drained as a server would do.
pub fn serve<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, policy: &Policy) -> Transcript {
    let mut transcript = Transcript::default();
    let mut head = Head::new();
    let mut body: Option<Body> = None;
    let mut buffer = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        if let Err(refusal) = drain(&mut transcript, &mut head, &mut body, &mut buffer, policy) {
            if body.is_none() {
                transcript.refused_line = head.request_line().to_vec();
            }
            transcript.refusal = Some(refusal);
            return transcript;
        }
    }
    transcript.left = buffer.len();
    transcript
}

fn drain(
    transcript: &mut Transcript,
    head: &mut Head,
    body: &mut Option<Body>,
    buffer: &mut Vec<u8>,
    policy: &Policy,
) -> Result<(), Refusal> {
    loop {
        let Some(decoder) = body else {
            let Some(taken) = head.decode(buffer, policy)? else {
                return Ok(());
            };
            buffer.drain(..taken);
            transcript.requests.push(Request {
                line: head.request_line().to_vec(),
                version: head.version(),
                fields: head
                    .fields()
                    .map(|field| (field.name.to_owned(), field.value.to_vec()))
                    .collect(),
                keep_alive: head.keep_alive(),
                expects_continue: head.expects_continue(),
                upgrade: head.upgrade(),
                body: Vec::new(),
                whole: false,
            });
            *body = Some(Body::new(head.framing(), &policy.limits));
            continue;
        };
        let Step {
            consumed,
            data,
            done,
        } = decoder.decode(buffer)?;
        let request = transcript
            .requests
            .last_mut()
            .expect("a body follows a head");
        request.body.extend_from_slice(&buffer[data]);
        buffer.drain(..consumed);
        if done {
            request.whole = true;
            *body = None;
        } else if consumed == 0 {
            return Ok(());
        }
    }
}

/// Yields the bytes one by one, as pieces.
#[allow(dead_code)]
pub fn single(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.chunks(1)
}
