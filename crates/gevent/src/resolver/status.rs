//! Why a look-up failed, by the numbers of c-ares.

use std::io;

use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::op::ResponseCode;
use thiserror::Error;

/// Why a look-up failed. The numbers are those of c-ares, which programs see in exceptions.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Status {
    #[error("the name has no such records")]
    NoData = 1,
    #[error("the server could not read the query")]
    FormErr = 2,
    #[error("the server failed")]
    ServFail = 3,
    #[error("there is no such name")]
    NotFound = 4,
    #[error("the server does not know that kind of query")]
    NotImp = 5,
    #[error("the server refused the query")]
    Refused = 6,
    #[error("it cannot be a name")]
    BadName = 8,
    #[error("the server sent what is no reply")]
    BadResp = 10,
    #[error("no server could be reached")]
    ConnRefused = 11,
    #[error("no server replied in time")]
    Timeout = 12,
    #[error("no server is known")]
    NoServer = 26,
}

impl Status {
    /// Whether another server would say the same.
    pub fn is_answer(self) -> bool {
        matches!(self, Self::NoData | Self::NotFound)
    }

    /// Whether another name of the search list may still be found, as for libc's `res_search`.
    pub fn leaves_hope(self) -> bool {
        matches!(self, Self::NoData | Self::NotFound | Self::ServFail)
    }
}

impl From<ResponseCode> for Status {
    fn from(code: ResponseCode) -> Self {
        match code {
            ResponseCode::NoError => Self::NoData,
            ResponseCode::NXDomain => Self::NotFound,
            ResponseCode::FormErr => Self::FormErr,
            ResponseCode::NotImp => Self::NotImp,
            ResponseCode::Refused => Self::Refused,
            _ => Self::ServFail,
        }
    }
}

impl From<NetError> for Status {
    fn from(error: NetError) -> Self {
        match error {
            NetError::Dns(DnsError::ResponseCode(code)) => code.into(),
            NetError::Dns(DnsError::NoRecordsFound(NoRecords { response_code, .. })) => {
                response_code.into()
            }
            NetError::Timeout | NetError::Busy => Self::Timeout,
            NetError::Io(error) if error.kind() == io::ErrorKind::TimedOut => Self::Timeout,
            NetError::Io(error) if error.kind() == io::ErrorKind::InvalidData => Self::BadResp,
            NetError::Io(_) | NetError::NoConnections => Self::ConnRefused,
            _ => Self::BadResp,
        }
    }
}
