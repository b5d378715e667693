//! Tests the descriptors of child processes, and their collection.

use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::time::Duration;

use reactor::{ChildFd, Epoll, EventBuffer, EventFlags, reap};

#[test]
#[expect(clippy::zombie_processes, reason = "collected by reap")]
fn is_readable_once_the_child_has_ended() {
    let mut child = Command::new("sh")
        .args(["-c", "read line; exit 7"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    let fd = ChildFd::open(pid).unwrap();
    let epoll = Epoll::new().unwrap();
    epoll.add(fd.as_raw_fd(), EventFlags::IN, 5).unwrap();
    let mut buf = EventBuffer::new();
    epoll.wait(&mut buf, Some(Duration::ZERO)).unwrap();
    assert!(buf.is_empty());
    assert_eq!(reap(pid).unwrap(), None);

    drop(child.stdin.take());
    epoll.wait(&mut buf, Some(Duration::from_secs(60))).unwrap();
    assert_eq!(buf.iter().map(|(token, _)| token).collect::<Vec<_>>(), [5]);
    let status = reap(pid).unwrap().expect("it has ended");
    assert!(libc::WIFEXITED(status));
    assert_eq!(libc::WEXITSTATUS(status), 7);
    let gone = reap(pid).unwrap_err();
    assert_eq!(gone.raw_os_error(), Some(libc::ECHILD));
}

#[test]
#[expect(clippy::zombie_processes, reason = "collected by reap")]
fn reports_the_signal_that_ended_a_child() {
    let mut child = Command::new("sh")
        .args(["-c", "read line"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    let fd = ChildFd::open(pid).unwrap();
    child.kill().unwrap();
    let epoll = Epoll::new().unwrap();
    epoll.add(fd.as_raw_fd(), EventFlags::IN, 0).unwrap();
    let mut buf = EventBuffer::new();
    epoll.wait(&mut buf, Some(Duration::from_secs(60))).unwrap();
    let status = reap(pid).unwrap().expect("it has ended");
    assert!(libc::WIFSIGNALED(status));
    assert_eq!(libc::WTERMSIG(status), libc::SIGKILL);
}

#[test]
fn refuses_what_is_not_a_process() {
    for pid in [0, -1, i32::MIN] {
        let opened = ChildFd::open(pid).unwrap_err();
        assert_eq!(opened.raw_os_error(), Some(libc::EINVAL));
        let reaped = reap(pid).unwrap_err();
        assert_eq!(reaped.raw_os_error(), Some(libc::EINVAL));
    }
    // Greater than any process number the kernel gives.
    let opened = ChildFd::open(i32::MAX).unwrap_err();
    assert_eq!(opened.raw_os_error(), Some(libc::ESRCH));
}
