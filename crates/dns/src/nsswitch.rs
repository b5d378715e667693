//! The services that libc looks names up in: the line `hosts` of nsswitch.conf(5).

/// The content of the line `hosts` of `/etc/nsswitch.conf`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources {
    services: Vec<String>,
    /// True if an action such as `[NOTFOUND=return]` changes how one service follows the other.
    has_actions: bool,
}

impl Sources {
    /// Reads the text of the file. A file without the line counts as `files dns`, as in libc.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let line = text
            .lines()
            .map(|line| line.split('#').next().unwrap_or_default())
            .find_map(|line| line.trim_start().strip_prefix("hosts:"));
        let words: Vec<&str> = line.map_or_else(
            || vec!["files", "dns"],
            |line| line.split_ascii_whitespace().collect(),
        );
        Self {
            has_actions: words.iter().any(|word| word.starts_with('[')),
            services: words.into_iter().map(str::to_owned).collect(),
        }
    }

    /// Returns true if the only sources are `/etc/hosts` and then the name servers, which are those of this crate.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        !self.has_actions && self.services == ["files", "dns"]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_plain(text: &str) -> bool {
        Sources::parse(text).is_plain()
    }

    #[test]
    fn only_files_and_then_dns_is_plain() {
        assert!(is_plain("hosts: files dns\n"));
        assert!(is_plain(
            "passwd: files\n  hosts:\tfiles   dns # as usual\n"
        ));
        assert!(is_plain(""));
        for other in [
            "dns files",
            "files",
            "files mdns4_minimal [NOTFOUND=return] dns",
            "files dns [!UNAVAIL=return]",
            "files resolve dns",
            "files dns mymachines",
            "files dns myhostname",
            "",
        ] {
            assert!(!is_plain(&format!("hosts: {other}\n")), "{other}");
        }
    }
}
