"""`gevent.select`: what is ready, who runs meanwhile, and what goes wrong."""

import os
import select as stdlib
import signal
import time
from functools import partial

import pytest

import gevent
from gevent import select, selectors, socket
from gevent.event import Event
from gevent.threadpool import ThreadPool


@pytest.fixture
def pipe():
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


@pytest.fixture
def pair():
    one, other = socket.socketpair()
    with one, other:
        yield one, other


@pytest.mark.parametrize("how", ["select", "poll"])
def test_what_a_watcher_takes_away_was_ready_all_the_same(pipe, how):
    # Whoever waits is to look what has become of it: so do libraries with descriptors of their own.
    reader, writer = pipe
    taken = []
    watcher = gevent.get_hub().loop.io(reader, 1)
    watcher.start(lambda: taken.append(os.read(reader, 10)))
    gevent.spawn(os.write, writer, b"x")
    if how == "select":
        assert select.select([reader], [], [], 20) == ([reader], [], [])
    else:
        asked = select.poll()
        asked.register(reader, select.POLLIN)
        assert asked.poll(20_000) == [(reader, select.POLLIN)]
    assert taken == [b"x"]
    watcher.close()


def test_names():
    assert set(select.__implements__) == {"epoll", "poll", "select"}
    assert select.EPOLLIN == stdlib.EPOLLIN
    assert select.POLLIN == stdlib.POLLIN
    assert select.error is OSError


# select


def test_what_is_ready_at_once(pair):
    one, other = pair
    assert select.select([one], [one], [], 0) == ([], [one], [])
    other.send(b"x")
    assert select.select([one], [one], [one]) == ([one], [one], [])
    assert select.select([one.fileno()], [], []) == ([one.fileno()], [], [])


def test_waiting_for_one_of_several(pipe, pair):
    reading, writing = pipe
    gevent.spawn_later(0.01, os.write, writing, b"x")
    assert select.select([pair[0], reading], [], [], 5) == ([reading], [], [])


def test_a_time_limit(pair):
    ran = []
    gevent.spawn(ran.append, 1)
    assert select.select([pair[0]], [], [], 0.01) == ([], [], [])
    assert ran == [1]
    assert select.select([], [], [], 0.001) == ([], [], [])


@pytest.mark.parametrize("timeout", [0, 1, None])
def test_a_loop_around_it_lets_others_run(pair, timeout):
    ran = []
    gevent.spawn(ran.append, 1)
    select.select([], [pair[0]], [], timeout)
    assert ran == [1]


def test_any_iterable(pair):
    assert select.select(iter([]), (file for file in pair), (), 0)[1] == list(pair)


def test_the_end_of_the_other_side_is_readable(pair):
    one, other = pair
    gevent.spawn_later(0.01, other.close)
    assert select.select([one], [], [], 5)[0] == [one]


def test_several_greenlets_select_the_same(pair):
    one, other = pair
    waiters = [gevent.spawn(select.select, [one], [], [], 5) for _ in range(3)]
    gevent.sleep(0.001)
    other.send(b"x")
    gevent.joinall(waiters, timeout=20)
    assert [waiter.value for waiter in waiters] == [([one], [], [])] * 3


def test_descriptors_above_those_of_select(pipe):
    # As a duplicate of its own: the C function itself cannot name it.
    high = os.dup2(pipe[0], 1500) if os.sysconf("SC_OPEN_MAX") > 1500 else None
    if high is None:
        pytest.skip("few descriptors")
    try:
        poller = select.poll()
        poller.register(high, select.POLLIN)
        gevent.spawn_later(0.01, os.write, pipe[1], b"x")
        assert poller.poll(5000) == [(high, select.POLLIN)]
    finally:
        os.close(high)


def test_select_refuses(pair):
    with pytest.raises(ValueError, match="timeout must be non-negative"):
        select.select([], [], [], -1)
    with pytest.raises(TypeError):
        select.select(["text"], [], [], 0)
    with pytest.raises(TypeError, match="fileno"):
        select.select([object()], [], [], 0)
    with pytest.raises(ValueError, match="negative"):
        select.select([-1], [], [], 0)
    number = pair[0].fileno()
    pair[0].close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        select.select([number], [], [], 0)


def test_a_gevent_timeout_ends_it(pair):
    with pytest.raises(gevent.Timeout):
        gevent.with_timeout(0.01, select.select, [pair[0]], [], [])
    pair[1].send(b"x")
    assert select.select([pair[0]], [], [])[0] == [pair[0]]


# poll


def test_poll(pair):
    one, other = pair
    poller = select.poll()
    poller.register(one, select.POLLIN)
    assert poller.poll(0) == []
    assert poller.poll(5) == []
    gevent.spawn_later(0.01, other.send, b"x")
    assert poller.poll() == [(one.fileno(), select.POLLIN)]
    poller.modify(one, select.POLLOUT)
    assert poller.poll(-1) == [(one.fileno(), select.POLLOUT)]
    poller.register(one)
    assert poller.poll() == [(one.fileno(), select.POLLIN | select.POLLOUT)]
    poller.unregister(one)
    assert poller.poll(0) == []
    with pytest.raises(KeyError):
        poller.unregister(one)


def test_poll_of_what_is_closed(pair):
    one, other = pair
    poller = select.poll()
    number = one.fileno()
    poller.register(number, select.POLLIN)
    other.close()
    assert poller.poll() == [(number, select.POLLIN | select.POLLHUP)]
    one.close()
    assert poller.poll() == [(number, select.POLLNVAL)]


def test_poll_tells_readers_of_the_end_of_a_pipe():
    reader, writer = os.pipe()
    os.close(writer)
    with os.fdopen(reader):
        poller = select.poll()
        poller.register(reader)
        assert poller.poll() == [(reader, select.POLLIN)]
        poller.modify(reader, 0)
        assert poller.poll() == [(reader, select.POLLHUP)]


def test_poll_refuses():
    poller = select.poll()
    with pytest.raises(ValueError, match="Invalid file object"):
        poller.register("text")
    with pytest.raises(ValueError, match="Invalid file descriptor"):
        poller.register(-1)
    with pytest.raises(TypeError, match="integer"):
        poller.register(0, "text")


def test_poll_ignores_bits_that_poll_does_not_have(pair):
    one, _ = pair
    poller = select.poll()
    poller.register(one, select.POLLOUT | 1 << 20)
    assert poller.poll() == [(one.fileno(), select.POLLOUT)]
    poller.register(one, -1)
    assert [number for number, _ in poller.poll()] == [one.fileno()]


def test_poll_lets_others_run(pair):
    poller = select.poll()
    poller.register(pair[0], select.POLLOUT)
    ran = []
    gevent.spawn(ran.append, 1)
    poller.poll(0)
    assert ran == [1]


# Signals


@pytest.fixture
def alarms():
    """Raises SIGALRM all the time; the list that it returns has what the handler is to do next."""
    orders = []
    before = signal.signal(signal.SIGALRM, lambda *_: orders.pop()() if orders else None)
    signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
    yield orders
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def waits(reader):
    """The ways to wait for a descriptor, each called with seconds."""
    asked = select.poll()
    asked.register(reader, select.POLLIN)
    with select.epoll() as epoll, selectors.GeventSelector() as selector:
        epoll.register(reader, select.EPOLLIN)
        selector.register(reader, selectors.EVENT_READ)
        yield lambda seconds: select.select([reader], [], [], seconds) == ([], [], [])
        yield lambda seconds: asked.poll(seconds * 1000) == []
        yield lambda seconds: epoll.poll(seconds) == []
        yield lambda seconds: selector.select(seconds) == []


def test_a_signal_that_is_handled_ends_no_wait(pipe, alarms):
    for wait in waits(pipe[0]):
        began = time.monotonic()
        for _ in range(2000):
            assert wait(0)
        assert wait(0.05)
        assert time.monotonic() - began >= 0.05


def test_a_signal_whose_handler_raises_ends_a_wait(pipe, alarms):
    def fail():
        raise LookupError("from the handler")

    for wait in waits(pipe[0]):

        def wait_and_fail(wait=wait):
            alarms.append(fail)
            wait(20)

        with pytest.raises(LookupError):
            wait_and_fail()


# Timeouts


@pytest.mark.parametrize(
    ("timeout", "error"),
    [
        (float("nan"), ValueError),
        (float("inf"), OverflowError),
        (-float("inf"), OverflowError),
        (10**30, OverflowError),
        ("1", TypeError),
        ([], TypeError),
        (1j, TypeError),
    ],
)
def test_a_timeout_that_is_none_is_refused_as_by_the_standard_library(pipe, timeout, error):
    for module in (stdlib, select):
        asked = module.poll()
        asked.register(pipe[0], module.POLLIN)
        with module.epoll() as epoll:
            epoll.register(pipe[0], module.EPOLLIN)
            for call in (
                partial(module.select, [pipe[0]], [], []),
                asked.poll,
                epoll.poll,
            ):
                with pytest.raises(error):
                    call(timeout)


# Closing


@pytest.mark.parametrize("how", ["select", "poll"])
def test_a_descriptor_that_is_closed_behind_our_back_is_not_ready(pipe, how):
    reader, writer = os.pipe()
    gevent.spawn(os.close, reader)
    asked = select.poll()
    asked.register(reader, select.POLLIN)
    asked.register(pipe[0], select.POLLIN)
    try:
        if how == "select":
            assert select.select([reader, pipe[0]], [], [], 0.05) == ([], [], [])
        else:
            assert asked.poll(50) == []
            assert asked.poll(50) == [(reader, select.POLLNVAL)]
    finally:
        os.close(writer)


def test_a_closed_descriptor_does_not_hide_the_others(pipe):
    reader, writer = os.pipe()
    gevent.spawn(os.close, reader)
    gevent.spawn_later(0.02, os.write, pipe[1], b"x")
    try:
        assert select.select([reader, pipe[0]], [], [], 20) == ([pipe[0]], [], [])
    finally:
        os.close(writer)


def test_poll_modify_asks_for_what_is_registered(pipe):
    for module in (stdlib, select):
        asked = module.poll()
        with pytest.raises(FileNotFoundError):
            asked.modify(pipe[0], module.POLLIN)
        asked.register(pipe[0], module.POLLIN)
        asked.modify(pipe[0], 0)
        asked.unregister(pipe[0])
        with pytest.raises(FileNotFoundError):
            asked.modify(pipe[0], module.POLLIN)


# epoll


def test_epoll_lets_others_run(pipe):
    reader, writer = pipe
    with select.epoll() as asked:
        asked.register(reader, select.EPOLLIN)
        assert asked.poll(0) == []
        gevent.spawn_later(0.01, os.write, writer, b"x")
        assert asked.poll() == [(reader, select.EPOLLIN)]
        assert asked.poll(-1, 1) == [(reader, select.EPOLLIN)]
        os.read(reader, 1)
        asked.modify(reader, select.EPOLLIN | select.EPOLLET)
        gevent.spawn_later(0.01, os.write, writer, b"y")
        assert asked.poll(20) == [(reader, select.EPOLLIN)]
        assert asked.poll(0.01) == []
        asked.unregister(reader)
        with pytest.raises(FileNotFoundError):
            asked.unregister(reader)
        with pytest.raises(ValueError, match="maxevents"):
            asked.poll(0, 0)
        other = select.epoll.fromfd(os.dup(asked.fileno()))
        with pytest.raises(FileNotFoundError):
            other.modify(reader, 0)
        other.close()
    assert asked.closed
    asked.close()
    with pytest.raises(ValueError, match="closed"):
        asked.poll(0)
    with pytest.raises(ValueError, match="closed"), asked:
        pass


def test_each_event_of_epoll_goes_to_one_greenlet(pipe):
    reader, writer = pipe
    with select.epoll() as asked:
        asked.register(reader, select.EPOLLIN | select.EPOLLET)
        waiting = [gevent.spawn(asked.poll, 0.2) for _ in range(2)]
        gevent.sleep(0)
        os.write(writer, b"x")
        gevent.joinall(waiting)
        assert sorted(len(greenlet.value) for greenlet in waiting) == [0, 1]


def test_closing_epoll_ends_its_polls(pipe):
    asked = select.epoll()
    asked.register(pipe[0], select.EPOLLIN)
    waiting = gevent.spawn(asked.poll)
    gevent.sleep(0)
    asked.close()
    with pytest.raises(ValueError, match="closed"):
        waiting.get(timeout=20)


def test_closing_epoll_ends_the_polls_of_other_threads(pipe):
    asked = select.epoll()
    asked.register(pipe[0], select.EPOLLIN)
    pool = ThreadPool(1)
    began = Event()
    loop = gevent.get_hub().loop

    def poll():
        loop.run_callback_threadsafe(began.set)
        asked.poll()

    try:
        waiting = pool.spawn(poll)
        began.wait()
        # The thread may not be in the poll yet, which makes no difference to what it raises.
        gevent.sleep(0.05)
        asked.close()
        with pytest.raises(ValueError, match="closed"):
            waiting.get(timeout=20)
    finally:
        pool.kill()


@pytest.mark.parametrize("module", [stdlib, select])
def test_a_timeout_of_epoll_that_is_too_long(module, pipe):
    with module.epoll() as asked:
        asked.register(pipe[1], select.EPOLLOUT)
        assert asked.poll(2_147_483) == [(pipe[1], select.EPOLLOUT)]
        for timeout in (2_147_484, 3e9, float("inf")):
            with pytest.raises(OverflowError):
                asked.poll(timeout)
