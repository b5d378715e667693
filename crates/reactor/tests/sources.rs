//! Edge-triggered sources over real socket pairs.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use reactor::{Direction, Epoll, EventBuffer, EventFlags, Readiness, SourceKey, Sources};

struct Fixture {
    epoll: Epoll,
    sources: Sources<&'static str>,
}

impl Fixture {
    fn new() -> Fixture {
        Fixture {
            epoll: Epoll::new().unwrap(),
            sources: Sources::new(),
        }
    }

    fn register(&mut self, fd: &impl AsRawFd) -> SourceKey {
        self.sources.register(&self.epoll, fd.as_raw_fd()).unwrap()
    }

    fn deregister(&mut self, key: SourceKey) -> [Option<&'static str>; 2] {
        self.sources.deregister(&self.epoll, key)
    }

    fn park(&mut self, key: SourceKey, direction: Direction, waiter: &'static str) {
        self.sources.park(key, direction, waiter).unwrap();
        assert!(!self.sources.is_ready(key, direction));
    }

    /// Handles all present events, and returns the waiters that they wake.
    fn turn(&mut self) -> Vec<&'static str> {
        let mut buf = EventBuffer::new();
        self.epoll.wait(&mut buf, Some(Duration::ZERO)).unwrap();
        let mut woken = Vec::new();
        for (token, flags) in &buf {
            woken.extend(self.sources.on_event(token, flags).into_iter().flatten());
        }
        woken
    }
}

fn pair() -> (UnixStream, UnixStream) {
    let (ours, peer) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    peer.set_nonblocking(true).unwrap();
    (ours, peer)
}

#[test]
fn a_new_source_counts_as_ready() {
    let mut f = Fixture::new();
    let (ours, _peer) = pair();
    let key = f.register(&ours);
    for direction in Direction::BOTH {
        assert!(f.sources.is_ready(key, direction));
        f.sources.clear(key, direction);
        assert!(!f.sources.is_ready(key, direction));
    }
    assert_eq!(f.sources.readiness(key), Readiness::EMPTY);
}

#[test]
fn data_wakes_the_reader_once() {
    let mut f = Fixture::new();
    let (mut ours, mut peer) = pair();
    let key = f.register(&ours);
    f.turn();
    f.park(key, Direction::Read, "reader");
    assert_eq!(f.turn(), [""; 0]);
    assert_eq!(f.sources.waiting(), 1);
    peer.write_all(b"abc").unwrap();
    assert_eq!(f.turn(), ["reader"]);
    assert_eq!(f.sources.waiting(), 0);
    assert!(f.sources.is_ready(key, Direction::Read));
    assert_eq!(f.turn(), [""; 0]);
    // An edge that comes before the reader parks again is remembered.
    peer.write_all(b"def").unwrap();
    assert_eq!(f.turn(), [""; 0]);
    assert_eq!(ours.read(&mut [0; 16]).unwrap(), 6);
    assert!(f.sources.is_ready(key, Direction::Read));
}

#[test]
fn the_end_of_file_is_sticky() {
    let mut f = Fixture::new();
    let (ours, peer) = pair();
    let key = f.register(&ours);
    f.turn();
    f.park(key, Direction::Read, "reader");
    peer.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(f.turn(), ["reader"]);
    f.sources.clear(key, Direction::Read);
    assert!(f.sources.is_ready(key, Direction::Read));
    let readiness = f.sources.readiness(key);
    assert!(readiness.contains(Readiness::READ_CLOSED));
    assert!(!readiness.intersects(Readiness::WRITE_CLOSED | Readiness::READABLE));
    f.park(key, Direction::Write, "writer");
    drop(peer);
    assert_eq!(f.turn(), ["writer"]);
    f.sources.clear(key, Direction::Write);
    assert!(f.sources.is_ready(key, Direction::Write));
}

#[test]
fn one_waiter_per_direction() {
    let mut f = Fixture::new();
    let (ours, _peer) = pair();
    let key = f.register(&ours);
    let sources = &mut f.sources;
    assert_eq!(sources.set_waiter(key, Direction::Read, "a"), Ok(()));
    assert_eq!(sources.set_waiter(key, Direction::Read, "b"), Err("b"));
    assert_eq!(sources.park(key, Direction::Read, "b"), Err("b"));
    assert_eq!(sources.set_waiter(key, Direction::Write, "c"), Ok(()));
    assert_eq!(sources.waiting(), 2);
    assert_eq!(sources.take_waiter(key, Direction::Read), Some("a"));
    assert_eq!(sources.take_waiter(key, Direction::Read), None);
    assert_eq!(sources.set_waiter(key, Direction::Read, "d"), Ok(()));
    assert_eq!(sources.take_waiters(key), [Some("d"), Some("c")]);
    assert_eq!(sources.waiting(), 0);
}

#[test]
fn deregistering_returns_the_waiters_and_ends_the_key() {
    let mut f = Fixture::new();
    let (ours, mut peer) = pair();
    let key = f.register(&ours);
    f.park(key, Direction::Write, "writer");
    assert_eq!(f.deregister(key), [None, Some("writer")]);
    assert_eq!(f.sources.waiting(), 0);
    assert!(f.sources.is_empty());
    assert_eq!(f.deregister(key), [None, None]);
    assert_eq!(f.sources.readiness(key), Readiness::EMPTY);
    assert_eq!(f.sources.set_waiter(key, Direction::Read, "x"), Err("x"));
    assert_eq!(f.sources.park(key, Direction::Read, "x"), Err("x"));
    assert_eq!(f.sources.take_waiter(key, Direction::Read), None);
    assert!(f.sources.rearm(&f.epoll, key).is_err());
    peer.write_all(b"x").unwrap();
    let mut buf = EventBuffer::new();
    f.epoll.wait(&mut buf, Some(Duration::ZERO)).unwrap();
    assert!(buf.is_empty());
}

#[test]
fn a_token_of_the_past_wakes_nobody() {
    let mut f = Fixture::new();
    let (first, _first_peer) = pair();
    let (second, _second_peer) = pair();
    let old = f.register(&first);
    f.deregister(old);
    let new = f.register(&second);
    f.park(new, Direction::Read, "reader");
    let everything = EventFlags::all();
    for token in [old.token(), 0, 1, u64::MAX, u64::from(u32::MAX)] {
        assert_eq!(f.sources.on_event(token, everything), [None, None]);
    }
    assert_eq!(SourceKey::from_token(new.token()), new);
    assert!(new.token() >= 1 << 32);
    assert_eq!(
        f.sources.on_event(new.token(), everything),
        [Some("reader"), None]
    );
}

#[test]
fn a_reused_number_belongs_to_the_newer_source() {
    let mut f = Fixture::new();
    let (first, _first_peer) = pair();
    let (second, mut second_peer) = pair();
    let mut fd = OwnedFd::from(first);
    let old = f.register(&fd);
    f.park(old, Direction::Read, "old");
    // One step that closes the number and opens the other socket under it.
    rustix::io::dup2(&second, &mut fd).unwrap();
    let new = f.register(&fd);
    f.turn();
    f.park(new, Direction::Read, "new");
    second_peer.write_all(b"x").unwrap();
    assert_eq!(f.turn(), ["new"]);
    assert!(f.sources.rearm(&f.epoll, old).is_err());
    assert_eq!(f.deregister(old), [Some("old"), None]);
    f.park(new, Direction::Read, "new");
    second_peer.write_all(b"y").unwrap();
    assert_eq!(f.turn(), ["new"], "the newer registration is intact");
}

#[test]
fn a_file_that_outlives_its_number_wakes_nobody() {
    let mut f = Fixture::new();
    let (ours, mut peer) = pair();
    // A high number, which no other test takes meanwhile.
    let high = rustix::io::fcntl_dupfd_cloexec(&ours, 900).unwrap();
    let key = f.register(&high);
    f.park(key, Direction::Read, "reader");
    drop(high);
    assert_eq!(f.deregister(key), [Some("reader"), None]);
    peer.write_all(b"x").unwrap();
    assert_eq!(f.turn(), [""; 0]);
}

#[test]
fn a_number_can_be_registered_twice() {
    let mut f = Fixture::new();
    let (ours, mut peer) = pair();
    let one = f.register(&ours);
    let two = f.register(&ours);
    f.turn();
    f.park(one, Direction::Read, "one");
    f.park(two, Direction::Read, "two");
    peer.write_all(b"x").unwrap();
    let mut woken = f.turn();
    woken.sort_unstable();
    assert_eq!(woken, ["one", "two"]);
    f.deregister(one);
    f.park(two, Direction::Read, "two");
    peer.write_all(b"y").unwrap();
    assert_eq!(f.turn(), ["two"]);
    f.deregister(two);
    drop(ours);
    assert_eq!(
        peer.write(b"z").unwrap_err().kind(),
        ErrorKind::BrokenPipe,
        "no duplicate is left open"
    );
}

#[test]
fn what_cannot_be_registered_is_an_error() {
    let mut f = Fixture::new();
    let closed = f.sources.register(&f.epoll, -1).unwrap_err();
    assert_eq!(closed.raw_os_error(), Some(libc::EBADF));
    let file = std::fs::File::open(std::env::current_exe().unwrap()).unwrap();
    let regular = f.sources.register(&f.epoll, file.as_raw_fd()).unwrap_err();
    assert_eq!(regular.raw_os_error(), Some(libc::EPERM));
    assert!(f.sources.is_empty());
}

#[test]
fn rearming_reports_the_present_state() {
    let mut f = Fixture::new();
    let (ours, mut peer) = pair();
    let key = f.register(&ours);
    peer.write_all(b"x").unwrap();
    f.turn();
    f.sources.clear(key, Direction::Read);
    assert_eq!(f.turn(), [""; 0], "no new edge");
    f.park(key, Direction::Read, "reader");
    f.sources.rearm(&f.epoll, key).unwrap();
    assert_eq!(f.sources.readiness(key), Readiness::EMPTY);
    assert_eq!(f.turn(), ["reader"]);
}

fn unconnected() -> OwnedFd {
    rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::STREAM,
        None,
    )
    .unwrap()
}

#[test]
fn a_socket_registered_before_it_connects_recovers() {
    let mut f = Fixture::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = unconnected();
    let key = f.register(&socket);
    f.turn();
    f.sources.clear(key, Direction::Read);
    assert!(f.sources.is_ready(key, Direction::Read), "seen as closed");
    rustix::net::connect(&socket, &listener.local_addr().unwrap()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_nonblocking(true).unwrap();
    f.sources.rearm(&f.epoll, key).unwrap();
    f.turn();
    assert!(f.sources.is_ready(key, Direction::Write));
    assert!(!f.sources.is_ready(key, Direction::Read));
    let (mut peer, _) = listener.accept().unwrap();
    f.park(key, Direction::Read, "reader");
    peer.write_all(b"x").unwrap();
    let mut buf = EventBuffer::new();
    // Loopback delivers from another context, so it may take a moment.
    f.epoll
        .wait(&mut buf, Some(Duration::from_secs(60)))
        .unwrap();
    let (token, flags) = buf.iter().next().unwrap();
    assert_eq!(f.sources.on_event(token, flags), [Some("reader"), None]);
}

#[test]
fn a_note_of_data_wakes_the_reader_before_the_event() {
    let mut f = Fixture::new();
    let (ours, mut peer) = pair();
    let key = f.register(&ours);
    f.turn();
    f.park(key, Direction::Read, "reader");
    f.park(key, Direction::Write, "writer");
    peer.write_all(b"abc").unwrap();
    assert_eq!(f.sources.note_readable(key), Some("reader"));
    assert!(f.sources.is_ready(key, Direction::Read));
    assert_eq!(f.sources.waiting(), 1);
    assert_eq!(f.sources.note_readable(key), None);
    assert_eq!(f.deregister(key), [None, Some("writer")]);
    assert_eq!(f.sources.note_readable(key), None);
}

#[test]
fn urgent_data_is_remembered() {
    let mut f = Fixture::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (ours, _) = listener.accept().unwrap();
    let key = f.register(&ours);
    f.turn();
    assert!(!f.sources.readiness(key).contains(Readiness::URGENT));
    rustix::net::send(&peer, b"!", rustix::net::SendFlags::OOB).unwrap();
    let mut buf = EventBuffer::new();
    let limit = Some(Duration::from_secs(60));
    while !f.sources.readiness(key).contains(Readiness::URGENT) {
        f.epoll.wait(&mut buf, limit).unwrap();
        for (token, flags) in &buf {
            f.sources.on_event(token, flags);
        }
    }
    f.sources.clear(key, Direction::Read);
    assert!(f.sources.readiness(key).contains(Readiness::URGENT));
}

#[test]
fn an_event_ends_what_was_taken_for_closed() {
    let mut f = Fixture::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = unconnected();
    let key = f.register(&socket);
    f.turn();
    let closed = Readiness::READ_CLOSED | Readiness::WRITE_CLOSED;
    assert!(f.sources.readiness(key).contains(closed));
    rustix::net::connect(&socket, &listener.local_addr().unwrap()).unwrap();
    f.turn();
    assert!(!f.sources.readiness(key).intersects(closed));
}

#[test]
fn everything_moves_to_a_new_set() {
    let mut f = Fixture::new();
    let (ours, mut peer) = pair();
    let (closed, _closed_peer) = pair();
    let (reused, _reused_peer) = pair();
    let (other, _other_peer) = pair();
    let high = rustix::io::fcntl_dupfd_cloexec(&closed, 950).unwrap();
    let mut number = OwnedFd::from(reused);

    let kept = f.register(&ours);
    let gone = f.register(&high);
    let old = f.register(&number);
    rustix::io::dup2(&other, &mut number).unwrap();
    let new = f.register(&number);
    f.turn();
    f.park(kept, Direction::Read, "kept");
    f.park(new, Direction::Read, "new");
    drop(high);

    f.epoll = Epoll::new().unwrap();
    let failures = f.sources.rearm_all(&f.epoll);
    let failed: Vec<_> = failures.iter().map(|&(key, _)| key).collect();
    assert_eq!(failed, [gone, old]);
    assert!(f.sources.is_ready(kept, Direction::Read), "unknown again");
    assert_eq!(f.sources.waiting(), 2);
    let lost: Vec<_> = failures
        .iter()
        .flat_map(|&(key, _)| f.sources.take_waiters(key))
        .flatten()
        .collect();
    assert_eq!(f.sources.waiting(), 2 - lost.len());
    f.turn();
    peer.write_all(b"x").unwrap();
    assert_eq!(f.turn(), ["kept"]);
    assert_eq!(f.deregister(gone), [None, None]);
    assert_eq!(f.deregister(old), [None, None]);
    assert_eq!(f.deregister(new), [Some("new"), None]);
    assert_eq!(f.sources.len(), 1);
}

#[test]
fn a_full_pipe_wakes_the_writer_when_it_is_emptied() {
    let mut f = Fixture::new();
    let (mut ours, mut peer) = pair();
    let key = f.register(&ours);
    f.turn();
    let block = [0; 4096];
    while ours.write(&block).is_ok() {}
    f.park(key, Direction::Write, "writer");
    assert_eq!(f.turn(), [""; 0]);
    let mut sink = [0; 65536];
    while peer.read(&mut sink).is_ok_and(|n| n > 0) {}
    assert_eq!(f.turn(), ["writer"]);
}

#[test]
fn an_error_is_over_once_an_operation_would_block() {
    let mut f = Fixture::new();
    let (ours, _peer) = pair();
    let key = f.register(&ours);
    for direction in Direction::BOTH {
        f.park(key, direction, "waiter");
    }
    let woken = f.sources.on_event(key.token(), EventFlags::ERR);
    assert_eq!(woken, [Some("waiter"); 2]);
    for direction in Direction::BOTH {
        assert!(f.sources.is_ready(key, direction));
    }
    f.sources.clear(key, Direction::Read);
    for direction in Direction::BOTH {
        assert!(!f.sources.is_ready(key, direction));
    }
}

#[test]
fn a_number_that_others_close_has_everything_be_tried() {
    let mut f = Fixture::new();
    let (ours, _peer) = pair();
    let key = f.register(&ours);
    f.park(key, Direction::Read, "reader");
    assert_eq!(f.sources.closing(ours.as_raw_fd()), [Some("reader"), None]);
    assert!(f.sources.is_ready(key, Direction::Read));
    assert_eq!(f.sources.waiting(), 0);
    assert_eq!(f.sources.closing(ours.as_raw_fd()), [None, None]);
    for other in [-1, 999_999] {
        assert_eq!(f.sources.closing(other), [None, None]);
    }
    assert_eq!(f.deregister(key), [None, None]);
    assert_eq!(f.sources.closing(ours.as_raw_fd()), [None, None]);
}
