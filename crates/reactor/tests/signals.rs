//! Signals sent to the test process itself.

use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use reactor::{Epoll, EventBuffer, EventFlags, Waker, signals};
use rustix::process::{Signal, getpid, kill_process};

/// Dispositions are per process, so the tests that touch them take turns.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Subscription {
    waker: Waker,
    epoll: Epoll,
}

impl Subscription {
    fn new() -> Subscription {
        let waker = Waker::new().unwrap();
        let epoll = Epoll::new().unwrap();
        epoll.add(waker.as_raw_fd(), EventFlags::IN, 0).unwrap();
        signals::subscribe(waker.as_raw_fd());
        Subscription { waker, epoll }
    }

    /// Waits for the next wake-up, and returns its signals.
    fn next(&self) -> Vec<i32> {
        let mut buf = EventBuffer::new();
        while buf.is_empty() {
            match self.epoll.wait(&mut buf, Some(Duration::from_secs(60))) {
                Ok(()) => assert!(!buf.is_empty(), "not woken"),
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::Interrupted),
            }
        }
        self.waker.drain();
        signals::take_pending().collect()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        signals::unsubscribe(self.waker.as_raw_fd());
    }
}

fn send(signal: Signal) {
    kill_process(getpid(), signal).unwrap();
}

#[test]
fn a_signal_wakes_the_subscriber() {
    let _turn = turn();
    let subscription = Subscription::new();
    signals::watch(libc::SIGUSR1).unwrap();
    assert_eq!(signals::take_pending().count(), 0);
    for _ in 0..3 {
        send(Signal::USR1);
        assert_eq!(subscription.next(), [libc::SIGUSR1]);
        assert_eq!(signals::take_pending().count(), 0);
    }
    signals::unwatch(libc::SIGUSR1).unwrap();
}

#[test]
fn pending_signals_come_in_order_and_once() {
    let _turn = turn();
    for signo in [libc::SIGUSR1, libc::SIGUSR2, libc::SIGHUP] {
        signals::watch(signo).unwrap();
    }
    // SAFETY: raise has no precondition; the three signals are watched.
    unsafe {
        libc::raise(libc::SIGUSR2);
        libc::raise(libc::SIGHUP);
        libc::raise(libc::SIGUSR1);
        libc::raise(libc::SIGHUP);
    }
    // The signal came before the subscription: a late subscriber is notified as it subscribes.
    let subscription = Subscription::new();
    assert_eq!(
        subscription.next(),
        [libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2]
    );
    for signo in [libc::SIGUSR1, libc::SIGUSR2, libc::SIGHUP] {
        signals::unwatch(signo).unwrap();
    }
}

#[test]
fn the_last_unwatch_restores_the_disposition() {
    let _turn = turn();
    // SAFETY: ignoring a signal runs no code.
    unsafe { libc::signal(libc::SIGUSR2, libc::SIG_IGN) };
    let subscription = Subscription::new();
    signals::watch(libc::SIGUSR2).unwrap();
    signals::watch(libc::SIGUSR2).unwrap();
    signals::unwatch(libc::SIGUSR2).unwrap();
    send(Signal::USR2);
    assert_eq!(subscription.next(), [libc::SIGUSR2]);
    signals::unwatch(libc::SIGUSR2).unwrap();
    assert_eq!(disposition(libc::SIGUSR2), libc::SIG_IGN);
    let again = signals::unwatch(libc::SIGUSR2).unwrap_err();
    assert_eq!(again.raw_os_error(), Some(libc::EINVAL));
}

#[test]
fn a_disposition_set_by_others_meanwhile_stays() {
    let _turn = turn();
    signals::watch(libc::SIGWINCH).unwrap();
    assert_ne!(disposition(libc::SIGWINCH), libc::SIG_DFL);
    // SAFETY: ignoring a signal runs no code.
    unsafe { libc::signal(libc::SIGWINCH, libc::SIG_IGN) };
    signals::unwatch(libc::SIGWINCH).unwrap();
    assert_eq!(disposition(libc::SIGWINCH), libc::SIG_IGN);
}

fn disposition(signo: i32) -> libc::sighandler_t {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: a null new action only asks; the old one is written to `action`, valid as zeros too.
    unsafe {
        libc::sigaction(signo, std::ptr::null(), action.as_mut_ptr());
        action.assume_init().sa_sigaction
    }
}

#[test]
fn what_cannot_be_caught_is_refused() {
    for signo in [0, -1, i32::MIN, 65, i32::MAX, libc::SIGKILL, libc::SIGSTOP] {
        for result in [signals::watch(signo), signals::unwatch(signo)] {
            assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::EINVAL));
        }
    }
}

#[test]
fn a_wait_is_interrupted() {
    let _turn = turn();
    signals::watch(libc::SIGUSR1).unwrap();
    let epoll = Epoll::new().unwrap();
    let mut buf = EventBuffer::new();
    let done = AtomicBool::new(false);
    // SAFETY: has no precondition.
    let waiting = unsafe { libc::pthread_self() };
    let result = thread::scope(|scope| {
        scope.spawn(|| {
            // The signal is sent more than once, since the first may come before the wait.
            while !done.load(Ordering::Relaxed) {
                // SAFETY: the thread outlives this scope, and the signal is watched.
                unsafe { libc::pthread_kill(waiting, libc::SIGUSR1) };
                thread::sleep(Duration::from_millis(5));
            }
        });
        let result = epoll.wait(&mut buf, Some(Duration::from_secs(60)));
        done.store(true, Ordering::Relaxed);
        result
    });
    assert_eq!(result.unwrap_err().kind(), std::io::ErrorKind::Interrupted);
    assert!(buf.is_empty());
    signals::unwatch(libc::SIGUSR1).unwrap();
}
