//! Tests the meaning of heads, their limits, and the limits of leniency.

use http1::{Framing, Head, Leniency, Limits, Policy, Refusal, Version};

fn decode_with(input: &str, policy: &Policy) -> Result<Head, Refusal> {
    let mut head = Head::new();
    let taken = head.decode(input.as_bytes(), policy)?;
    assert_eq!(taken, Some(input.len()), "whole: {input:?}");
    Ok(head)
}

fn decode(input: &str) -> Result<Head, Refusal> {
    decode_with(input, &Policy::default())
}

fn refusal(input: &str, policy: &Policy) -> Refusal {
    let mut head = Head::new();
    match head.decode(input.as_bytes(), policy) {
        Err(refusal) => refusal,
        Ok(taken) => panic!("{input:?} was taken: {taken:?}"),
    }
}

fn limited(change: impl FnOnce(&mut Limits)) -> Policy {
    let mut policy = Policy::default();
    change(&mut policy.limits);
    policy
}

fn lenient(leniency: Leniency) -> Policy {
    Policy {
        leniency,
        ..Policy::default()
    }
}

#[test]
fn parts() {
    let head =
        decode("POST /a?b=c HTTP/1.1\r\nHost: x\r\nFoo:  bar \t\r\nEmpty:\r\nfoo: two\r\n\r\n")
            .unwrap();
    assert_eq!(head.request_line(), b"POST /a?b=c HTTP/1.1");
    assert_eq!((head.method(), head.target()), ("POST", &b"/a?b=c"[..]));
    assert_eq!(head.version(), Version::Http11);
    let fields: Vec<_> = head
        .fields()
        .map(|field| (field.name, field.value))
        .collect();
    assert_eq!(
        fields,
        [
            ("Host", &b"x"[..]),
            ("Foo", b"bar"),
            ("Empty", b""),
            ("foo", b"two")
        ]
    );
    assert_eq!(head.get("FOO"), Some(&b"bar"[..]));
    assert_eq!(head.get("bar"), None);
}

#[test]
fn decoder_is_used_again() {
    let mut head = Head::new();
    let first = b"POST / HTTP/1.0\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n";
    let second = b"GET /b HTTP/1.1\r\nHost: a\r\n\r\n";
    let both = [&first[..], second].concat();
    assert_eq!(
        head.decode(&both, &Policy::default()),
        Ok(Some(first.len()))
    );
    assert_eq!(
        (head.framing(), head.keep_alive()),
        (Framing::Length(5), true)
    );
    assert_eq!(
        head.decode(&both[first.len()..], &Policy::default()),
        Ok(Some(second.len()))
    );
    assert_eq!((head.framing(), head.target()), (Framing::None, &b"/b"[..]));
    assert_eq!(head.fields().len(), 1);
    // The decoder also works after a refusal, and after half a head that was given up.
    assert_eq!(
        head.decode(b"bad\r\n", &Policy::default()),
        Err(Refusal::RequestLine)
    );
    assert_eq!(head.request_line(), b"bad");
    assert_eq!(head.decode(&second[..10], &Policy::default()), Ok(None));
    head.reset();
    assert_eq!(
        head.decode(second, &Policy::default()),
        Ok(Some(second.len()))
    );
}

#[test]
fn what_the_client_asks_of_the_connection() {
    let table = [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: a,close ,b\r\n", false),
        ("1.1", "Connection: closed\r\n", true),
        ("1.1", "Connection: keep-alive, close\r\n", false),
        ("1.0", "", false),
        ("1.0", "Connection: keep-alive\r\n", true),
        (
            "1.0",
            "Connection: Keep-Alive\r\nConnection: close\r\n",
            false,
        ),
    ];
    for (version, field, keep_alive) in table {
        let head = decode(&format!("GET / HTTP/{version}\r\nHost: a\r\n{field}\r\n")).unwrap();
        assert_eq!(head.keep_alive(), keep_alive, "{version} {field}");
    }
}

#[test]
fn expectations() {
    let table = [
        ("1.1", "Expect: 100-continue\r\nContent-Length: 1\r\n", true),
        (
            "1.1",
            "Expect: 100-Continue\r\nTransfer-Encoding: chunked\r\n",
            true,
        ),
        (
            "1.1",
            "Expect: 100-continue\r\nContent-Length: 0\r\n",
            false,
        ),
        ("1.1", "Expect: 100-continue\r\n", false),
        ("1.1", "Expect: more\r\nContent-Length: 1\r\n", false),
        (
            "1.0",
            "Expect: 100-continue\r\nContent-Length: 1\r\n",
            false,
        ),
    ];
    for (version, fields, expects) in table {
        let head = decode(&format!("PUT / HTTP/{version}\r\nHost: a\r\n{fields}\r\n")).unwrap();
        assert_eq!(head.expects_continue(), expects, "{version} {fields}");
    }
}

#[test]
fn upgrades() {
    let table = [
        ("1.1", "Connection: Upgrade\r\nUpgrade: websocket\r\n", true),
        (
            "1.1",
            "Connection: keep-alive, upgrade\r\nUpgrade: websocket\r\n",
            true,
        ),
        ("1.1", "Upgrade: websocket\r\n", false),
        ("1.1", "Connection: upgrade\r\n", false),
        (
            "1.0",
            "Connection: upgrade\r\nUpgrade: websocket\r\n",
            false,
        ),
    ];
    for (version, fields, upgrade) in table {
        let head = decode(&format!("GET / HTTP/{version}\r\nHost: a\r\n{fields}\r\n")).unwrap();
        assert_eq!(head.upgrade(), upgrade, "{version} {fields}");
    }
}

#[test]
fn underscores_do_not_reach_the_environ() {
    let head = decode("GET / HTTP/1.1\r\nHost: a\r\nX-Y: 1\r\nX_Y: 2\r\n\r\n").unwrap();
    let reach: Vec<_> = head
        .fields()
        .map(|field| (field.name, field.reaches_environ()))
        .collect();
    assert_eq!(reach, [("Host", true), ("X-Y", true), ("X_Y", false)]);
}

#[test]
fn limits_are_exact() {
    let request = |target: usize, value: usize| {
        format!(
            "GET /{} HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
            "t".repeat(target),
            "v".repeat(value)
        )
    };
    let line = limited(|limits| limits.request_line = 20);
    assert!(decode_with(&request(6, 0), &line).is_ok());
    assert_eq!(refusal(&request(7, 0), &line), Refusal::RequestLineTooLong);
    assert_eq!(refusal(&"x".repeat(21), &line), Refusal::RequestLineTooLong);

    // `Host: a`, `X: ` and their CRLFs are fourteen bytes.
    let head = limited(|limits| limits.head = 20);
    assert!(decode_with(&request(0, 6), &head).is_ok());
    assert_eq!(refusal(&request(0, 7), &head), Refusal::HeadTooLarge);

    let fields = limited(|limits| limits.fields = 2);
    assert!(decode_with(&request(0, 0), &fields).is_ok());
    let three = "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\nX: y\r\n";
    assert_eq!(refusal(three, &fields), Refusal::TooManyFields);

    let body = limited(|limits| limits.body = 10);
    let length =
        |length: u32| format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
    assert!(decode_with(&length(10), &body).is_ok());
    assert_eq!(refusal(&length(11), &body), Refusal::BodyTooLarge);
}

#[test]
fn more_fields_than_usual() {
    let policy = limited(|limits| limits.fields = 1000);
    let input = format!(
        "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
        "X: y\r\n".repeat(999)
    );
    assert_eq!(decode_with(&input, &policy).unwrap().fields().len(), 1000);
}

#[test]
fn missing_host_may_be_accepted() {
    let policy = lenient(Leniency {
        missing_host: true,
        ..Leniency::default()
    });
    assert!(decode_with("GET / HTTP/1.1\r\n\r\n", &policy).is_ok());
    assert_eq!(
        refusal("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", &policy),
        Refusal::Host
    );
}

#[test]
fn chunks_may_win_over_a_length() {
    let policy = lenient(Leniency {
        length_with_chunked: true,
        ..Leniency::default()
    });
    let fields = "Host: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n";
    let head = decode_with(&format!("PUT / HTTP/1.1\r\n{fields}\r\n"), &policy).unwrap();
    assert_eq!(head.framing(), Framing::Chunked);
    let fields = "Host: a\r\nContent-Length: x\r\nTransfer-Encoding: chunked\r\n";
    assert_eq!(
        refusal(&format!("PUT / HTTP/1.1\r\n{fields}\r\n"), &policy),
        Refusal::ContentLength
    );
}

#[test]
fn folds_may_be_read_as_spaces() {
    let policy = lenient(Leniency {
        folded_fields: true,
        ..Leniency::default()
    });
    let input = "GET / HTTP/1.1\r\nHost: a\r\nX: b;\r\n c\r\n\td\r\nY: e\r\n\r\n";
    let head = decode_with(input, &policy).unwrap();
    assert_eq!(head.get("x"), Some(&b"b;   c  \td"[..]));
    assert_eq!(head.get("y"), Some(&b"e"[..]));

    for field in [
        "Content-Length:\r\n 5",
        "Transfer-Encoding:\r\n chunked",
        "Host:\r\n b",
        "connection: a\r\n ,close",
    ] {
        let input = format!("PUT / HTTP/1.1\r\n{field}\r\nX: y\r\n\r\n");
        assert_eq!(refusal(&input, &policy), Refusal::FoldedField, "{field}");
    }
    let first = "GET / HTTP/1.1\r\n X: y\r\n\r\n";
    assert_eq!(refusal(first, &policy), Refusal::Field);
    let control = "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n \0c\r\n\r\n";
    assert_eq!(refusal(control, &policy), Refusal::FieldValue);
}

#[test]
fn refusals_have_a_reason_for_each_status() {
    for (refusal, status, reason) in [
        (Refusal::Field, 400, "Bad Request"),
        (Refusal::BodyTooLarge, 413, "Content Too Large"),
        (Refusal::RequestLineTooLong, 414, "URI Too Long"),
        (
            Refusal::TooManyFields,
            431,
            "Request Header Fields Too Large",
        ),
        (Refusal::TransferCoding, 501, "Not Implemented"),
        (Refusal::Version, 505, "HTTP Version Not Supported"),
    ] {
        assert_eq!((refusal.status(), refusal.reason()), (status, reason));
    }
}
