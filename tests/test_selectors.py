"""gevent.selectors, and the selectors of a patched process."""

import socket as native

import pytest

import gevent
from gevent import selectors


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


@pytest.mark.parametrize("kind", ["DefaultSelector", "PollSelector", "SelectSelector"])
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
assert not hasattr(selectors, "EpollSelector")
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
            await asyncio.sleep(0.1)
            return await asyncio.to_thread(len, "abc")
        print(asyncio.run(main()), len(ticks))
        """
    )
    assert (result.stdout, result.stderr) == ("3 3\n", "")
