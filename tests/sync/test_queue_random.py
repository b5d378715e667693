"""Queues under programs made at random, and their memory."""

import gc
import heapq
import random
import sys
import weakref

import pytest

import gevent
from gevent import queue

QUEUES = [queue.SimpleQueue, queue.Queue, queue.LifoQueue, queue.PriorityQueue]
EVERY = [*QUEUES, queue.Channel]


class Model:
    """The items that the queue must hold, from the moments at which calls return."""

    def __init__(self, kind):
        self.kind, self.items = kind, []

    def put(self, item):
        if self.kind is queue.PriorityQueue:
            heapq.heappush(self.items, item)
        else:
            self.items.append(item)

    def next(self):
        return self.items[-1 if self.kind is queue.LifoQueue else 0]

    def got(self, item):
        assert item == self.next()
        if self.kind is queue.PriorityQueue:
            heapq.heappop(self.items)
        else:
            self.items.remove(item)


@pytest.mark.parametrize("kind", QUEUES)
@pytest.mark.parametrize("maxsize", [None, 1, 3])
@pytest.mark.parametrize("seed", range(6))
def test_random_programs(kind, maxsize, seed):
    rng = random.Random(f"{kind.__name__} {maxsize} {seed}")
    one, model = kind(maxsize), Model(kind)
    numbers = iter(range(10**9))

    def act():
        limit = rng.choice([None, None, 0, 0.0005, 0.002])
        inner = rng.choice([None, 0, 0.0005, 0.002])
        action = rng.random()
        with gevent.Timeout(inner, False):
            if action < 0.45:
                item = (rng.random(), next(numbers))
                try:
                    one.put(item, rng.random() < 0.8, limit)
                except queue.Full:
                    return
                model.put(item)
            elif action < 0.9:
                try:
                    item = one.get(rng.random() < 0.8, limit)
                except queue.Empty:
                    return
                model.got(item)
            else:
                try:
                    item = one.peek(rng.random() < 0.8, limit)
                except queue.Empty:
                    return
                assert item == model.next()

    alive = []
    for _ in range(600):
        alive.append(gevent.spawn(act))
        chance = rng.random()
        if chance < 0.2:
            alive.pop(rng.randrange(len(alive))).kill(block=False)
        elif chance < 0.5:
            gevent.sleep(rng.choice([0, 0, 0.0003]))
        alive = [greenlet for greenlet in alive if not greenlet.ready()]
    while alive:
        gevent.killall(alive[::2], block=False)
        gevent.sleep(0)
        alive = [greenlet for greenlet in alive if not greenlet.ready()]
    assert len(one) == len(model.items)
    while model.items:
        model.got(one.get_nowait())
    assert "getters" not in str(one)
    assert "putters" not in str(one)


# Memory


def churn(kind):
    one = kind() if kind is queue.Channel else kind(2)

    def produce():
        for item in range(200):
            one.put(item)

    def consume():
        for _ in range(200):
            one.get()

    gevent.joinall([gevent.spawn(produce), gevent.spawn(consume)], raise_error=True)
    for _ in range(20):
        killed = [gevent.spawn(one.get) for _ in range(3)]
        gevent.sleep(0)
        with pytest.raises(queue.Empty):
            one.get(timeout=0)
        gevent.killall(killed)
    return one


@pytest.mark.parametrize("kind", EVERY)
def test_memory_does_not_grow(kind):
    for _ in range(3):
        churn(kind)
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(10):
        churn(kind)
    gc.collect()
    assert sys.getallocatedblocks() - before < 200


@pytest.mark.parametrize("kind", EVERY)
def test_cycles_are_collected(kind):
    class Item:
        def __lt__(self, other):
            return False

    one, item = kind(), Item()
    item.queue = one
    if kind is queue.Channel:
        gevent.spawn(one.get)
        gevent.sleep(0)
        one.put_nowait(item)
    else:
        one.put(item)
    gone = weakref.ref(item)
    gevent.sleep(0)
    del one, item
    gc.collect()
    assert gone() is None
