//! The plan of a look-up, which says which servers to ask, and how. The settings of the program take precedence over
//! `/etc/resolv.conf`.

use std::time::Duration;

use crate::resolv_conf::{ResolvConf, ServerAddress};

/// The flags of c-ares that mean something here.
pub mod flags {
    /// Ask over TCP only.
    pub const USEVC: u32 = 1 << 0;
    /// Ask the first server only.
    pub const PRIMARY: u32 = 1 << 1;
    /// Do not ask again over TCP when an answer was cut off.
    pub const IGNTC: u32 = 1 << 2;
    /// Ask the server for its own knowledge only (no recursion).
    pub const NORECURSE: u32 = 1 << 3;
    /// Do not try the domains of the search list.
    pub const NOSEARCH: u32 = 1 << 5;
    /// Take a server's failure as the answer.
    pub const NOCHECKRESP: u32 = 1 << 7;
    /// Allow longer datagrams (EDNS).
    pub const EDNS: u32 = 1 << 8;
}

/// The settings of the program.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// A sum of [`flags`].
    pub flags: u32,
    /// The timeout of one try at one server.
    pub timeout: Option<Duration>,
    /// The number of times that every server is asked.
    pub tries: Option<usize>,
    /// The number of dots from which on a name is tried as complete before the search list.
    pub ndots: Option<usize>,
    /// The servers to ask in place of those of resolv.conf.
    pub servers: Option<Vec<ServerAddress>>,
    /// The environment variable `LOCALDOMAIN`, which overrides the search list.
    pub local_domain: Option<String>,
    /// The environment variable `RES_OPTIONS`, which overrides options.
    pub res_options: Option<String>,
}

/// The servers to ask, and how to ask them.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The servers, in the order in which to ask them.
    pub servers: Vec<ServerAddress>,
    /// The domains of the search list.
    pub search: Vec<String>,
    /// The number of dots from which on a name is tried as complete before the search list.
    pub ndots: usize,
    /// The timeout of one try at one server.
    pub timeout: Duration,
    /// The number of times that every server is asked.
    pub tries: usize,
    /// True if each look-up begins with another server.
    pub rotate: bool,
    /// False if no address of IPv6 is to be asked for.
    pub asks_v6: bool,
    /// True if servers are asked over TCP from the start.
    pub tcp_only: bool,
    /// True if queries allow longer datagrams (EDNS).
    pub edns: bool,
    /// True if servers are to ask other servers where needed (recursion desired, RFC 1035, section 4.1.1).
    pub recursion: bool,
    /// True if an answer that was cut off is accepted.
    pub cut_is_fine: bool,
    /// True if the domains of the search list are tried.
    pub searches: bool,
    /// True if a server's failure is the answer, so that no other is asked.
    pub failure_is_answer: bool,
    /// True if the configuration has lines or options that have no meaning here.
    pub has_unknown: bool,
}

impl Plan {
    /// Combines the program's settings with the configuration in `resolv.conf`.
    #[must_use]
    pub fn new(settings: &Settings, conf: ResolvConf) -> Self {
        let conf = conf.overridden(
            settings.local_domain.as_deref(),
            settings.res_options.as_deref(),
        );
        let has = |flag| settings.flags & flag != 0;
        let mut servers = settings.servers.clone().unwrap_or(conf.servers);
        if has(flags::PRIMARY) {
            servers.truncate(1);
        }
        Self {
            servers,
            search: conf.search,
            ndots: settings.ndots.unwrap_or(conf.ndots),
            timeout: settings
                .timeout
                .unwrap_or(Duration::from_secs(conf.timeout)),
            tries: settings.tries.unwrap_or(conf.attempts).max(1),
            rotate: conf.rotate,
            asks_v6: !conf.no_aaaa,
            tcp_only: conf.use_tcp || has(flags::USEVC),
            edns: conf.edns || has(flags::EDNS),
            recursion: !has(flags::NORECURSE),
            cut_is_fine: has(flags::IGNTC),
            searches: !has(flags::NOSEARCH),
            failure_is_answer: has(flags::NOCHECKRESP),
            has_unknown: conf.has_unknown,
        }
    }
}
