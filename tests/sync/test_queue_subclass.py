"""Queues whose classes have a say; joining queues and shutting them."""

import pytest

import gevent
from gevent import queue

JOINABLE = [queue.Queue, queue.LifoQueue, queue.PriorityQueue]
QUEUES = [queue.SimpleQueue, *JOINABLE]


def waiting(function, *args, **kwargs):
    """A greenlet that waits in `function`."""
    greenlet = gevent.spawn(function, *args, **kwargs)
    gevent.sleep(0)
    assert not greenlet.ready()
    return greenlet


# Subclasses


@pytest.mark.parametrize("kind", QUEUES)
def test_hooks_are_called(kind):
    calls = []

    class Hooked(kind):
        def _init(self, maxsize, *items):
            calls.append("_init")
            super()._init(maxsize, *items)

        def _put(self, item):
            calls.append("_put")
            super()._put(item)

        def _get(self):
            calls.append("_get")
            return super()._get()

        def _peek(self):
            calls.append("_peek")
            return super()._peek()

    one = Hooked(1)
    one.put(1)
    assert one.peek() == 1
    putter = waiting(one.put, 2)
    assert one.get() == 1
    putter.get(timeout=20)
    assert one.get() == 2
    assert calls == ["_init", "_put", "_peek", "_get", "_put", "_get"]


def test_subclass_with_a_store_of_its_own():
    class Unique(queue.Queue):
        def _init(self, maxsize):
            self.items = {}

        def _qsize(self):
            return len(self.items)

        def _put(self, item):
            self.items[item] = None

        def _get(self):
            return self.items.popitem()[0]

    one = Unique(2)
    for item in "aab":
        one.put(item)
    assert one.full()
    assert len(one) == 2
    putter = waiting(one.put, "c")
    assert [one.get(timeout=20) for _ in range(3)] == ["b", "a", "c"]
    assert putter.ready()


def test_nowait_calls_the_subclass():
    class Counting(queue.Queue):
        calls = 0

        def get(self, block=True, timeout=None):
            Counting.calls += 1
            return super().get(block, timeout)

        def put(self, item, block=True, timeout=None):
            Counting.calls += 1
            return super().put(item, block, timeout)

    one = Counting()
    one.put_nowait(StopIteration)
    one.put_nowait(1)
    assert list(one) == []
    assert one.get_nowait() == 1
    assert Counting.calls == 4


def test_failing_hook_leaves_waiting_greenlets_served():
    class Fails(queue.Queue):
        fail = False

        def _put(self, item):
            if item == "bad":
                raise RuntimeError(item)
            super()._put(item)

    one = Fails(1, [0])
    bad, good = waiting(one.put, "bad"), waiting(one.put, "good")
    assert one.get() == 0
    with pytest.raises(RuntimeError):
        bad.get(timeout=20)
    assert one.get(timeout=20) == "good"
    good.get()


# Joining and shutting


def test_join():
    one = queue.Queue(None, [1, 2])
    assert one.join(timeout=0.001) is False
    assert one.join(timeout=gevent.Timeout(0.001)) is False
    joiner = waiting(one.join)
    one.get()
    one.get()
    one.task_done()
    assert not joiner.ready()
    one.task_done()
    assert joiner.get(timeout=20) is True
    assert one.join() is True
    with pytest.raises(ValueError, match="called too many times"):
        one.task_done()


@pytest.mark.parametrize("kind", JOINABLE)
def test_shutdown(kind):
    one = kind(1, [0])
    putter, joiner = waiting(one.put, 1), waiting(one.join)
    assert not one.is_shutdown
    one.shutdown()
    assert one.is_shutdown
    with pytest.raises(queue.ShutDown):
        putter.get(timeout=20)
    for call in (one.put, one.put_nowait):
        with pytest.raises(queue.ShutDown):
            call(1)
    assert one.get() == 0
    for call in (one.get, one.get_nowait, one.peek):
        with pytest.raises(queue.ShutDown):
            call()
    assert not joiner.ready()
    one.task_done()
    assert joiner.get(timeout=20)


@pytest.mark.parametrize("kind", JOINABLE)
def test_shutdown_immediate(kind):
    one = kind(2, [0, 1])
    putter, joiner = waiting(one.put, 2), waiting(one.join)
    one.shutdown(immediate=True)
    with pytest.raises(queue.ShutDown):
        putter.get(timeout=20)
    assert joiner.get(timeout=20)
    with pytest.raises(queue.ShutDown):
        one.get()
    with pytest.raises(ValueError, match="called too many times"):
        one.task_done()


@pytest.mark.parametrize("immediate", [False, True])
def test_shutdown_wakes_getters(immediate):
    one = queue.Queue()
    getters = [waiting(one.get), waiting(one.peek), waiting(one.get, timeout=60)]
    one.shutdown(immediate)
    for getter in getters:
        with pytest.raises(queue.ShutDown):
            getter.get(timeout=20)
