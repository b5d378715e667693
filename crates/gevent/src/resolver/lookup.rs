//! A look-up from a name to addresses or back: which names to ask for, which servers, and how often, in libc's way.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join;
use hickory_resolver::proto::rr::{Name, RecordType};

use crate::resolver::files::Watched;
use crate::resolver::hosts::Hosts;
use crate::resolver::order;
use crate::resolver::resolv_conf::{ResolvConf, ServerAddress};
use crate::resolver::server::{Answer, Manner, Server};
use crate::resolver::status::Status;

/// The flags of c-ares that mean something here.
pub mod flags {
    /// Ask over TCP only.
    pub const USEVC: u32 = 1 << 0;
    /// Ask the first server only.
    pub const PRIMARY: u32 = 1 << 1;
    /// Do not ask again over TCP when an answer was cut off.
    pub const IGNTC: u32 = 1 << 2;
    /// Ask for what the server knows itself.
    pub const NORECURSE: u32 = 1 << 3;
    /// Do not try the domains of the search list.
    pub const NOSEARCH: u32 = 1 << 5;
    /// Take a server's failure for the answer.
    pub const NOCHECKRESP: u32 = 1 << 7;
    /// Tell servers that longer datagrams are welcome.
    pub const EDNS: u32 = 1 << 8;
}

/// What the program sets; where it does not, `/etc/resolv.conf` does.
#[derive(Clone, Debug)]
pub struct Settings {
    pub flags: u32,
    pub timeout: Option<Duration>,
    pub tries: Option<usize>,
    pub ndots: Option<usize>,
    pub udp_port: u16,
    pub tcp_port: u16,
    pub servers: Option<Vec<ServerAddress>>,
    pub resolv_conf: PathBuf,
    pub hosts: PathBuf,
    /// The environment variables that override resolv.conf: `LOCALDOMAIN`, `RES_OPTIONS`.
    pub local_domain: Option<String>,
    pub res_options: Option<String>,
}

/// What to look up.
#[derive(Clone, Debug)]
pub enum Question {
    /// The addresses of a name.
    Addresses {
        name: Vec<u8>,
        v4: bool,
        v6: bool,
        /// Whether to put them in the order in which to try them.
        sorted: bool,
    },
    /// The names of an address.
    Names(IpAddr),
}

struct Files {
    conf: Watched<ResolvConf>,
    hosts: Watched<Hosts>,
    /// The servers, as of a version of the configuration.
    plan: Option<(Arc<ResolvConf>, Arc<Plan>)>,
}

/// Whom to ask, and how.
struct Plan {
    conf: ResolvConf,
    servers: Vec<Server>,
    tries: usize,
    ndots: usize,
}

/// The look-ups of one channel; all of them run in the service's thread.
pub struct Lookups {
    settings: Settings,
    files: Mutex<Files>,
    turn: AtomicUsize,
}

impl Lookups {
    /// With these settings.
    pub fn new(settings: Settings) -> Self {
        let files = Files {
            conf: Watched::new(settings.resolv_conf.clone(), ResolvConf::parse),
            hosts: Watched::new(settings.hosts.clone(), Hosts::parse),
            plan: None,
        };
        Self {
            settings,
            files: Mutex::new(files),
            turn: AtomicUsize::new(0),
        }
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    fn has(&self, flag: u32) -> bool {
        self.settings.flags & flag != 0
    }

    fn current(&self) -> Result<(Arc<Hosts>, Arc<Plan>), Status> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let hosts = files.hosts.current();
        let conf = files.conf.current();
        if let Some((of, plan)) = &files.plan
            && Arc::ptr_eq(of, &conf)
        {
            return Ok((hosts, plan.clone()));
        }
        let plan = Arc::new(self.plan((*conf).clone())?);
        files.plan = Some((conf, plan.clone()));
        Ok((hosts, plan))
    }

    fn plan(&self, conf: ResolvConf) -> Result<Plan, Status> {
        let settings = &self.settings;
        let conf = conf.overridden(
            settings.local_domain.as_deref(),
            settings.res_options.as_deref(),
        );
        let manner = Manner {
            udp_port: settings.udp_port,
            tcp_port: settings.tcp_port,
            timeout: settings
                .timeout
                .unwrap_or(Duration::from_secs(conf.timeout)),
            edns: conf.edns || self.has(flags::EDNS),
            recursion: !self.has(flags::NORECURSE),
            tcp_only: conf.use_tcp || self.has(flags::USEVC),
            ignore_truncation: self.has(flags::IGNTC),
        };
        let addresses = settings.servers.as_ref().unwrap_or(&conf.servers);
        let most = if self.has(flags::PRIMARY) {
            1
        } else {
            addresses.len()
        };
        let servers = addresses
            .iter()
            .take(most)
            .map(|address| Server::new(*address, &manner))
            .collect::<Result<_, _>>()?;
        Ok(Plan {
            servers,
            tries: settings.tries.unwrap_or(conf.attempts),
            ndots: settings.ndots.unwrap_or(conf.ndots),
            conf,
        })
    }

    /// Looks up.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn run(&self, question: &Question) -> Result<Answer, Status> {
        match question {
            Question::Names(address) => self.names(*address).await,
            Question::Addresses {
                name,
                v4,
                v6,
                sorted,
            } => {
                let mut answer = self.addresses(name, *v4, *v6).await?;
                if *sorted {
                    order::sort(&mut answer.addresses);
                }
                Ok(answer)
            }
        }
    }

    async fn addresses(&self, name: &[u8], v4: bool, v6: bool) -> Result<Answer, Status> {
        let name = checked(name)?;
        let (hosts, plan) = self.current()?;
        let wanted = |address: &IpAddr| if address.is_ipv4() { v4 } else { v6 };
        if let Some((names, addresses)) = hosts.addresses(name, wanted) {
            return Ok(from_hosts(names, addresses));
        }
        if let Some(answer) = loopback(name, wanted) {
            return Ok(answer);
        }
        let mut failure = Status::NotFound;
        for candidate in self.candidates(name, &plan)? {
            match self.both(&plan, &candidate, v4, v6).await {
                Err(status) if status.leaves_hope() => failure = graver(failure, status),
                done => return done,
            }
        }
        Err(failure)
    }

    /// The complete names that a name may stand for, in the order in which to try them.
    fn candidates(&self, name: &str, plan: &Plan) -> Result<Vec<Name>, Status> {
        let itself = complete(name)?;
        if name.ends_with('.') || self.has(flags::NOSEARCH) {
            return Ok(vec![itself]);
        }
        // A domain that makes the name too long is left out.
        let searched = plan.conf.search.iter().filter_map(|domain| {
            let domain = domain.trim_matches('.');
            complete(&format!("{name}.{domain}")).ok()
        });
        let mut names: Vec<Name> = searched.collect();
        let dots = name.bytes().filter(|byte| *byte == b'.').count();
        let at = if dots >= plan.ndots { 0 } else { names.len() };
        names.insert(at, itself);
        Ok(names)
    }

    /// The addresses of a complete name, of both families at once.
    async fn both(&self, plan: &Plan, name: &Name, v4: bool, v6: bool) -> Result<Answer, Status> {
        let v6_allowed = v6 && !plan.conf.no_aaaa;
        match (v4, v6_allowed) {
            (true, false) => self.ask(plan, name, RecordType::A).await,
            (false, true) => self.ask(plan, name, RecordType::AAAA).await,
            (false, false) => Err(Status::NoData),
            (true, true) => {
                let (four, six) = join(
                    self.ask(plan, name, RecordType::A),
                    self.ask(plan, name, RecordType::AAAA),
                )
                .await;
                match (four, six) {
                    (Ok(mut four), Ok(six)) => {
                        four.addresses.extend(six.addresses);
                        Ok(four)
                    }
                    (Ok(found), Err(_)) | (Err(_), Ok(found)) => Ok(found),
                    (Err(four), Err(six)) => Err(graver(four, six)),
                }
            }
        }
    }

    /// Asks one server after another, and all of them again where none answers.
    async fn ask(&self, plan: &Plan, name: &Name, kind: RecordType) -> Result<Answer, Status> {
        let servers = &plan.servers;
        let mut failure = Status::NoServer;
        let first = if plan.conf.rotate {
            self.turn.fetch_add(1, Relaxed)
        } else {
            0
        };
        for _ in 0..plan.tries.max(1) {
            for number in 0..servers.len() {
                let server = &servers[(first + number) % servers.len()];
                match server.ask(name, kind).await {
                    Err(status) if !status.is_answer() && !self.has(flags::NOCHECKRESP) => {
                        failure = status;
                    }
                    done => return done,
                }
            }
            // A server that says what is wrong with the query says it again.
            if !matches!(failure, Status::Timeout | Status::ConnRefused) {
                break;
            }
        }
        Err(failure)
    }

    async fn names(&self, address: IpAddr) -> Result<Answer, Status> {
        let (hosts, plan) = self.current()?;
        if let Some(names) = hosts.names(address) {
            return Ok(from_hosts(names, vec![address]));
        }
        let mut answer = self
            .ask(&plan, &Name::from(address), RecordType::PTR)
            .await?;
        let mut names = std::mem::take(&mut answer.names).into_iter();
        Ok(Answer {
            name: names.next().ok_or(Status::NoData)?,
            aliases: names.collect(),
            addresses: vec![address],
            names: Vec::new(),
        })
    }
}

fn from_hosts(names: &[String], addresses: Vec<IpAddr>) -> Answer {
    let (first, others) = names
        .split_first()
        .map_or((None, names), |(first, others)| {
            (Some(first.clone()), others)
        });
    Answer {
        name: first.unwrap_or_default(),
        aliases: others.to_vec(),
        addresses,
        names: Vec::new(),
    }
}

/// The names that stand for this host everywhere: RFC 6761, section 6.3.
fn loopback(name: &str, wanted: impl Fn(&IpAddr) -> bool) -> Option<Answer> {
    let plain = name.strip_suffix('.').unwrap_or(name);
    let last = plain.rsplit('.').next()?;
    if !last.eq_ignore_ascii_case("localhost") {
        return None;
    }
    let both = [
        IpAddr::from(std::net::Ipv6Addr::LOCALHOST),
        IpAddr::from(std::net::Ipv4Addr::LOCALHOST),
    ];
    Some(Answer {
        name: plain.to_owned(),
        aliases: Vec::new(),
        addresses: both.into_iter().filter(wanted).collect(),
        names: Vec::new(),
    })
}

/// Which of two failures says more, as for libc's `res_search`.
fn graver(one: Status, other: Status) -> Status {
    let gravity = |status| match status {
        Status::NotFound => 0,
        Status::ServFail => 1,
        Status::NoData => 2,
        _ => 3,
    };
    if gravity(other) > gravity(one) {
        other
    } else {
        one
    }
}

/// The name as text, if it has only what host names and their like may have.
fn checked(name: &[u8]) -> Result<&str, Status> {
    let sound = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._/*".contains(byte);
    if name.is_empty() || !name.iter().all(sound) {
        return Err(Status::BadName);
    }
    std::str::from_utf8(name).map_err(|_| Status::BadName)
}

fn complete(name: &str) -> Result<Name, Status> {
    let plain = name.strip_suffix('.').unwrap_or(name);
    let labels = plain.split('.').map(str::as_bytes);
    let mut name = Name::from_labels(labels).map_err(|_| Status::BadName)?;
    name.set_fqdn(true);
    Ok(name)
}
