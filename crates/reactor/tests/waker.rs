//! Tests waking a loop from other threads.

use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use reactor::{Epoll, EventBuffer, EventFlags, Waker};

fn watched(waker: &Waker) -> Epoll {
    let epoll = Epoll::new().unwrap();
    epoll.add(waker.as_raw_fd(), EventFlags::IN, 1).unwrap();
    epoll
}

fn readable(epoll: &Epoll) -> bool {
    let mut buf = EventBuffer::new();
    epoll.wait(&mut buf, Some(Duration::ZERO)).unwrap();
    !buf.is_empty()
}

#[test]
fn repeated_wakes_are_one_write() {
    let waker = Waker::new().unwrap();
    for _ in 0..100 {
        waker.wake();
    }
    let mut count = [0u8; 8];
    rustix::io::read(&waker, &mut count).unwrap();
    assert_eq!(u64::from_ne_bytes(count), 1);
}

#[test]
fn wakes_again_after_a_drain() {
    let waker = Waker::new().unwrap();
    let epoll = watched(&waker);
    assert!(!readable(&epoll));
    for _ in 0..3 {
        waker.wake();
        waker.wake();
        assert!(readable(&epoll));
        waker.drain();
        assert!(!readable(&epoll));
        waker.drain();
    }
}

#[test]
fn no_wake_up_is_lost_between_threads() {
    const THREADS: usize = 4;
    const WAKES: usize = 5_000;
    let waker = Waker::new().unwrap();
    let epoll = watched(&waker);
    let work = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for n in 0..WAKES {
                    work.fetch_add(1, Ordering::Release);
                    waker.wake();
                    if n % 64 == 0 {
                        thread::yield_now();
                    }
                }
            });
        }
        let mut buf = EventBuffer::new();
        let mut done = 0;
        while done < THREADS * WAKES {
            epoll.wait(&mut buf, Some(Duration::from_secs(60))).unwrap();
            assert!(!buf.is_empty(), "slept over work: {done} done");
            waker.drain();
            done += work.swap(0, Ordering::Acquire);
        }
        assert_eq!(done, THREADS * WAKES);
    });
}
