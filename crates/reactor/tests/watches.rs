//! Level-triggered watches: merging, descriptors changed behind their back, regular files.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use reactor::{Epoll, EventBuffer, Interest, Watches};

struct Fixture {
    epoll: Epoll,
    watches: Watches<char>,
}

impl Fixture {
    fn new() -> Fixture {
        Fixture {
            epoll: Epoll::new().unwrap(),
            watches: Watches::new(),
        }
    }

    fn add(&mut self, fd: &impl AsRawFd, interest: Interest, key: char) {
        self.watches
            .add(&self.epoll, fd.as_raw_fd(), interest, key)
            .unwrap();
    }

    fn remove(&mut self, fd: &impl AsRawFd, key: char) {
        self.watches
            .remove(&self.epoll, fd.as_raw_fd(), key)
            .unwrap();
    }

    /// Returns the watches that are ready at this moment, by descriptor and key.
    fn ready(&self) -> Vec<(RawFd, char, Interest)> {
        let mut buf = EventBuffer::new();
        self.epoll.wait(&mut buf, Some(Duration::ZERO)).unwrap();
        let mut ready = Vec::new();
        for (token, flags) in &buf {
            let fd = RawFd::try_from(token).unwrap();
            ready.extend(
                self.watches
                    .ready(fd, flags)
                    .map(|(key, interest)| (fd, key, interest)),
            );
        }
        ready.sort_by_key(|&(fd, key, _)| (fd, key));
        ready
    }
}

fn pair() -> (UnixStream, UnixStream) {
    UnixStream::pair().unwrap()
}

#[test]
fn watches_of_one_descriptor_are_merged() {
    let mut f = Fixture::new();
    let (ours, mut peer) = pair();
    let fd = ours.as_raw_fd();
    f.add(&ours, Interest::READ, 'r');
    assert_eq!(f.ready(), []);
    f.add(&ours, Interest::WRITE, 'w');
    f.add(&ours, Interest::BOTH, 'b');
    assert_eq!(f.watches.len(), 1);
    assert_eq!(
        f.ready(),
        [(fd, 'b', Interest::WRITE), (fd, 'w', Interest::WRITE)]
    );
    peer.write_all(b"x").unwrap();
    let all = [
        (fd, 'b', Interest::BOTH),
        (fd, 'r', Interest::READ),
        (fd, 'w', Interest::WRITE),
    ];
    assert_eq!(f.ready(), all);
    assert_eq!(f.ready(), all, "level-triggered: reported again");
    f.remove(&ours, 'b');
    f.remove(&ours, 'w');
    assert_eq!(f.ready(), [(fd, 'r', Interest::READ)]);
    f.remove(&ours, '?');
    f.remove(&ours, 'r');
    assert!(f.watches.is_empty());
    assert_eq!(f.ready(), []);
}

#[test]
fn adding_a_key_again_changes_its_interest() {
    let mut f = Fixture::new();
    let (ours, _peer) = pair();
    f.add(&ours, Interest::READ, 'k');
    f.add(&ours, Interest::WRITE, 'k');
    assert_eq!(f.ready(), [(ours.as_raw_fd(), 'k', Interest::WRITE)]);
    f.add(&ours, Interest::READ, 'k');
    assert_eq!(f.ready(), []);
    f.remove(&ours, 'k');
    assert!(f.watches.is_empty());
}

#[test]
fn a_hang_up_is_ready_for_all_that_was_asked() {
    let mut f = Fixture::new();
    let (ours, peer) = pair();
    f.add(&ours, Interest::READ, 'r');
    f.add(&ours, Interest::BOTH, 'b');
    drop(peer);
    let fd = ours.as_raw_fd();
    assert_eq!(
        f.ready(),
        [(fd, 'b', Interest::BOTH), (fd, 'r', Interest::READ)]
    );

    let (reader, writer) = std::io::pipe().unwrap();
    let mut f = Fixture::new();
    f.add(&writer, Interest::WRITE, 'w');
    drop(reader);
    assert_eq!(f.ready(), [(writer.as_raw_fd(), 'w', Interest::WRITE)]);
}

#[test]
fn a_number_opened_again_is_registered_again() {
    let mut f = Fixture::new();
    let (ours, _peer) = pair();
    let (other, mut other_peer) = pair();
    let mut fd = OwnedFd::from(ours);
    f.add(&fd, Interest::READ, 'a');
    // One step that closes the number and opens the other socket under it.
    rustix::io::dup2(&other, &mut fd).unwrap();
    other_peer.write_all(b"x").unwrap();
    assert_eq!(
        f.ready(),
        [],
        "the kernel forgot the number when it was closed"
    );
    f.add(&fd, Interest::READ, 'b');
    let n = fd.as_raw_fd();
    assert_eq!(
        f.ready(),
        [(n, 'a', Interest::READ), (n, 'b', Interest::READ)]
    );
}

#[test]
fn a_removal_registers_the_rest_under_an_opened_number() {
    let mut f = Fixture::new();
    let (ours, _peer) = pair();
    let (other, mut other_peer) = pair();
    let mut fd = OwnedFd::from(ours);
    f.add(&fd, Interest::READ, 'a');
    f.add(&fd, Interest::WRITE, 'b');
    rustix::io::dup2(&other, &mut fd).unwrap();
    other_peer.write_all(b"x").unwrap();
    f.remove(&fd, 'b');
    assert_eq!(f.ready(), [(fd.as_raw_fd(), 'a', Interest::READ)]);
    rustix::io::dup2(&other_peer, &mut fd).unwrap();
    f.remove(&fd, 'a');
    assert!(f.watches.is_empty());
}

#[test]
fn a_closed_descriptor_is_an_error_to_add_and_none_to_remove() {
    let mut f = Fixture::new();
    let (ours, _peer) = pair();
    // A high number, which no other test takes meanwhile.
    let high = rustix::io::fcntl_dupfd_cloexec(&ours, 900).unwrap();
    let fd = high.as_raw_fd();
    f.add(&high, Interest::READ, 'a');
    drop(high);
    let error = f.watches.add(&f.epoll, fd, Interest::WRITE, 'b');
    assert_eq!(error.unwrap_err().raw_os_error(), Some(libc::EBADF));
    assert_eq!(f.watches.len(), 1, "the older watch is untouched");
    f.remove(&fd, 'a');
    assert!(f.watches.is_empty());
    let error = f.watches.add(&f.epoll, -1, Interest::READ, 'c');
    assert_eq!(error.unwrap_err().raw_os_error(), Some(libc::EBADF));
    assert!(f.watches.is_empty());
}

#[test]
fn an_orphan_is_recognised_and_got_rid_of() {
    let mut f = Fixture::new();
    let (ours, mut peer) = pair();
    let (kept, mut kept_peer) = pair();
    let high = rustix::io::fcntl_dupfd_cloexec(&ours, 950).unwrap();
    f.add(&high, Interest::READ, 'a');
    f.add(&kept, Interest::READ, 'k');
    let fd = high.as_raw_fd();
    drop(high);
    f.remove(&fd, 'a');
    peer.write_all(b"x").unwrap();
    // `ours` keeps the file open, so the closed number is reported.
    let mut buf = EventBuffer::new();
    f.epoll.wait(&mut buf, Some(Duration::ZERO)).unwrap();
    let (token, flags) = buf.iter().next().expect("an orphan");
    assert_eq!(token, fd as u64);
    assert_eq!(f.watches.ready(fd, flags).count(), 0);
    f.epoll = Epoll::new().unwrap();
    assert!(f.watches.rearm_all(&f.epoll).is_empty());
    f.epoll.wait(&mut buf, Some(Duration::ZERO)).unwrap();
    assert!(buf.is_empty());
    kept_peer.write_all(b"x").unwrap();
    assert_eq!(f.ready(), [(kept.as_raw_fd(), 'k', Interest::READ)]);
}

#[test]
fn a_regular_file_is_always_ready() {
    let mut f = Fixture::new();
    let file = File::open(std::env::current_exe().unwrap()).unwrap();
    assert!(!f.watches.has_always_ready());
    f.add(&file, Interest::READ, 'a');
    f.add(&file, Interest::BOTH, 'b');
    assert!(f.watches.has_always_ready());
    let mut ready: Vec<_> = f.watches.always_ready().collect();
    ready.sort_by_key(|&(key, _)| key);
    assert_eq!(ready, [('a', Interest::READ), ('b', Interest::BOTH)]);
    f.remove(&file, 'b');
    assert!(f.watches.has_always_ready());

    let fresh = Epoll::new().unwrap();
    assert!(f.watches.rearm_all(&fresh).is_empty());
    assert!(f.watches.has_always_ready());

    // The number comes to mean a socket, which does block.
    let (socket, _peer) = pair();
    let mut fd = OwnedFd::from(file);
    rustix::io::dup2(&socket, &mut fd).unwrap();
    f.add(&fd, Interest::READ, 'b');
    assert!(!f.watches.has_always_ready());
    assert_eq!(f.ready(), []);
    f.remove(&fd, 'a');
    f.remove(&fd, 'b');
    assert!(f.watches.is_empty());
}

#[test]
fn removing_the_last_watch_of_a_file_forgets_it() {
    let mut f = Fixture::new();
    let file = File::open(std::env::current_exe().unwrap()).unwrap();
    f.add(&file, Interest::READ, 'a');
    f.remove(&file, 'a');
    assert!(!f.watches.has_always_ready());
    assert_eq!(f.watches.always_ready().count(), 0);
}

#[test]
fn asking_for_nothing_is_an_error() {
    let mut f = Fixture::new();
    let (ours, _peer) = pair();
    let error = f
        .watches
        .add(&f.epoll, ours.as_raw_fd(), Interest::EMPTY, 'a');
    assert_eq!(error.unwrap_err().raw_os_error(), Some(libc::EINVAL));
    assert!(f.watches.is_empty());
    assert_eq!(Interest::from_bits(0xff), Interest::BOTH);
}

#[test]
fn rearm_all_asks_for_what_is_left() {
    let mut f = Fixture::new();
    let (ours, _peer) = pair();
    f.add(&ours, Interest::READ, 'r');
    f.add(&ours, Interest::WRITE, 'w');
    f.remove(&ours, 'w');
    f.epoll = Epoll::new().unwrap();
    assert!(f.watches.rearm_all(&f.epoll).is_empty());
    let mut buf = EventBuffer::new();
    f.epoll.wait(&mut buf, Some(Duration::ZERO)).unwrap();
    assert!(buf.is_empty(), "nobody asks for writing any more");
}

#[test]
fn rearm_all_reports_what_is_closed() {
    let mut f = Fixture::new();
    let (ours, _peer) = pair();
    let high = rustix::io::fcntl_dupfd_cloexec(&ours, 980).unwrap();
    let fd = high.as_raw_fd();
    f.add(&high, Interest::READ, 'a');
    f.add(&ours, Interest::WRITE, 'b');
    drop(high);
    f.epoll = Epoll::new().unwrap();
    let failures = f.watches.rearm_all(&f.epoll);
    assert_eq!(failures.len(), 1);
    assert_eq!(failures[0].0, fd);
    assert_eq!(failures[0].1.raw_os_error(), Some(libc::EBADF));
    assert_eq!(f.ready(), [(ours.as_raw_fd(), 'b', Interest::WRITE)]);
}
