"""Waits in native threads: other threads end them, and what an ended thread leaves is passed on."""

import threading
import time

import pytest

import gevent
from gevent.event import AsyncResult, Event
from gevent.lock import BoundedSemaphore, RLock, Semaphore
from gevent.monkey import get_original
from gevent.pool import Pool
from gevent.queue import Channel, LifoQueue, PriorityQueue, Queue, SimpleQueue

start_thread = get_original("_thread", "start_new_thread")


def full():
    queue = Queue(1)
    queue.put(0)
    return queue


def busy():
    queue = Queue()
    queue.put(0)
    return queue


def finish(queue):
    queue.get()
    queue.task_done()


def held():
    lock = RLock()
    lock.acquire()
    return lock


def full_pool():
    pool = Pool(1)
    pool.spawn(gevent.sleep, 0.2)
    return pool


def sleeper():
    return gevent.spawn(gevent.sleep, 0.2)


def nothing(_):
    pass


#: The object, the wait of the thread for it, and the call of the main thread that ends it.
WAITS = {
    "Event.wait": (Event, lambda event: event.wait(), Event.set),
    "AsyncResult.get": (AsyncResult, lambda result: result.get(), lambda result: result.set(True)),
    "AsyncResult.wait": (AsyncResult, lambda result: result.wait(), lambda one: one.set(True)),
    "Semaphore.acquire": (lambda: Semaphore(0), Semaphore.acquire, Semaphore.release),
    "Semaphore.wait": (lambda: Semaphore(0), Semaphore.wait, Semaphore.release),
    "RLock.acquire": (held, lambda lock: lock.acquire(), RLock.release),
    "Queue.get": (Queue, lambda queue: queue.get(), lambda queue: queue.put(1)),
    "Queue.peek": (Queue, lambda queue: queue.peek(), lambda queue: queue.put(1)),
    "Queue.put": (full, lambda queue: queue.put(1) or True, lambda queue: queue.get()),
    "Queue.join": (busy, lambda queue: queue.join() is not False, finish),
    "Queue of no size": (lambda: Queue(0), lambda one: one.get(), lambda one: one.put(1)),
    "LifoQueue.get": (LifoQueue, lambda queue: queue.get(), lambda queue: queue.put(1)),
    "PriorityQueue.get": (PriorityQueue, lambda queue: queue.get(), lambda queue: queue.put(1)),
    "SimpleQueue.get": (SimpleQueue, lambda queue: queue.get(), lambda queue: queue.put(1)),
    "Channel.get": (Channel, lambda channel: channel.get(), lambda channel: channel.put(1)),
    "Channel.put": (Channel, lambda channel: channel.put(1) or True, lambda one: one.get()),
    "wait": (Event, lambda event: bool(gevent.wait([event])), Event.set),
    "iwait": (Event, lambda event: next(gevent.iwait([event])) is event, Event.set),
    "wait for a greenlet": (sleeper, lambda greenlet: bool(gevent.wait([greenlet])), nothing),
    "a greenlet's join": (sleeper, lambda greenlet: greenlet.join() or True, nothing),
    "a greenlet's get": (sleeper, lambda greenlet: greenlet.get() or True, nothing),
    "joinall": (sleeper, lambda greenlet: bool(gevent.joinall([greenlet])), nothing),
    "Pool.join": (full_pool, lambda pool: pool.join(), nothing),
    "its own greenlet's join": (
        Event,
        lambda event: gevent.spawn(event.wait).get(),
        Event.set,
    ),
}


@pytest.mark.filterwarnings("ignore:Queue.0. now equivalent:DeprecationWarning")
@pytest.mark.parametrize("where", ["thread", "pool"])
@pytest.mark.parametrize("kind", WAITS)
def test_a_wait_in_another_thread_is_no_deadlock(kind, where):
    make, wait, give = WAITS[kind]
    thing = make()
    begun, outcome = [], []

    def waiter():
        begun.append(True)
        try:
            outcome.append(wait(thing))
        except BaseException as error:
            outcome.append(error)

    if where == "thread":
        start_thread(waiter, ())
    else:
        gevent.get_hub().threadpool.spawn(waiter)
    with gevent.Timeout(20):
        while not begun:
            gevent.sleep(0.001)
        # Enough for the thread to find that nothing in its own loop could wake it.
        gevent.sleep(0.05)
        give(thing)
        while not outcome:
            gevent.sleep(0.001)
    assert outcome[0] in (True, 1)


def test_a_join_of_the_hub_ends_in_any_thread():
    outcome = []

    def waiter():
        gevent.spawn(gevent.sleep, 0.01)
        outcome.append(gevent.get_hub().join())

    thread = threading.Thread(target=waiter)
    thread.start()
    thread.join(20)
    assert outcome == [True]


def leave_behind(work, *, before=nothing):
    """Have a greenlet of a thread begin *work*, and let that thread end before it goes on."""
    parked, go = threading.Event(), threading.Event()

    def other():
        greenlets.append(gevent.spawn(work))
        gevent.sleep(0.01)
        parked.set()
        go.wait(20)

    greenlets = []
    thread = threading.Thread(target=other)
    thread.start()
    assert parked.wait(20)
    before(None)
    go.set()
    thread.join(20)
    assert not thread.is_alive()
    return greenlets[0]


@pytest.mark.parametrize("woken", [True, False], ids=["woken", "waiting"])
@pytest.mark.parametrize("make", [Semaphore, BoundedSemaphore, RLock])
def test_a_permit_is_not_lost_with_its_thread(make, woken):
    lock = make()
    lock.acquire()
    give = (lambda _: lock.release()) if woken else nothing
    first = gevent.spawn(lock.acquire, timeout=20)
    left = leave_behind(lock.acquire, before=lambda _: (gevent.sleep(0), give(None))[0])
    if not woken:
        lock.release()
    first.join(20)
    assert first.value
    assert left.dead
    block = getattr(lock, "_block", lock)
    assert block.linkcount() == 0


def test_a_greenlet_that_waits_behind_the_lost_one_is_woken():
    semaphore = Semaphore(0)
    later = []

    def give(_):
        later.append(gevent.spawn(semaphore.acquire, timeout=20))
        gevent.sleep(0)
        semaphore.release()

    leave_behind(semaphore.acquire, before=give)
    later[0].join(20)
    assert later[0].value


@pytest.mark.parametrize("make", [Queue, SimpleQueue, LifoQueue, PriorityQueue, lambda: Queue(0)])
@pytest.mark.filterwarnings("ignore:Queue.0. now equivalent:DeprecationWarning")
def test_an_item_is_not_lost_with_the_thread_of_its_getter(make):
    queue = make()
    later = []

    def give(_):
        later.append(gevent.spawn(queue.get, timeout=20))
        gevent.sleep(0)
        gevent.spawn(queue.put, 5)
        gevent.sleep(0)

    leave_behind(queue.get, before=give)
    later[0].join(20)
    assert later[0].value == 5
    assert queue.qsize() == 0


def test_a_place_is_not_lost_with_the_thread_of_its_putter():
    queue = Queue(1)
    queue.put(0)
    later = []

    def give(_):
        later.append(gevent.spawn(queue.put, 2, timeout=20))
        gevent.sleep(0)
        assert queue.get() == 0

    leave_behind(lambda: queue.put(1), before=give)
    later[0].get()
    assert queue.get(timeout=20) == 2
    assert queue.empty()


def test_an_item_of_a_channel_is_not_lost_with_the_thread_of_its_getter():
    channel = Channel()
    later = []

    def give(_):
        later.append(gevent.spawn(channel.get, timeout=20))
        gevent.sleep(0)
        later.append(gevent.spawn(channel.put, 5, timeout=20))
        gevent.sleep(0)

    leave_behind(channel.get, before=give)
    later[0].join(20)
    assert later[0].value == 5
    assert channel.balance == 0


@pytest.mark.parametrize("make", [Event, AsyncResult, lambda: Semaphore(0)])
def test_nobody_is_listed_whose_thread_has_ended(make):
    thing = make()
    wait = getattr(thing, "acquire", None) or thing.wait
    left = leave_behind(wait)
    assert left.dead
    assert thing.linkcount() == 0


def test_what_the_greenlets_of_an_ended_thread_hold_is_released():
    lock, never = Semaphore(1), Event()

    def holder():
        with lock:
            never.wait()

    leave_behind(holder)
    assert lock.acquire(timeout=20)


def test_a_greenlet_that_goes_on_at_the_end_of_its_thread_stops_there():
    never, reached = Event(), []

    def stubborn():
        while True:
            try:
                never.wait()
            except gevent.GreenletExit:
                reached.append(time.monotonic())

    leave_behind(stubborn)
    assert len(reached) >= 1
