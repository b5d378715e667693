//! Messages to and from name servers: RFC 1035, section 4, with the larger datagrams of RFC 6891.

use std::net::IpAddr;

use domain::base::iana::{Class, Opcode, Rcode, Rtype};
use domain::base::message_builder::PushError;
use domain::base::{Message, MessageBuilder, ParsedName, Question, ToName};
use domain::rdata::{A, Aaaa, Cname, Ptr};

use crate::failure::Failure;

/// A complete name.
pub type Name = domain::base::Name<Vec<u8>>;

/// The size of datagrams that queries allow (EDNS, RFC 6891): one that fits any path, by the DNS flag day 2020.
const DATAGRAM: u16 = 1232;

/// The kind of records to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Addresses of IPv4.
    A,
    /// Addresses of IPv6.
    Aaaa,
    /// Names of an address.
    Ptr,
}

impl Kind {
    fn rtype(self) -> Rtype {
        match self {
            Self::A => Rtype::A,
            Self::Aaaa => Rtype::AAAA,
            Self::Ptr => Rtype::PTR,
        }
    }
}

/// The content of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// The owner is an alias of this name.
    Alias(Name),
    /// The owner has this address.
    Address(IpAddr),
    /// The owner stands for an address, which has this name.
    Pointer(Name),
}

/// The content of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Records by their owners.
    Records {
        /// The records in the order of the message. Kinds that were not asked for are left out, except for aliases.
        records: Vec<(Name, Data)>,
        /// True if the server says that the last name of the chain of aliases has no such records (RFC 2308, section 2.2).
        is_final: bool,
    },
    /// The reply is too long for a datagram, and is to be asked for over TCP.
    Truncated,
    /// The server reports this failure in place of records.
    Failed(Failure),
}

/// Returns the message that asks for records of a name.
///
/// # Errors
/// Fails when the message does not fit, which cannot happen with any name that [`Name`] holds.
pub fn query(
    id: u16,
    name: &Name,
    kind: Kind,
    recursion: bool,
    edns: bool,
) -> Result<Vec<u8>, Failure> {
    compose(id, name, kind, recursion, edns).map_err(|_| Failure::BadName)
}

fn compose(
    id: u16,
    name: &Name,
    kind: Kind,
    recursion: bool,
    edns: bool,
) -> Result<Vec<u8>, PushError> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(id);
    builder.header_mut().set_rd(recursion);
    let mut builder = builder.question();
    builder.push((name, kind.rtype()))?;
    let mut builder = builder.additional();
    if edns {
        builder.opt(|opt| {
            opt.set_udp_payload_size(DATAGRAM);
            Ok(())
        })?;
    }
    Ok(builder.finish())
}

/// Reads a message that arrived for the query with this id.
///
/// Returns `None` if it is no reply to that query, but a late one to an earlier query, or a forgery: neither may end the wait
/// for the true reply.
///
/// # Errors
/// Returns [`Failure::BadResp`] for a message that cannot be read.
pub fn read(
    octets: &[u8],
    id: u16,
    name: &Name,
    kind: Kind,
    cut_is_fine: bool,
) -> Result<Option<Reply>, Failure> {
    if octets.first_chunk() != Some(&id.to_be_bytes()) {
        return Ok(None);
    }
    let message = Message::from_octets(octets).map_err(|_| Failure::BadResp)?;
    let header = message.header();
    if !header.qr() || header.opcode() != Opcode::QUERY {
        return Err(Failure::BadResp);
    }
    if message.header_counts().qdcount() == 0 {
        return Ok(None);
    }
    let question = message.sole_question().map_err(|_| Failure::BadResp)?;
    if !is_asked(&question, name, kind) {
        return Ok(None);
    }
    if header.tc() && !cut_is_fine {
        return Ok(Some(Reply::Truncated));
    }
    if header.rcode() != Rcode::NOERROR {
        return Ok(Some(Reply::Failed(header.rcode().into())));
    }
    records(&message, kind).map(Some)
}

fn is_asked(question: &Question<ParsedName<&[u8]>>, name: &Name, kind: Kind) -> bool {
    question.qclass() == Class::IN
        && question.qtype() == kind.rtype()
        && question.qname().name_eq(name)
}

fn records(message: &Message<&[u8]>, kind: Kind) -> Result<Reply, Failure> {
    const BAD: Failure = Failure::BadResp;
    let mut records = Vec::new();
    for record in message.answer().map_err(|_| BAD)? {
        let record = record.map_err(|_| BAD)?;
        if record.class() != Class::IN {
            return Err(BAD);
        }
        let data = match record.rtype() {
            Rtype::A if kind == Kind::A => {
                let found = record.to_record::<A>().map_err(|_| BAD)?;
                found.map(|found| Data::Address(found.data().addr().into()))
            }
            Rtype::AAAA if kind == Kind::Aaaa => {
                let found = record.to_record::<Aaaa>().map_err(|_| BAD)?;
                found.map(|found| Data::Address(found.data().addr().into()))
            }
            Rtype::PTR if kind == Kind::Ptr => {
                let found = record
                    .to_record::<Ptr<ParsedName<&[u8]>>>()
                    .map_err(|_| BAD)?;
                found.map(|found| Data::Pointer(found.data().ptrdname().to_vec()))
            }
            Rtype::CNAME => {
                let found = record
                    .to_record::<Cname<ParsedName<&[u8]>>>()
                    .map_err(|_| BAD)?;
                found.map(|found| Data::Alias(found.data().cname().to_vec()))
            }
            _ => None,
        };
        if let Some(data) = data {
            records.push((record.owner().to_vec(), data));
        }
    }
    let mut is_final = false;
    for record in message.authority().map_err(|_| BAD)? {
        is_final |= record.map_err(|_| BAD)?.rtype() == Rtype::SOA;
    }
    Ok(Reply::Records { records, is_final })
}
