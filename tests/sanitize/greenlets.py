"""Thousands of greenlets that are spawned, killed, timed out and woken, and what they wait for."""

import gc

import gevent
from gevent.event import AsyncResult, Event
from gevent.local import local
from gevent.lock import BoundedSemaphore, RLock
from gevent.pool import Group, Pool
from gevent.queue import Channel, Empty, PriorityQueue, Queue

ROUNDS = 4
GREENLETS = 200


def killed() -> None:
    """Kill greenlets before their start, while they wait at some depth, and as they end."""

    def deep(depth: int) -> None:
        if depth:
            deep(depth - 1)
        gevent.sleep(1000)

    unstarted = [gevent.spawn(deep, 0) for _ in range(GREENLETS)]
    gevent.killall(unstarted)
    waiting = [gevent.spawn(deep, number % 15) for number in range(GREENLETS)]
    gevent.sleep(0)
    ended = []
    for task in waiting:
        task.link(ended.append)
    gevent.killall(waiting[::2], block=False)
    gevent.killall(waiting)
    gevent.sleep(0)
    assert all(task.dead for task in unstarted + waiting)
    assert len(ended) == GREENLETS


def timed() -> None:
    """Let timeouts end waits of every kind, and cancel others before they are due."""
    event, queue, lock = Event(), Queue(), BoundedSemaphore(1)
    lock.acquire()

    def wait(number: int) -> None:
        with gevent.Timeout(1000):
            assert not event.wait(0.001)
            assert not lock.acquire(timeout=0.001)
            with gevent.Timeout(0.001, False):
                queue.get()
                raise AssertionError("an empty queue gave an item")

    gevent.joinall([gevent.spawn(wait, number) for number in range(GREENLETS)], raise_error=True)


def handed_over() -> None:
    """Pass items through queues and a channel, some of whose getters are killed."""
    for line in (Queue(3), PriorityQueue(), Channel()):
        received = []

        def get(line=line, received=received) -> None:
            while True:
                received.append(line.get())

        getters = [gevent.spawn(get) for _ in range(5)]
        gevent.sleep(0)
        getters.pop().kill()
        for number in range(GREENLETS):
            line.put(number)
        gevent.sleep(0.001)
        gevent.killall(getters)
        assert sorted(received) == list(range(GREENLETS))
    try:
        Queue().get_nowait()
    except Empty:
        pass
    else:
        raise AssertionError("an empty queue gave an item")


def shared() -> None:
    """Use results, locks, pools and greenlet-local data from many greenlets at once."""
    result, lock, data = AsyncResult(), RLock(), local()

    def work(number: int) -> int:
        data.number = number
        with lock, lock:
            gevent.sleep(0)
        return result.get() + data.number

    tasks = Group()
    working = [tasks.spawn(work, number) for number in range(GREENLETS)]
    gevent.sleep(0)
    result.set(1)
    tasks.join()
    assert [task.value for task in working] == [number + 1 for number in range(GREENLETS)]
    assert sorted(Pool(7).imap_unordered(abs, range(-GREENLETS, 0))) == [*range(1, GREENLETS + 1)]


for _ in range(ROUNDS):
    killed()
    timed()
    handed_over()
    shared()
    gc.collect()
print("greenlets: passed")
