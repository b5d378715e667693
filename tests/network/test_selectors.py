"""gevent.selectors, and the selectors of a patched process."""

import contextlib
import os
import socket as native

import pytest

import gevent
from gevent import select, selectors


@pytest.fixture
def pair():
    a, b = native.socketpair()
    with a, b:
        yield a, b


def test_select_blocks_only_the_greenlet(pair):
    a, b = pair
    with selectors.GeventSelector() as selector:
        key = selector.register(a, selectors.EVENT_READ, "data")
        assert selector.select(0) == []
        gevent.spawn(b.send, b"x")
        assert selector.select(10) == [(key, selectors.EVENT_READ)]
        assert selector.select(-1) == [(key, selectors.EVENT_READ)]
        a.recv(1)
        assert selector.select(0.001) == []
        key = selector.modify(a, selectors.EVENT_READ | selectors.EVENT_WRITE)
        assert selector.select() == [(key, selectors.EVENT_WRITE)]
        selector.unregister(a)
        with pytest.raises(KeyError):
            selector.unregister(a)


def test_bad_arguments(pair):
    a, _ = pair
    with selectors.DefaultSelector() as selector:
        with pytest.raises(ValueError, match="Invalid events"):
            selector.register(a, 0)
        with pytest.raises(ValueError, match="Invalid file descriptor"):
            selector.register(999_999, selectors.EVENT_READ)
        selector.register(a, selectors.EVENT_READ)
        with pytest.raises(KeyError):
            selector.register(a, selectors.EVENT_READ)


@pytest.mark.parametrize(
    "kind", ["DefaultSelector", "EpollSelector", "PollSelector", "SelectSelector"]
)
@pytest.mark.parametrize("first", ["import selectors", ""])
def test_selectors_of_a_patched_process(run_python, kind, first):
    result = run_python(
        f"""
{first}
from gevent import monkey; monkey.patch_all()
import selectors, socket, gevent
a, b = socket.socketpair()
with selectors.{kind}() as selector:
    selector.register(a, selectors.EVENT_READ)
    gevent.spawn(b.send, b"x")
    print(len(selector.select(10)))
"""
    )
    assert (result.stdout, result.stderr) == ("1\n", "")


def test_asyncio_runs_in_a_patched_process(run_python):
    result = run_python(
        """
        from gevent import monkey; monkey.patch_all()
        import asyncio, gevent
        ticks = []
        def tick():
            for _ in range(3):
                ticks.append(1)
                gevent.sleep(0.001)
        gevent.spawn(tick)
        async def main():
            while len(ticks) < 3:
                await asyncio.sleep(0.001)
            return await asyncio.to_thread(len, "abc")
        print(asyncio.run(main()), len(ticks))
        """
    )
    assert (result.stdout, result.stderr) == ("3 3\n", "")


@pytest.fixture
def pipes():
    ends = [os.pipe() for _ in range(3)]
    yield ends
    for pair in ends:
        for end in pair:
            with contextlib.suppress(OSError):
                os.close(end)


@pytest.mark.parametrize("timeout", [20, None])
@pytest.mark.parametrize("kind", [selectors.GeventSelector, selectors.EpollSelector])
def test_changes_of_the_registrations_count_during_select(pipes, timeout, kind, monkeypatch):
    monkeypatch.setattr(selectors.EpollSelector, "_selector_cls", select.epoll)
    with kind() as selector:
        selector.register(pipes[0][0], selectors.EVENT_READ)
        waiting = gevent.spawn(selector.select, timeout)
        gevent.sleep(0)
        selector.register(pipes[1][0], selectors.EVENT_READ)
        selector.unregister(pipes[0][0])
        os.write(pipes[0][1], b"x")
        gevent.sleep(0.01)
        assert not waiting.dead
        key = selector.register(pipes[2][0], selectors.EVENT_READ, "late")
        os.write(pipes[2][1], b"x")
        assert waiting.get(timeout=20) == [(key, selectors.EVENT_READ)]


def test_a_modified_registration_counts_during_select(pipes):
    with selectors.GeventSelector() as selector:
        selector.register(pipes[0][0], selectors.EVENT_READ)
        waiting = gevent.spawn(selector.select, 20)
        gevent.sleep(0)
        key = selector.modify(pipes[0][0], selectors.EVENT_WRITE)
        os.write(pipes[0][1], b"x")
        gevent.sleep(0.01)
        assert not waiting.dead
        key = selector.modify(pipes[0][0], selectors.EVENT_READ)
        assert waiting.get(timeout=20) == [(key, selectors.EVENT_READ)]


@pytest.mark.parametrize("timeout", [20, None])
def test_closing_ends_select(pipes, timeout):
    selector = selectors.GeventSelector()
    selector.register(pipes[0][0], selectors.EVENT_READ)
    waiting = gevent.spawn(selector.select, timeout)
    gevent.sleep(0)
    selector.close()
    assert waiting.get(timeout=20) == []
    with pytest.raises(ValueError, match="closed"):
        selector.select(0)
    selector.close()
