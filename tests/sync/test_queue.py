"""Queues: order, waiting, time limits, hooks, shutting, and programs made at random."""

import heapq
import queue as stdlib
import random
import threading
import time
import types
import warnings
import weakref

import pytest

import gevent
from gevent import queue
from gevent.exceptions import BlockingSwitchOutError, LoopExit

FIFO = [queue.SimpleQueue, queue.Queue]
QUEUES = [*FIFO, queue.LifoQueue, queue.PriorityQueue]
EVERY = [*QUEUES, queue.Channel]


def full(kind):
    """A queue in which nothing can be put at once."""
    return kind() if kind is queue.Channel else kind(1, [0])


def in_hub(function):
    """Return the result or the error of `function` when the hub calls it."""
    result = []

    def call():
        try:
            result.append(function())
        except Exception as error:
            result.append(type(error))

    gevent.get_hub().loop.run_callback(call)
    gevent.sleep(0.001)
    return result[0]


def waiting(function, *args, **kwargs):
    """A greenlet that waits in `function`."""
    greenlet = gevent.spawn(function, *args, **kwargs)
    gevent.sleep(0)
    assert not greenlet.ready()
    return greenlet


# Names


def test_names():
    assert queue.JoinableQueue is queue.Queue
    assert queue.Empty is stdlib.Empty
    assert queue.Full is stdlib.Full
    assert queue.ShutDown is getattr(stdlib, "ShutDown", queue.ShutDown)
    assert set(queue.__all__) == set(
        queue.__implements__ + queue.__extensions__ + queue.__imports__
    )
    assert issubclass(queue.LifoQueue, queue.Queue)
    assert issubclass(queue.Queue, queue.SimpleQueue)
    assert not issubclass(queue.Channel, queue.SimpleQueue)


@pytest.mark.parametrize("kind", EVERY)
def test_class_is_generic_and_weakly_referable(kind):
    assert isinstance(kind[int], types.GenericAlias)
    one = kind()
    assert weakref.ref(one)() is one
    assert one.hub is gevent.get_hub()


# Making


def test_maxsize():
    for nothing in (None, -1):
        assert queue.Queue(nothing).maxsize is None
    with pytest.warns(DeprecationWarning, match=r"Queue\(0\) now equivalent to Queue\(None\)"):
        assert queue.Queue(0).maxsize is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        queue.Queue()
    with pytest.raises(TypeError):
        queue.Queue("many")
    with pytest.raises(TypeError):
        queue.Queue(2.5)


def test_first_items_may_exceed_maxsize():
    one = queue.Queue(1, [1, 2, 3])
    assert one.full()
    assert one.unfinished_tasks == 3
    assert [one.get() for _ in range(3)] == [1, 2, 3]
    assert queue.Queue(None, (1, 2), 7).unfinished_tasks == 7


def test_unbound_queue():
    one = queue.UnboundQueue(items=[1])
    one.put(2)
    assert list(one.queue) == [1, 2]
    with pytest.raises(ValueError, match="no maxsize"):
        queue.UnboundQueue(3)


@pytest.mark.parametrize("maxsize", [0, 2, None])
def test_channel_has_one_size(maxsize):
    queue.Channel(1)
    if maxsize is not None:
        with pytest.raises(ValueError, match="maxsize of 1"):
            queue.Channel(maxsize)


# Order


@pytest.mark.parametrize(
    ("kind", "order"),
    [
        (queue.SimpleQueue, [3, 1, 2, 0]),
        (queue.Queue, [3, 1, 2, 0]),
        (queue.LifoQueue, [0, 2, 1, 3]),
        (queue.PriorityQueue, [0, 1, 2, 3]),
    ],
)
@pytest.mark.parametrize("looked", [False, True])
def test_order(kind, order, looked):
    one = kind()
    for item in (3, 1, 2, 0):
        one.put(item)
        if looked:
            assert item in one.queue
    for item in order:
        assert one.peek() == one.peek_nowait() == item
        assert one.get() == item
    assert one.empty()


def test_priority_queue_is_heapq():
    rng = random.Random(1)

    class Item:
        def __init__(self, rank, name):
            self.rank, self.name = rank, name

        def __lt__(self, other):
            return self.rank < other.rank

    one, model = queue.PriorityQueue(), []
    for name in range(2000):
        if model and rng.random() < 0.45:
            assert one.get().name == heapq.heappop(model).name
        else:
            item = Item(rng.randrange(20), name)
            one.put(item)
            heapq.heappush(model, item)
        assert [item.name for item in one.queue] == [item.name for item in model]


def test_failing_comparison_changes_nothing():
    one = queue.PriorityQueue(None, range(10))
    before = list(one.queue)
    with pytest.raises(TypeError):
        one.put("ten")
    assert one.queue == before
    assert one.unfinished_tasks == 10
    one.queue[-1] = "ten"
    before = list(one.queue)
    with pytest.raises(TypeError):
        one.get()
    assert one.queue == before


def test_comparison_that_switches():
    class Slow(int):
        def __lt__(self, other):
            gevent.sleep(0)
            return int(self) < int(other)

    one = queue.PriorityQueue()
    numbers = list(range(60))
    random.Random(2).shuffle(numbers)
    putters = [gevent.spawn(one.put, Slow(number)) for number in numbers]
    gevent.joinall(putters, raise_error=True)
    assert [one.get() for _ in numbers] == sorted(numbers)


def test_comparison_that_changes_the_queue():
    class Greedy(int):
        def __lt__(self, other):
            one.queue.append(self)
            return True

    one = queue.PriorityQueue(None, [1])
    with pytest.raises(RuntimeError, match="changed"):
        one.put(Greedy(0))


# Waiting


@pytest.mark.parametrize("kind", EVERY)
def test_nothing_to_get(kind):
    for get in ("get", "peek") if kind is not queue.Channel else ("get",):
        call = getattr(kind(), get)
        for args in ((False,), (True, 0), (True, 0.001), (False, -1)):
            with pytest.raises(queue.Empty):
                call(*args)
        with pytest.raises(queue.Empty):
            getattr(kind(), get + "_nowait")()
        with pytest.raises(LoopExit):
            call()
        with pytest.raises(TypeError):
            call(timeout="soon")


@pytest.mark.parametrize("kind", EVERY)
def test_no_room(kind):
    one = full(kind)
    assert one.full()
    for args in ((False,), (True, 0), (True, 0.001), (False, -1), (True, -1)):
        with pytest.raises(queue.Full):
            one.put(1, *args)
    with pytest.raises(queue.Full):
        one.put_nowait(1)
    with pytest.raises(LoopExit):
        one.put(1)
    with pytest.raises(TypeError):
        one.put(1, timeout="soon")
    assert one.qsize() == (0 if kind is queue.Channel else 1)


@pytest.mark.parametrize("kind", QUEUES)
def test_negative_timeout(kind):
    for call in (kind().get, kind().peek, lambda timeout: kind().put(1, timeout=timeout)):
        with pytest.raises(ValueError, match="'timeout' must be a non-negative number"):
            call(timeout=-1)
    assert kind(None, [1]).get(True, -1) == 1
    kind().put(1, False, -1)


@pytest.mark.parametrize("kind", EVERY)
def test_timeout_object_is_raised_itself(kind):
    for call in (kind().get, lambda timeout: full(kind).put(1, timeout=timeout)):
        timeout = gevent.Timeout(0.001)
        with pytest.raises(gevent.Timeout) as caught:
            call(timeout=timeout)
        assert caught.value is timeout
        assert not timeout.pending
        with pytest.raises(KeyError):
            call(timeout=gevent.Timeout(0.001, KeyError))


@pytest.mark.parametrize("kind", QUEUES)
def test_getters_are_served_in_order(kind):
    one, got = kind(), []
    getters = [waiting(lambda: got.append(one.get())) for _ in range(4)]
    for item in range(4):
        one.put(item)
    assert one.qsize() == 4
    gevent.joinall(getters)
    assert sorted(got) == [0, 1, 2, 3]
    if kind in FIFO:
        assert got == [0, 1, 2, 3]


@pytest.mark.parametrize("kind", QUEUES)
def test_putters_are_served_in_order(kind):
    one, put = kind(1, [0]), []
    putters = [waiting(lambda i=i: (one.put(i), put.append(i))) for i in range(1, 5)]
    assert [one.get(timeout=20) for _ in range(5)] == [0, 1, 2, 3, 4]
    gevent.joinall(putters)
    assert put == [1, 2, 3, 4]


@pytest.mark.parametrize("kind", QUEUES)
def test_peekers_take_nothing(kind):
    one, got = kind(), []
    greenlets = [waiting(lambda call=call: got.append(call())) for call in [one.peek, one.get] * 2]
    one.put(1)
    gevent.sleep(0)
    gevent.sleep(0)
    assert got == [1, 1]
    one.put(2)
    gevent.joinall(greenlets)
    assert got == [1, 1, 2, 2]
    assert one.empty()


def test_stolen_item_leaves_the_getter_in_its_place():
    one = queue.Queue()
    first, second = waiting(one.get), waiting(one.get)
    one.put(1)
    one.put(2)
    assert (one.get_nowait(), one.get_nowait()) == (1, 2)
    gevent.sleep(0)
    assert not first.ready()
    one.put(3)
    one.put(4)
    assert (first.get(), second.get()) == (3, 4)


def test_stolen_place_leaves_the_putter_in_its_place():
    one = queue.Queue(1, [0])
    first, second = waiting(one.put, 1), waiting(one.put, 2)
    assert one.get() == 0
    one.put_nowait(9)
    gevent.sleep(0)
    assert not first.ready()
    assert [one.get(timeout=20) for _ in range(3)] == [9, 1, 2]
    gevent.joinall([first, second])


def test_time_limit_covers_stolen_items():
    one = queue.Queue()

    def steal():
        while True:
            gevent.sleep(0.002)
            one.put(1)
            one.get_nowait()

    thief = gevent.spawn(steal)
    with gevent.Timeout(10), pytest.raises(queue.Empty):
        one.get(timeout=0.05)
    thief.kill()


@pytest.mark.parametrize("kind", QUEUES)
def test_killed_getter_passes_the_item_on(kind):
    one = kind()
    first, second = waiting(one.get), waiting(one.get)
    first.kill(block=False)
    one.put(1)
    assert second.get(timeout=20) == 1
    assert first.dead
    assert one.empty()


@pytest.mark.parametrize("kind", QUEUES)
def test_killed_putter_passes_the_place_on(kind):
    one = kind(1, [0])
    first, second = waiting(one.put, 1), waiting(one.put, 2)
    first.kill(block=False)
    assert one.get() == 0
    second.get(timeout=20)
    assert one.get_nowait() == 2
    assert one.empty()


@pytest.mark.parametrize("maxsize", [3, None])
def test_raised_maxsize_lets_putters_go_on(maxsize):
    one = queue.Queue(1, [0])
    putters = [waiting(one.put, item) for item in (1, 2)]
    one.maxsize = maxsize
    assert one.maxsize == maxsize
    gevent.joinall(putters, timeout=20, raise_error=True)
    assert list(one.queue) == [0, 1, 2]


def test_replaced_container_serves_getters():
    one = queue.Queue()
    getter = waiting(one.get)
    one.queue = type(one.queue)([5])
    assert getter.get(timeout=20) == 5


def test_container_is_live():
    one = queue.Queue(2)
    one.put(1)
    container = one.queue
    one.put(2)
    assert list(container) == [1, 2]
    container.appendleft(0)
    assert (len(one), one.full(), one.get()) == (3, True, 0)
    assert list(container) == [1, 2]


# In the hub


@pytest.mark.parametrize("kind", QUEUES)
def test_hub_does_not_wait(kind):
    assert in_hub(kind().get) is queue.Empty
    assert in_hub(kind().peek) is queue.Empty
    assert in_hub(lambda: full(kind).put(1, timeout=5)) is queue.Full
    if kind is not queue.SimpleQueue:
        assert in_hub(kind(None, [1]).join) is BlockingSwitchOutError


def test_hub_and_channel():
    assert in_hub(lambda: queue.Channel().put(1)) is queue.Full
    assert in_hub(queue.Channel().get_nowait) is queue.Empty
    assert in_hub(queue.Channel().get) is BlockingSwitchOutError


@pytest.mark.parametrize("kind", QUEUES)
def test_hub_gets_from_waiting_putters(kind):
    one = kind(1, [0])
    putters = [waiting(one.put, item) for item in (1, 2)]
    assert in_hub(lambda: [one.get_nowait() for _ in range(3)]) == [0, 1, 2]
    gevent.joinall(putters, timeout=20, raise_error=True)
    assert one.empty()
    if kind is not queue.SimpleQueue:
        assert one.unfinished_tasks == 3


@pytest.mark.parametrize("kind", QUEUES)
def test_hub_puts_for_waiting_getters(kind):
    one = kind(1)
    getters = [waiting(one.get) for _ in range(3)]

    def put():
        for item in range(4):
            one.put_nowait(item)
        return one.put_nowait(4)

    assert in_hub(put) is queue.Full
    assert sorted(getter.get(timeout=20) for getter in getters) in ([0, 1, 2], [1, 2, 3])
    assert one.qsize() == 1


# Iterating, copying, telling


@pytest.mark.parametrize("kind", EVERY)
def test_iteration_ends_at_stop_iteration(kind):
    one = kind()
    assert iter(one) is one

    def put():
        for item in (1, 2, StopIteration):
            one.put(item)

    if kind is queue.PriorityQueue:
        gevent.spawn(lambda: [one.put(item) for item in (1, 2)])
        assert [next(one), next(one)] == [1, 2]
        one.put(StopIteration)
        assert list(one) == []
    elif kind is queue.LifoQueue:
        one.put(StopIteration)
        one.put(1)
        assert list(one) == [1]
    else:
        gevent.spawn(put)
        assert list(one) == [1, 2]


@pytest.mark.parametrize("kind", QUEUES)
def test_copy(kind):
    one = kind(5, [2, 1])
    other = one.copy()
    assert type(other) is kind
    assert other.maxsize == 5
    assert other.queue == one.queue
    other.put(0)
    assert (len(other), len(one)) == (3, 2)
    if kind is not queue.SimpleQueue:
        one.get()
        one.task_done()
        assert one.copy().unfinished_tasks == 1


@pytest.mark.parametrize("kind", QUEUES)
def test_truth_and_length(kind):
    assert kind()
    assert len(kind()) == kind().qsize() == 0
    assert len(kind(None, [1, 2])) == 2


def test_repr():
    one = queue.Queue(1, [1])
    at = f"at {id(one):#x}"
    assert repr(one) == f"<Queue {at} maxsize=1 queue=deque([1]) tasks=1>"
    assert str(one) == "<Queue maxsize=1 queue=deque([1]) tasks=1>"
    putter = waiting(one.put, 2)
    assert str(one) == "<Queue maxsize=1 queue=deque([1]) putters[1] tasks=1>"
    putter.kill()
    two = queue.SimpleQueue()
    getter = waiting(two.get)
    assert str(two) == "<SimpleQueue getters[1]>"
    getter.kill()
    assert str(two) == "<SimpleQueue>"
    assert str(queue.LifoQueue(None, [1])) == "<LifoQueue queue=[1] tasks=1>"
    assert str(queue.Channel()) == "<Channel >"


# Threads


@pytest.mark.parametrize("kind", [queue.SimpleQueue, queue.Channel])
def test_between_threads(kind):
    one, got = kind(), []

    def consume():
        got.extend(one.get(timeout=30) for _ in range(100))

    thread = threading.Thread(target=consume)
    thread.start()
    for item in range(100):
        one.put(item, timeout=30)
    while thread.is_alive():
        gevent.sleep(0.001)
    assert got == list(range(100))


def test_stdlib_pattern_of_work():
    """The example of the standard library's documentation."""
    one, done = queue.Queue(), []

    def work():
        while True:
            done.append(one.get())
            time.sleep(0)
            one.task_done()

    worker = gevent.spawn(work)
    for item in range(30):
        one.put(item)
    assert one.join(timeout=5)
    assert done == list(range(30))
    worker.kill()
