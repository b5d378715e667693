//! The parts of one event loop, without Python: readiness, deadlines, wake-ups, signals, children.
//!
//! Nothing here owns a loop. The caller holds the parts and drives them in its own turn:
//!
//! 1. Work out how long to wait: not at all when something is runnable or a watch is
//!    [always ready](Watches::has_always_ready), else until [`Timers::next_deadline`].
//! 2. [`Epoll::wait`] fills an [`EventBuffer`]. Each event carries the token it was registered with:
//!    that of a source goes to [`Sources::on_event`], any other is the caller's own (the waker, the
//!    set of the [`Watches`], a [`ChildFd`]). Source tokens are never below 2^32, so the caller is free
//!    to use small numbers.
//! 3. [`Timers::pop_expired`] yields the timers that are due, [`signals::take_pending`] the signals that came.
//!
//! There are two epoll sets, as two contracts are needed. Descriptors that the caller owns are
//! [`Sources`]: registered once, edge-triggered, so an operation that does not block costs no
//! `epoll_ctl`. Descriptors that it only watches for others are [`Watches`]: level-triggered, in an epoll set
//! of their own, which is itself readable in the first one while any of them is.
//!
//! Every part belongs to one thread except [`Waker`], which any thread or signal handler may wake,
//! and [`signals`], which is per process. After `fork` the child builds a new [`Epoll`] and [`Waker`] (the
//! inherited ones are shared with the parent) and moves its registrations over with
//! [`Sources::rearm_all`] and [`Watches::rearm_all`].

mod anonymous;
pub mod child;
pub mod epoll;
pub mod signals;
pub mod sources;
pub mod time;
pub mod timers;
pub mod waker;
pub mod watches;

pub use child::{ChildFd, reap, reap_any};
pub use epoll::{Epoll, EventBuffer, EventFlags};
pub use sources::{Direction, Readiness, SourceKey, Sources};
pub use time::Time;
pub use timers::{TimerKey, Timers};
pub use waker::Waker;
pub use watches::{Interest, Watches};
