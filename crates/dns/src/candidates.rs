//! The complete names that a name may stand for, as libc's `res_search` has it: resolv.conf(5), `search` and `ndots`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::answer::Answer;
use crate::failure::Failure;
use crate::message::Name;

/// Returns the name as text, if it has only the characters that host names and similar names may have.
pub fn checked(name: &[u8]) -> Result<&str, Failure> {
    let sound = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._/*".contains(byte);
    if name.is_empty() || !name.iter().all(sound) {
        return Err(Failure::BadName);
    }
    std::str::from_utf8(name).map_err(|_| Failure::BadName)
}

/// Returns the complete names that `name` may stand for, in the order in which to try them.
pub fn candidates(
    name: &str,
    search: &[String],
    ndots: usize,
    searches: bool,
) -> Result<Vec<Name>, Failure> {
    let itself = complete(name)?;
    if name.ends_with('.') || !searches {
        return Ok(vec![itself]);
    }
    // A domain that makes the name too long is left out.
    let searched = search.iter().filter_map(|domain| {
        let domain = domain.trim_matches('.');
        complete(&format!("{name}.{domain}")).ok()
    });
    let mut names: Vec<Name> = searched.filter(|name| *name != itself).collect();
    let dots = name.bytes().filter(|byte| *byte == b'.').count();
    let at = if dots >= ndots { 0 } else { names.len() };
    names.insert(at, itself);
    Ok(names)
}

fn complete(name: &str) -> Result<Name, Failure> {
    let plain = name.strip_suffix('.').unwrap_or(name);
    if plain.split('.').any(str::is_empty) {
        return Err(Failure::BadName);
    }
    Name::vec_from_str(plain).map_err(|_| Failure::BadName)
}

/// Returns the name under which the names of an address are asked for: RFC 1035, section 3.5, and RFC 3596, section
/// 2.5.
pub fn reverse(address: IpAddr) -> Result<Name, Failure> {
    Name::reverse_from_addr(address).map_err(|_| Failure::BadName)
}

/// Returns the loopback addresses if the name is `localhost` or below it, for which no server is asked: RFC 6761,
/// section 6.3.
pub fn loopback(name: &str, v4: bool, v6: bool) -> Option<Answer> {
    let plain = name.strip_suffix('.').unwrap_or(name);
    let last = plain.rsplit('.').next()?;
    if !last.eq_ignore_ascii_case("localhost") {
        return None;
    }
    let six = v6.then_some(IpAddr::from(Ipv6Addr::LOCALHOST));
    let four = v4.then_some(IpAddr::from(Ipv4Addr::LOCALHOST));
    Some(Answer {
        name: plain.to_owned(),
        aliases: Vec::new(),
        addresses: six.into_iter().chain(four).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(name: &str, search: &[&str], ndots: usize) -> Vec<String> {
        let search: Vec<String> = search.iter().map(|&domain| domain.to_owned()).collect();
        let found = candidates(name, &search, ndots, true).unwrap();
        found.iter().map(Name::to_string).collect()
    }

    #[test]
    fn the_search_list_comes_before_names_with_few_dots() {
        let search = ["a.test", "b.test."];
        assert_eq!(
            names("www", &search, 1),
            ["www.a.test", "www.b.test", "www"]
        );
        assert_eq!(
            names("www.x", &search, 1),
            ["www.x", "www.x.a.test", "www.x.b.test"]
        );
        assert_eq!(
            names("www.x", &search, 2),
            ["www.x.a.test", "www.x.b.test", "www.x"]
        );
        assert_eq!(names("www.", &search, 1), ["www"]);
    }

    #[test]
    fn a_domain_that_makes_the_name_too_long_is_left_out() {
        let long = "abcdefghij.".repeat(22);
        assert_eq!(names("www-and-more", &[long.as_str()], 1), ["www-and-more"]);
    }

    #[test]
    fn what_cannot_be_a_name() {
        for wrong in [&b""[..], b"a b", b"a\0b", "\u{e4}".as_bytes()] {
            assert_eq!(checked(wrong), Err(Failure::BadName));
        }
        for wrong in ["a..b", ".", ".a", &"a".repeat(64)] {
            assert_eq!(
                candidates(wrong, &[], 1, true),
                Err(Failure::BadName),
                "{wrong}"
            );
        }
    }

    #[test]
    fn addresses_are_asked_for_backwards() {
        let name = reverse(IpAddr::from([10, 2, 3, 4])).unwrap();
        assert_eq!(name.to_string(), "4.3.2.10.in-addr.arpa");
        let name = reverse(IpAddr::from(Ipv6Addr::LOCALHOST)).unwrap();
        assert_eq!(name.to_string(), format!("1.{}ip6.arpa", "0.".repeat(31)));
    }
}
