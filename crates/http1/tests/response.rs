//! Tests the encoding of responses.

use http1::response::{breaks_line, end, field, final_code, number_field, status_line};
use http1::{ChunkHead, DateCache, ResponseError, Version};

#[test]
fn head() {
    let mut out = Vec::new();
    status_line(&mut out, Version::Http11, b"200 OK").unwrap();
    field(&mut out, b"X", b"\xe9").unwrap();
    number_field(&mut out, "Content-Length", 0);
    number_field(&mut out, "Y", u64::MAX);
    end(&mut out);
    assert_eq!(
        out,
        b"HTTP/1.1 200 OK\r\nX: \xe9\r\nContent-Length: 0\r\nY: 18446744073709551615\r\n\r\n"
    );
}

/// Tests CVE-2018-1000164: a field that would become two is refused.
#[test]
fn no_part_ends_its_line() {
    for bad in ["a\rb", "a\nb", "a\r\nSet-Cookie: b", "a\0b"] {
        let bad = bad.as_bytes();
        assert!(breaks_line(bad));
        let mut out = Vec::new();
        assert_eq!(
            status_line(&mut out, Version::Http10, bad),
            Err(ResponseError::Status)
        );
        assert_eq!(field(&mut out, bad, b"v"), Err(ResponseError::Name));
        assert_eq!(field(&mut out, b"n", bad), Err(ResponseError::Value));
        assert_eq!(out, b"");
    }
    assert_eq!(
        ResponseError::Value.to_string(),
        "carriage return or newline in header value"
    );
}

#[test]
fn only_final_statuses_are_sent() {
    for (status, code) in [
        ("200 OK", 200),
        ("599 x", 599),
        ("404", 404),
        ("204 ", 204),
        ("101 Switching", 101),
    ] {
        assert_eq!(final_code(status.as_bytes()), Ok(code), "{status}");
    }
    for status in [
        "", "20 OK", "2000 OK", "-1 X", "+20 X", "2x0 OK", " 200 OK", "200OK", "200\tOK",
        "200 \x01",
    ] {
        assert_eq!(
            final_code(status.as_bytes()),
            Err(ResponseError::StatusForm),
            "{status}"
        );
    }
    for status in [
        "100 Continue",
        "103 Early Hints",
        "199 x",
        "600 x",
        "999 x",
        "000 x",
    ] {
        assert_eq!(
            final_code(status.as_bytes()),
            Err(ResponseError::StatusCode),
            "{status}"
        );
    }
    let mut out = Vec::new();
    assert_eq!(status_line(&mut out, Version::Http11, b"404"), Ok(404));
    assert_eq!(out, b"HTTP/1.1 404 \r\n");
}

#[test]
fn only_fields_are_sent_as_fields() {
    let mut out = Vec::new();
    for name in ["", "a b", "a:", "X: y", "a\tb", "\u{e9}", "(a)", "a\x7f"] {
        let found = field(&mut out, name.as_bytes(), b"v");
        assert_eq!(found, Err(ResponseError::NameForm), "{name:?}");
    }
    for value in ["a\x01b", "\x1b[2J", "\x7f", "a\x0bb"] {
        let found = field(&mut out, b"n", value.as_bytes());
        assert_eq!(found, Err(ResponseError::ValueForm), "{value:?}");
    }
    assert_eq!(out, b"");
    field(&mut out, b"!#$%&'*+-.^_`|~09azAZ", b"a\tb \xe9").unwrap();
    assert_eq!(out, b"!#$%&'*+-.^_`|~09azAZ: a\tb \xe9\r\n");
}

#[test]
fn chunk_sizes() {
    for (size, line) in [
        (1, "1"),
        (15, "f"),
        (16, "10"),
        (0x1234_abcd, "1234abcd"),
        (usize::MAX, "ffffffffffffffff"),
    ] {
        assert_eq!(
            ChunkHead::new(size).as_bytes(),
            format!("{line}\r\n").as_bytes()
        );
    }
}

#[test]
fn dates() {
    let mut cache = DateCache::new();
    for (seconds, text) in [
        (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
        (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
        (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
        (951_868_799, "Tue, 29 Feb 2000 23:59:59 GMT"),
        (951_868_800, "Wed, 01 Mar 2000 00:00:00 GMT"),
        (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
        (4_107_456_000, "Sun, 28 Feb 2100 00:00:00 GMT"),
        (1_735_689_599, "Tue, 31 Dec 2024 23:59:59 GMT"),
        (1_735_689_600, "Wed, 01 Jan 2025 00:00:00 GMT"),
        (u64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
    ] {
        assert_eq!(std::str::from_utf8(cache.at(seconds)).unwrap(), text);
        assert_eq!(std::str::from_utf8(cache.at(seconds)).unwrap(), text);
    }
}
