//! One name server: a question to it, over UDP and then TCP where the answer is too long.

use std::net::IpAddr;
use std::time::Duration;

use hickory_resolver::Resolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
    ServerOrderingStrategy,
};
use hickory_resolver::net::NetError;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::sync::Semaphore;

use crate::resolver::resolv_conf::ServerAddress;
use crate::resolver::status::Status;
use crate::resolver::transport::{Connector, Transport};

/// Questions over TCP at once, which may take a connection each.
const TCP_AT_ONCE: usize = 8;
/// What a datagram may hold where the server was told so (EDNS): it fits any path, see DNS flag day 2020.
const DATAGRAM: u16 = 1232;

/// How a server is to be asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Manner {
    pub udp_port: u16,
    pub tcp_port: u16,
    /// For one try.
    pub timeout: Duration,
    pub edns: bool,
    pub recursion: bool,
    /// Whether to ask over TCP from the start.
    pub tcp_only: bool,
    /// Whether to be content with an answer that was cut off.
    pub ignore_truncation: bool,
}

/// The records that answer a question.
#[derive(Debug)]
pub struct Answer {
    /// The name that has them, and the aliases that lead there.
    pub name: String,
    pub aliases: Vec<String>,
    /// Addresses, for A and AAAA.
    pub addresses: Vec<IpAddr>,
    /// Names, for PTR.
    pub names: Vec<String>,
}

/// A name server.
pub struct Server {
    manner: Manner,
    udp: Resolver<Connector>,
    tcp: Resolver<Connector>,
    tcp_places: Semaphore,
}

impl Server {
    /// The server at an address.
    ///
    /// # Errors
    /// What hickory refuses of the configuration.
    pub fn new(address: ServerAddress, manner: &Manner) -> Result<Self, Status> {
        let connector = Connector(Transport::new(address.scope));
        let mut udp = ConnectionConfig::udp();
        udp.port = manner.udp_port;
        let mut tcp = ConnectionConfig::tcp();
        tcp.port = manner.tcp_port;
        let resolver = |connection| {
            let server = NameServerConfig::new(address.ip, true, vec![connection]);
            let config = ResolverConfig::from_parts(None, vec![], vec![server]);
            Resolver::builder_with_config(config, connector.clone())
                .with_options(options(manner))
                .build()
        };
        Ok(Self {
            manner: manner.clone(),
            udp: resolver(udp)?,
            tcp: resolver(tcp)?,
            tcp_places: Semaphore::new(TCP_AT_ONCE),
        })
    }

    /// The records of a complete name, from one try.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn ask(&self, name: &Name, kind: RecordType) -> Result<Answer, Status> {
        if !self.manner.tcp_only {
            match self.udp.lookup(name.clone(), kind).await {
                Ok(found) => return read(name, kind, found.answers()),
                Err(NetError::Truncated) if !self.manner.ignore_truncation => {}
                Err(error) => return Err(error.into()),
            }
        }
        let _place = self.tcp_places.acquire().await;
        let found = self.tcp.lookup(name.clone(), kind).await?;
        read(name, kind, found.answers())
    }
}

fn options(manner: &Manner) -> ResolverOpts {
    let mut options = ResolverOpts::default();
    options.timeout = manner.timeout;
    options.edns0 = manner.edns;
    options.edns_payload_len = DATAGRAM;
    options.recursion_desired = manner.recursion;
    // Which server is asked, how often and for which names `lookup` decides, in libc's way; libc keeps no answers.
    options.attempts = 0;
    options.num_concurrent_reqs = 1;
    options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
    options.use_hosts_file = ResolveHosts::Never;
    options.cache_size = 0;
    options.preserve_intermediates = true;
    options.max_active_requests = usize::from(u16::MAX);
    options
}

/// Follows the aliases of a name through an answer.
fn read(name: &Name, kind: RecordType, records: &[Record]) -> Result<Answer, Status> {
    let mut owner = name;
    let mut aliases = Vec::new();
    while let Some(target) = records.iter().find_map(|record| match &record.data {
        RData::CNAME(target) if record.name == *owner => Some(&target.0),
        _ => None,
    }) {
        aliases.push(text(owner));
        if aliases.len() > records.len() {
            return Err(Status::NoData);
        }
        owner = target;
    }
    let mut answer = Answer {
        name: text(owner),
        aliases,
        addresses: Vec::new(),
        names: Vec::new(),
    };
    for record in records.iter().filter(|record| record.name == *owner) {
        // As the server spells it.
        answer.name = text(&record.name);
        match &record.data {
            RData::A(address) if kind == RecordType::A => answer.addresses.push(address.0.into()),
            RData::AAAA(address) if kind == RecordType::AAAA => {
                answer.addresses.push(address.0.into());
            }
            RData::PTR(target) if kind == RecordType::PTR => answer.names.push(text(&target.0)),
            _ => {}
        }
    }
    if answer.addresses.is_empty() && answer.names.is_empty() {
        return Err(Status::NoData);
    }
    Ok(answer)
}

fn text(name: &Name) -> String {
    let mut text = name.to_ascii();
    if text.len() > 1 && text.ends_with('.') {
        text.pop();
    }
    text
}
