"""`gevent.select`: what is ready, who runs meanwhile, and what goes wrong."""

import os
import select as stdlib

import pytest

import gevent
from gevent import select, socket


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
    assert set(select.__implements__) == {"poll", "select"}
    assert select.epoll is stdlib.epoll
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
    gevent.joinall(waiters, timeout=5)
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
