//! The failures of look-ups, by the numbers of c-ares.

use domain::base::iana::Rcode;
use thiserror::Error;

/// The failure of a look-up. The numbers are those of c-ares, which programs see in exceptions.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Failure {
    /// The name exists, but has no records of the kind asked for.
    #[error("the name has no such records")]
    NoData = 1,
    /// The server answered `FORMERR`.
    #[error("the server could not read the query")]
    FormErr = 2,
    /// The server answered `SERVFAIL`, or with a code that means nothing else here.
    #[error("the server failed")]
    ServFail = 3,
    /// The server answered `NXDOMAIN`.
    #[error("there is no such name")]
    NotFound = 4,
    /// The server answered `NOTIMP`.
    #[error("the server does not know that kind of query")]
    NotImp = 5,
    /// The server answered `REFUSED`.
    #[error("the server refused the query")]
    Refused = 6,
    /// The question has not the form of a host name.
    #[error("the name is malformed")]
    BadName = 8,
    /// The server sent something that cannot be read as a reply.
    #[error("the server sent a malformed reply")]
    BadResp = 10,
    /// No server listens.
    #[error("no server could be reached")]
    ConnRefused = 11,
    /// No server replied in time.
    #[error("no server replied in time")]
    Timeout = 12,
    /// The configuration names no server.
    #[error("no name server is configured")]
    NoServer = 26,
}

impl Failure {
    /// Returns true if another server would answer the same.
    #[must_use]
    pub fn is_answer(self) -> bool {
        matches!(self, Self::NoData | Self::NotFound)
    }

    /// Returns true if the next name of the search list is to be tried after this failure, as libc's `res_search` does.
    #[must_use]
    pub fn leaves_hope(self) -> bool {
        matches!(self, Self::NoData | Self::NotFound | Self::ServFail)
    }

    /// Returns the one of two failures that is more informative, as libc's `res_search` does.
    #[must_use]
    pub fn graver(self, other: Self) -> Self {
        let gravity = |failure| match failure {
            Self::NotFound => 0,
            Self::ServFail => 1,
            Self::NoData => 2,
            _ => 3,
        };
        if gravity(other) > gravity(self) {
            other
        } else {
            self
        }
    }
}

impl From<Rcode> for Failure {
    fn from(code: Rcode) -> Self {
        match code {
            Rcode::NOERROR => Self::NoData,
            Rcode::NXDOMAIN => Self::NotFound,
            Rcode::FORMERR => Self::FormErr,
            Rcode::NOTIMP => Self::NotImp,
            Rcode::REFUSED => Self::Refused,
            _ => Self::ServFail,
        }
    }
}
