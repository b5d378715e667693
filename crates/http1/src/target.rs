//! The target of a request, judged by its form (RFC 9112 section 3.2), and hosts (RFC 3986 section 3.2.2).

use std::net::Ipv6Addr;

use memchr::{memchr, memmem};

/// The parts of a request target. `authority` is set if the target names the host itself, which then replaces the
/// `Host` field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// The host, and perhaps a port, of the absolute form.
    pub authority: Option<&'a [u8]>,
    /// The path; `*` where the whole server is meant, or the authority of a `CONNECT`.
    pub path: &'a [u8],
    /// The part after the first question mark, which belongs to neither.
    pub query: &'a [u8],
}

/// The schemes that a target in absolute form may have.
const SCHEMES: [&[u8]; 4] = [b"http", b"https", b"ws", b"wss"];

impl<'a> Target<'a> {
    /// Splits a target into its parts. A target in none of the forms counts as a path.
    #[must_use]
    pub fn of(method: &str, target: &'a [u8]) -> Self {
        if target.first() == Some(&b'/') || method == "CONNECT" {
            return Self::relative(target);
        }
        let Some((_, authority, rest)) = absolute(target) else {
            return Self::relative(target);
        };
        let mut parts = Self::relative(rest);
        parts.authority = Some(authority);
        if parts.path.is_empty() {
            parts.path = if method == "OPTIONS" { b"*" } else { b"/" };
        }
        parts
    }

    fn relative(target: &'a [u8]) -> Self {
        let (path, query) = match memchr(b'?', target) {
            Some(at) => (&target[..at], &target[at + 1..]),
            None => (target, &[][..]),
        };
        Self {
            authority: None,
            path,
            query,
        }
    }
}

/// Returns true if a target has the form that belongs to its method: a path, or an absolute URI; of `OPTIONS` also `*`; of
/// `CONNECT` a host and a port.
pub(crate) fn is_valid(method: &str, target: &[u8]) -> bool {
    if method == "CONNECT" {
        return is_authority(target, true);
    }
    // A fragment is cut off by some readers and kept by others.
    if memchr(b'#', target).is_some() {
        return false;
    }
    match target {
        [b'/', ..] => true,
        b"*" => method == "OPTIONS",
        _ => absolute(target).is_some_and(|(scheme, authority, rest)| {
            let known = |other: &&[u8]| other.eq_ignore_ascii_case(scheme);
            SCHEMES.iter().any(known)
                && !authority.is_empty()
                && is_authority(authority, false)
                && matches!(rest.first(), None | Some(b'/' | b'?'))
        }),
    }
}

/// Returns the scheme and the authority of an absolute URI, and what follows them.
fn absolute(target: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let colon = memmem::find(target, b"://")?;
    let (scheme, rest) = (&target[..colon], &target[colon + 3..]);
    let end = rest.iter().position(|&byte| matches!(byte, b'/' | b'?'));
    let (authority, rest) = rest.split_at(end.unwrap_or(rest.len()));
    Some((scheme, authority, rest))
}

/// Returns true if `text` is a host with a port. Unless `port_is_due`, the port may be missing, and the text may be empty.
pub(crate) fn is_authority(text: &[u8], port_is_due: bool) -> bool {
    // One pass is enough for nearly every name and address, as a plain name ends at its port or not at all.
    let end = text.iter().position(|&byte| !NAME[usize::from(byte)]);
    let (host, port, is_plain) = match (end, text) {
        (None, _) => return !port_is_due,
        (Some(end), _) if text[end] == b':' => (&text[..end], &text[end..], true),
        (Some(_), [b'[', ..]) => match memchr(b']', text) {
            Some(end) => (&text[..=end], &text[end + 1..], false),
            None => return false,
        },
        _ => {
            let (host, port) = text.split_at(memchr(b':', text).unwrap_or(text.len()));
            (host, port, false)
        }
    };
    let port_is_good = match port {
        [] => !port_is_due,
        [b':'] => !port_is_due && !host.is_empty(),
        [b':', digits @ ..] => !host.is_empty() && is_port(digits),
        _ => false,
    };
    port_is_good && (is_plain || is_host(host))
}

fn is_port(digits: &[u8]) -> bool {
    let number = digits.iter().try_fold(0_u32, |number, digit| {
        let digit = char::from(*digit).to_digit(10)?;
        Some(number * 10 + digit).filter(|number| *number <= 65_535)
    });
    number.is_some()
}

fn is_host(host: &[u8]) -> bool {
    let Some(inner) = host.strip_prefix(b"[") else {
        return is_name(host);
    };
    let Some(inner) = inner.strip_suffix(b"]") else {
        return false;
    };
    match inner {
        [b'v' | b'V', rest @ ..] => {
            let dot = memchr(b'.', rest).unwrap_or(0);
            let (version, address) = rest.split_at(dot);
            let digits = !version.is_empty() && version.iter().all(u8::is_ascii_hexdigit);
            let address = address.get(1..).unwrap_or_default();
            let plain = |&byte: &u8| byte == b':' || is_name_byte(byte);
            digits && !address.is_empty() && address.iter().all(plain)
        }
        _ => std::str::from_utf8(inner).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok()),
    }
}

/// Returns true if this is a registered name or an IPv4 address: both have the same characters.
fn is_name(host: &[u8]) -> bool {
    if host.iter().all(|&byte| NAME[usize::from(byte)]) {
        return true;
    }
    let mut rest = host;
    while let Some((&byte, after)) = rest.split_first() {
        rest = match (byte, after) {
            (b'%', [high, low, after @ ..])
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                after
            }
            _ if is_name_byte(byte) => after,
            _ => return false,
        };
    }
    true
}

/// Holds [`is_name_byte`] for each byte, as a table is faster than the comparisons.
const NAME: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = is_name_byte(byte as u8);
        byte += 1;
    }
    table
};

/// Returns true for a character that RFC 3986 calls unreserved, or a sub-delim.
const fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.'
                | b'_'
                | b'~'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b';'
                | b'='
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for good in [
            "",
            "a",
            "a:80",
            "a:",
            "a:0",
            "a:65535",
            "[::1]",
            "[::1]:80",
            "[::1]:",
            "1.2.3.4:5",
            "a%2fb",
            "[::ffff:1.2.3.4]",
            "[v1.a:b]",
            "a_b",
            "xn--nxasmq6b",
            "a.:80",
        ] {
            assert!(is_authority(good.as_bytes(), false), "{good}");
        }
        for bad in [
            ":",
            ":80",
            "a:b",
            "a:1:2",
            "::1",
            "[::1",
            "[::1]x",
            "[::1]80",
            "[]",
            "[:]",
            "[1.2.3.4]",
            "[a]",
            "[::1%25eth0]",
            "[v.a]",
            "[v1.]",
            "[vg.a]",
            "a:65536",
            "a:99999999999999999999",
            "a:+1",
            "a%2",
            "a%zz",
            "a/b",
            "u@a",
            "a b",
            "a\\b",
            "a[",
            "a\u{e9}",
            "a\"",
            "<a>",
            "a:8 0",
        ] {
            assert!(!is_authority(bad.as_bytes(), false), "{bad}");
        }
    }

    #[test]
    fn forms() {
        for (method, target) in [
            ("GET", "/"),
            ("GET", "//a/b"),
            ("GET", "/?a=/?"),
            ("OPTIONS", "*"),
            ("GET", "http://a"),
            ("GET", "HTTP://a:80/b"),
            ("GET", "https://[::1]:/?q"),
            ("OPTIONS", "http://a:80"),
            ("GET", "http://a?q"),
            ("CONNECT", "a:443"),
            ("CONNECT", "[::1]:443"),
            ("GET", "/http://a"),
            ("GET", "/:a@b"),
        ] {
            assert!(is_valid(method, target.as_bytes()), "{method} {target}");
        }
        for (method, target) in [
            ("GET", "*"),
            ("GET", ""),
            ("GET", "a"),
            ("GET", "?q"),
            ("GET", "../a"),
            ("GET", "a:80"),
            ("OPTIONS", "*a"),
            ("OPTIONS", "**"),
            ("GET", "http:/a"),
            ("GET", "http:///a"),
            ("GET", "http://"),
            ("GET", "://a/"),
            ("GET", "http://u@a/"),
            ("GET", "http://a:b/"),
            ("GET", "ftp://a/"),
            ("GET", "file:///etc/passwd"),
            ("GET", "/a#b"),
            ("GET", "http://a/#b"),
            ("GET", "http://a#b"),
            ("GET", "mailto:a"),
            ("CONNECT", "a"),
            ("CONNECT", "/"),
            ("CONNECT", "a:"),
            ("CONNECT", ":443"),
            ("CONNECT", "http://a:443"),
            ("CONNECT", "*"),
            ("CONNECT", "a:443/"),
            ("options", "*"),
            ("GET", "\\a"),
            ("GET", "%2fa"),
        ] {
            assert!(!is_valid(method, target.as_bytes()), "{method} {target}");
        }
    }

    #[test]
    fn parts() {
        let of = |method, target: &'static str| {
            let parts = Target::of(method, target.as_bytes());
            let text = |bytes| std::str::from_utf8(bytes).unwrap_or_default();
            (
                parts.authority.map(text),
                text(parts.path),
                text(parts.query),
            )
        };
        assert_eq!(of("GET", "/a?b?c"), (None, "/a", "b?c"));
        assert_eq!(of("GET", "/x://y/z"), (None, "/x://y/z", ""));
        assert_eq!(of("GET", "http://a:80/b?c"), (Some("a:80"), "/b", "c"));
        assert_eq!(of("GET", "http://a"), (Some("a"), "/", ""));
        assert_eq!(of("GET", "http://a?c"), (Some("a"), "/", "c"));
        assert_eq!(of("OPTIONS", "http://a"), (Some("a"), "*", ""));
        assert_eq!(of("OPTIONS", "*"), (None, "*", ""));
        assert_eq!(of("CONNECT", "a:1"), (None, "a:1", ""));
    }
}
