//! The configuration of the system's resolver: resolv.conf(5), and the two environment variables that override it.

use std::net::IpAddr;

/// The upper bounds of options, as in libc.
const MOST_NDOTS: usize = 15;
const MOST_SECONDS: u64 = 30;
const MOST_ATTEMPTS: usize = 5;

/// Returns the number of the network interface with a name.
pub type Interfaces = fn(&str) -> Option<u32>;

/// The address of a name server. A link-local one needs the number of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ServerAddress {
    /// The address.
    pub ip: IpAddr,
    /// The number of the interface, or 0.
    pub scope: u32,
}

impl ServerAddress {
    /// Reads a numeric address, possibly with `%` and the name or number of an interface. Returns `None` if it is no such
    /// address, or there is no such interface.
    #[must_use]
    pub fn parse(text: &str, interfaces: Interfaces) -> Option<Self> {
        let (figures, zone) = text.split_once('%').unwrap_or((text, ""));
        let ip: IpAddr = figures.parse().ok()?;
        if zone.is_empty() {
            return Some(Self { ip, scope: 0 });
        }
        let number = zone.parse().ok().or_else(|| interfaces(zone))?;
        ip.is_ipv6().then_some(Self { ip, scope: number })
    }
}

/// The content of `/etc/resolv.conf`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvConf {
    /// The name servers, in the order in which to ask them.
    pub servers: Vec<ServerAddress>,
    /// The domains of the search list.
    pub search: Vec<String>,
    /// The number of dots from which on a name is tried as complete before the search list.
    pub ndots: usize,
    /// The timeout of one try at one server, in seconds.
    pub timeout: u64,
    /// The number of times that every server is asked.
    pub attempts: usize,
    /// True if each look-up begins with another server.
    pub rotate: bool,
    /// True if servers are asked over TCP from the start.
    pub use_tcp: bool,
    /// True if queries allow longer datagrams (EDNS).
    pub edns: bool,
    /// True if no address of IPv6 is to be asked for.
    pub no_aaaa: bool,
    /// True if the file has a line or an option that has no meaning here, such as `sortlist`.
    pub has_unknown: bool,
}

impl ResolvConf {
    /// Reads the text of the file. Later lines override earlier ones, and unknown lines are ignored, as in libc.
    #[must_use]
    pub fn parse(text: &str, interfaces: Interfaces) -> Self {
        let mut conf = Self {
            servers: Vec::new(),
            search: Vec::new(),
            ndots: 1,
            timeout: 5,
            attempts: 2,
            rotate: false,
            use_tcp: false,
            edns: false,
            no_aaaa: false,
            has_unknown: false,
        };
        for line in text.lines() {
            if line.starts_with(['#', ';']) {
                continue;
            }
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => conf.servers.extend(
                    words
                        .next()
                        .and_then(|word| ServerAddress::parse(word, interfaces)),
                ),
                Some("domain") => conf.set_search(words.take(1)),
                Some("search") => conf.set_search(words),
                Some("options") => conf.set_options(words),
                Some(_) => conf.has_unknown = true,
                None => {}
            }
        }
        if conf.servers.is_empty() {
            let ip = IpAddr::from([127, 0, 0, 1]);
            conf.servers.push(ServerAddress { ip, scope: 0 });
        }
        conf
    }

    /// Returns this configuration with the values of environment variables: `LOCALDOMAIN` replaces the search list,
    /// `RES_OPTIONS` sets options.
    #[must_use]
    pub fn overridden(mut self, local_domain: Option<&str>, options: Option<&str>) -> Self {
        if let Some(domains) = local_domain {
            self.set_search(domains.split_ascii_whitespace());
        }
        if let Some(options) = options {
            self.set_options(options.split_ascii_whitespace());
        }
        self
    }

    fn set_search<'a>(&mut self, domains: impl Iterator<Item = &'a str>) {
        self.search = domains.map(str::to_owned).collect();
    }

    fn set_options<'a>(&mut self, options: impl Iterator<Item = &'a str>) {
        for option in options {
            let (key, value) = option.split_once(':').unwrap_or((option, ""));
            let number = value.parse::<u64>();
            match (key, number) {
                ("ndots", Ok(number)) => self.ndots = (number as usize).min(MOST_NDOTS),
                ("timeout", Ok(number)) => self.timeout = number.clamp(1, MOST_SECONDS),
                ("attempts", Ok(number)) => {
                    self.attempts = (number as usize).clamp(1, MOST_ATTEMPTS);
                }
                ("rotate", _) => self.rotate = true,
                ("use-vc", _) => self.use_tcp = true,
                ("edns0", _) => self.edns = true,
                ("no-aaaa", _) => self.no_aaaa = true,
                // These options change only how servers are asked, not the result.
                ("single-request" | "single-request-reopen" | "trust-ad" | "no-reload", _) => {}
                _ => self.has_unknown = true,
            }
        }
    }
}
