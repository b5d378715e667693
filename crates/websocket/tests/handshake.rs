//! Tests the opening handshake, from both sides (RFC 6455 section 4).

use websocket::client::{Agreed, ClientError, Handshake, Request};
use websocket::handshake::{self, HandshakeError, accept, respond};
use websocket::{Deflate, extension::Side};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

#[test]
fn the_example_of_the_rfc() {
    assert_eq!(accept(KEY), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

#[test]
fn requests() {
    let respond = |key, version| {
        respond(
            &handshake::Request {
                key,
                version,
                extensions: None,
            },
            None,
        )
        .map(|_| ())
    };
    for version in ["13", "8", "7"] {
        assert_eq!(respond(Some(KEY), Some(version)), Ok(()));
    }
    for version in [
        None,
        Some(""),
        Some("12"),
        Some("13, 8"),
        Some("+13"),
        Some(" 13"),
    ] {
        assert_eq!(
            respond(Some(KEY), version),
            Err(HandshakeError::Version),
            "{version:?}"
        );
    }
    for key in [
        None,
        Some(""),
        Some("abc"),
        Some("AAAA"),
        Some("dGhlIHNhbXBsZSBub25jZQ"),
        Some("!!!!"),
    ] {
        assert_eq!(
            respond(key, Some("13")),
            Err(HandshakeError::Key),
            "{key:?}"
        );
    }
    assert_eq!(
        (
            HandshakeError::Version.status(),
            HandshakeError::Key.status()
        ),
        (426, 400)
    );
}

fn response(handshake: &Handshake, fields: &str) -> Vec<u8> {
    let request = String::from_utf8(handshake.request().to_vec()).unwrap();
    let key = request
        .lines()
        .find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "))
        .unwrap();
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n{fields}\r\n",
        accept(key)
    )
    .into_bytes()
}

fn asked() -> Request<'static> {
    Request {
        host: "h:1",
        target: "/p?q",
        origin: Some("http://o"),
        protocols: &["a", "b"],
        fields: &[("X-Y", "z")],
    }
}

#[test]
fn client_and_server() {
    let deflate = Deflate {
        server: Side {
            context_takeover: false,
            window_bits: 12,
        },
        client: Side::default(),
    };
    let handshake = Handshake::new(&asked(), Some(&deflate)).unwrap();
    let request = String::from_utf8(handshake.request().to_vec()).unwrap();
    assert!(
        request.starts_with("GET /p?q HTTP/1.1\r\nHost: h:1\r\n") && request.ends_with("\r\n\r\n")
    );
    for line in [
        "Origin: http://o",
        "Sec-WebSocket-Protocol: a, b",
        "X-Y: z",
        "Sec-WebSocket-Version: 13",
    ] {
        assert!(request.lines().any(|one| one == line), "{line}");
    }
    let find = |name: &str| {
        request
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    };
    let answer = respond(
        &handshake::Request {
            key: find("Sec-WebSocket-Key"),
            version: find("Sec-WebSocket-Version"),
            extensions: find("Sec-WebSocket-Extensions"),
        },
        Some(&Deflate::default()),
    )
    .unwrap();
    let fields = format!(
        "Sec-WebSocket-Extensions: {}\r\nSec-WebSocket-Protocol: b\r\n",
        answer.extensions.unwrap()
    );
    let mut wire = response(&handshake, &fields);
    let head = wire.len();
    wire.extend(b"\x81\x00");
    for end in 0..head {
        assert_eq!(handshake.decode(&wire[..end]), Ok(None));
    }
    let (taken, agreed) = handshake.decode(&wire).unwrap().unwrap();
    assert_eq!(taken, head);
    assert_eq!(
        agreed,
        Agreed {
            protocol: Some("b".into()),
            deflate: answer.deflate
        }
    );
}

#[test]
fn responses_that_agree_to_something_else() {
    let handshake = Handshake::new(&asked(), None).unwrap();
    let good = response(&handshake, "");
    assert!(handshake.decode(&good).unwrap().is_some());
    let text = String::from_utf8(good).unwrap();
    let altered = |from: &str, to: &str| handshake.decode(text.replace(from, to).as_bytes());
    for (from, to, error) in [
        (
            "Upgrade: WebSocket",
            "Upgrade: h2c",
            ClientError::Field("Upgrade"),
        ),
        ("Upgrade: WebSocket\r\n", "", ClientError::Field("Upgrade")),
        (
            "Connection: keep-alive, Upgrade",
            "Connection: close",
            ClientError::Field("Connection"),
        ),
        (
            "Accept: ",
            "Accept: x",
            ClientError::Field("Sec-WebSocket-Accept"),
        ),
        (
            "\r\n\r\n",
            "\r\nSec-WebSocket-Protocol: c\r\n\r\n",
            ClientError::Field("Sec-WebSocket-Protocol"),
        ),
        (
            "\r\n\r\n",
            "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
            ClientError::Field("Sec-WebSocket-Extensions"),
        ),
        (
            "101 Switching Protocols",
            "404 Not Found",
            ClientError::Status(404, "Not Found".into()),
        ),
        ("HTTP/1.1", "FTP/1.1", ClientError::Response),
    ] {
        assert_eq!(altered(from, to), Err(error), "{to}");
    }
    assert_eq!(
        handshake.decode(&[b"HTTP/1.1 101 ".to_vec(), vec![b'x'; 70_000]].concat()),
        Err(ClientError::Response)
    );
}

#[test]
fn requests_that_would_be_two() {
    let refused = |request: &Request<'_>| Handshake::new(request, None).unwrap_err();
    assert_eq!(
        refused(&Request {
            target: "/ HTTP/1.1\r\nX: y",
            ..asked()
        }),
        ClientError::Request("path")
    );
    assert_eq!(
        refused(&Request {
            target: "",
            ..asked()
        }),
        ClientError::Request("path")
    );
    assert_eq!(
        refused(&Request {
            host: "h\r\nX: y",
            ..asked()
        }),
        ClientError::Request("header")
    );
    assert_eq!(
        refused(&Request {
            fields: &[("X", "y\r\nZ: 1")],
            ..asked()
        }),
        ClientError::Request("header")
    );
    assert_eq!(
        refused(&Request {
            fields: &[("X: y\r\nZ", "1")],
            ..asked()
        }),
        ClientError::Request("header")
    );
}
