//! The state of one request and its response while a handler works on them.

use http1::Head;
use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;

use crate::cell::GilCell;
use crate::wsgi::allowance::Allowance;
use crate::wsgi::stint::Stint;

/// The number of exchanges that are kept for the next ones when they are over, and the largest head that one keeps.
const MOST_SPARE: usize = 64;
const LARGEST_HEAD: usize = 64 * 1024;

/// Exchanges that are over, so that a busy connection takes no new memory for each.
#[allow(
    clippy::vec_box,
    reason = "handlers hold exchanges boxed: they go in and out as they are"
)]
static SPARE: GilCell<Vec<Box<Exchange>>> = GilCell::in_static(Vec::new());

/// One request and its response.
#[derive(Debug)]
pub struct Exchange {
    pub(crate) head: Head,
    /// True if `head` is this request's.
    pub(crate) decoded: bool,
    set: [Option<Py<PyAny>>; SLOTS],
    pub(crate) code: Option<i64>,
    pub(crate) content_length: Option<i64>,
    pub(crate) headers_sent: bool,
    pub(crate) response_use_chunked: bool,
    pub(crate) connection_upgraded: bool,
    pub(crate) response_length: u64,
    pub(crate) time_start: f64,
    pub(crate) time_finish: f64,
    /// The head of the response as it will be sent, without the empty line; empty before `start_response`.
    pub(crate) out: Vec<u8>,
    /// True if the application stated by a field of its own whether the connection stays, and if it ends.
    pub(crate) has_connection: bool,
    pub(crate) has_close: bool,
    /// True if the client offered to change the protocol.
    pub(crate) upgrade_offered: bool,
    /// True if the body's length is announced though the application did not state it.
    pub(crate) announced: bool,
    /// The size of the first part of the body, once it is about to be sent.
    pub(crate) first: Option<u64>,
    /// The part of the announced body that is still to be sent.
    pub(crate) left: Option<u64>,
    /// The time for which the client may still keep the response waiting, and the octets it had taken when that was reckoned.
    pub(crate) allowance: Option<(Allowance, u64)>,
    /// Counts what is sent until other greenlets have their turn.
    pub(crate) stint: Stint,
}

/// An attribute that holds any object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "each is named after its attribute")]
pub enum Slot {
    Requestline,
    Command,
    Path,
    RequestVersion,
    Headers,
    Environ,
    Application,
    WsgiInput,
    Result,
    Status,
    OrigStatus,
    ResponseHeaders,
    ProvidedDate,
    ProvidedContentLength,
}

const SLOTS: usize = 14;

impl Default for Exchange {
    fn default() -> Self {
        Self {
            head: Head::default(),
            decoded: false,
            set: [const { None }; SLOTS],
            code: None,
            content_length: Some(0),
            headers_sent: false,
            response_use_chunked: false,
            connection_upgraded: false,
            response_length: 0,
            time_start: 0.0,
            time_finish: 0.0,
            out: Vec::new(),
            has_connection: false,
            has_close: false,
            upgrade_offered: false,
            announced: false,
            first: None,
            left: None,
            allowance: None,
            stint: Stint::default(),
        }
    }
}

impl Exchange {
    /// Returns a fresh exchange, which reuses a pooled allocation.
    pub fn new(py: Python<'_>) -> Box<Self> {
        SPARE.with(py, |spare| spare.pop()).unwrap_or_default()
    }

    /// Makes the exchange a fresh one; returns the objects of the old one, for the caller to drop once the cell is
    /// closed.
    #[must_use]
    pub fn reset(&mut self) -> [Option<Py<PyAny>>; SLOTS] {
        self.head.reset();
        self.decoded = false;
        self.code = None;
        self.content_length = Some(0);
        self.headers_sent = false;
        self.response_use_chunked = false;
        self.connection_upgraded = false;
        self.response_length = 0;
        self.time_start = 0.0;
        self.time_finish = 0.0;
        self.out.clear();
        self.has_connection = false;
        self.has_close = false;
        self.upgrade_offered = false;
        self.announced = false;
        self.first = None;
        self.left = None;
        self.allowance = None;
        self.stint = Stint::default();
        std::mem::replace(&mut self.set, [const { None }; SLOTS])
    }

    /// Returns the object in a slot, which was set from Python or made before.
    #[inline]
    pub fn slot<'py>(&self, py: Python<'py>, slot: Slot) -> Option<Bound<'py, PyAny>> {
        self.set[slot as usize]
            .as_ref()
            .map(|object| object.bind(py).clone())
    }

    /// Visits the objects in the slots, for the garbage collector.
    ///
    /// # Errors
    /// Returns the error of the visitor.
    pub fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.set.iter().try_for_each(|object| visit.call(object))
    }

    /// Returns true if a slot holds something.
    #[inline]
    pub fn is_set(&self, slot: Slot) -> bool {
        self.set[slot as usize].is_some()
    }

    /// Announces the body's length, as if the application had.
    pub fn announce(&mut self, length: u64) {
        http1::response::number_field(&mut self.out, "Content-Length", length);
        self.left = Some(length);
        self.announced = true;
    }

    /// Puts an object into a slot; returns the old one, for the caller to drop once the cell is closed.
    #[inline]
    pub fn put(&mut self, slot: Slot, object: Option<Py<PyAny>>) -> Option<Py<PyAny>> {
        std::mem::replace(&mut self.set[slot as usize], object)
    }

    /// Returns an exchange, which was reset, to the pool.
    pub fn keep(mut self: Box<Self>, py: Python<'_>) {
        if self.out.capacity() > LARGEST_HEAD {
            self.out = Vec::new();
        }
        let left = SPARE.with(py, |spare| {
            if spare.len() < MOST_SPARE {
                spare.push(self);
                None
            } else {
                Some(self)
            }
        });
        drop(left);
    }
}
