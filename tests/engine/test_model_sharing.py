"""Random kills and timeouts around locks and queues: nothing is lost or given twice."""

import random
import threading
from itertools import count

import pytest

import gevent
from gevent import GreenletExit, Timeout
from gevent.event import AsyncResult, Event
from gevent.lock import BoundedSemaphore, RLock, Semaphore
from gevent.queue import Channel, Empty, Full, LifoQueue, PriorityQueue, Queue, SimpleQueue

SEEDS = range(20)
LONG = 60


class Crowd:
    """Greenlets that do the same thing with one object, and one that troubles them."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.greenlets = []

    def limit(self):
        return self.random.choice((None, None, 0, 0.0001, 0.0005))

    def pause(self):
        gevent.sleep(self.random.choice((0, 0, 0.0001, 0.0003)))

    def trouble(self):
        for _ in range(self.random.randint(0, 40)):
            self.pause()
            gevent.kill(self.random.choice(self.greenlets))

    def run(self, work, size=12):
        self.greenlets = [gevent.spawn(work) for _ in range(size)]
        trouble = gevent.spawn(self.trouble)
        with Timeout(LONG):
            trouble.join()
            gevent.joinall(self.greenlets)
        for one in self.greenlets:
            one.get()


def stop_blocked(greenlets):
    """End greenlets that wait for what does not come any more."""
    gevent.sleep(0.002)
    gevent.killall(greenlets)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", [Semaphore, BoundedSemaphore])
def test_permits(kind, seed):
    crowd = Crowd(seed)
    permits = crowd.random.randint(1, 3)
    semaphore = kind(permits)
    held = 0

    def work():
        nonlocal held
        for _ in range(10):
            if not semaphore.acquire(timeout=crowd.limit()):
                continue
            held += 1
            assert held <= permits
            try:
                crowd.pause()
            finally:
                held -= 1
                semaphore.release()

    crowd.run(work)
    assert held == 0
    assert semaphore.counter == permits
    assert all(semaphore.acquire(blocking=False) for _ in range(permits))


@pytest.mark.parametrize("seed", SEEDS)
def test_reentrant_lock(seed):
    crowd = Crowd(seed)
    lock = RLock()
    owner = []

    def work():
        for _ in range(5):
            with lock:
                owner.append(gevent.getcurrent())
                with lock:
                    try:
                        crowd.pause()
                    finally:
                        assert owner == [gevent.getcurrent()]
                        owner.clear()

    crowd.run(work)
    assert lock.acquire(blocking=False)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("kind", "size"),
    [
        (SimpleQueue, None),
        *((k, n) for k in (Queue, LifoQueue, PriorityQueue) for n in (None, 1, 3)),
    ],
)
def test_items(kind, size, seed):
    crowd = Crowd(seed)
    queue = kind() if size is None else kind(size)
    numbers, put, got = count(), set(), []

    def produce():
        for _ in range(10):
            number = next(numbers)
            try:
                queue.put(number, timeout=crowd.limit())
            except Full:
                continue
            put.add(number)
            crowd.pause()

    def consume():
        for _ in range(10):
            try:
                got.append(queue.get(timeout=crowd.limit()))
            except Empty:
                continue
            crowd.pause()

    producers = [gevent.spawn(produce) for _ in range(6)]
    consumers = [gevent.spawn(consume) for _ in range(6)]
    crowd.greenlets = producers + consumers
    crowd.trouble()
    stop_blocked(crowd.greenlets)
    while not queue.empty():
        got.append(queue.get_nowait())
    assert len(got) == len(set(got))
    assert set(got) >= put
    # Whoever was killed after its item was taken in does not know.
    assert set(got) <= set(range(next(numbers)))


@pytest.mark.parametrize("seed", SEEDS)
def test_channel(seed):
    crowd = Crowd(seed)
    channel, numbers, put, got = Channel(), count(), set(), []

    def produce():
        for _ in range(10):
            number = next(numbers)
            try:
                channel.put(number, timeout=crowd.limit())
            except Full:
                continue
            put.add(number)

    def consume():
        for _ in range(10):
            try:
                got.append(channel.get(timeout=crowd.limit()))
            except Empty:
                continue
            crowd.pause()

    crowd.greenlets = [gevent.spawn(work) for work in (produce, consume) for _ in range(6)]
    crowd.trouble()
    stop_blocked(crowd.greenlets)
    assert len(got) == len(set(got))


@pytest.mark.parametrize("seed", SEEDS)
def test_events(seed):
    """After the last `set` everybody who waits goes on."""
    crowd = Crowd(seed)
    event = Event()
    results = []

    def work():
        for _ in range(10):
            results.append(event.wait(timeout=crowd.limit()))

    def flicker():
        for _ in range(30):
            event.set()
            crowd.pause()
            event.clear()
            crowd.pause()
        event.set()

    flickering = gevent.spawn(flicker)
    crowd.run(work)
    flickering.join()
    assert set(results) <= {True, False}
    assert not event.linkcount()


@pytest.mark.parametrize("seed", SEEDS)
def test_results(seed):
    crowd = Crowd(seed)
    result = AsyncResult()
    got = []

    def work():
        try:
            got.append(result.get(timeout=crowd.limit()))
        except Timeout:
            got.append("late")

    gevent.spawn_later(0.001, result.set, "value")
    crowd.run(work, size=30)
    assert set(got) <= {"value", "late"}
    assert result.get() == "value"


@pytest.mark.parametrize("seed", range(6))
def test_permits_across_threads(seed):
    semaphore = Semaphore(2)
    held, most = [], []

    def run(own_seed):
        crowd = Crowd(own_seed)

        def work():
            for _ in range(10):
                if not semaphore.acquire(timeout=crowd.limit()):
                    continue
                held.append(1)
                most.append(len(held))
                try:
                    crowd.pause()
                finally:
                    held.pop()
                    semaphore.release()

        crowd.run(work, size=5)

    threads = [threading.Thread(target=run, args=(seed * 10 + n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
        assert not thread.is_alive()
    assert max(most) <= 2
    assert semaphore.counter == 2


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("size", [None, 2])
def test_items_across_threads(size, seed):
    queue = Queue(size)
    got = []

    def produce(numbers):
        for number in numbers:
            queue.put(number)

    def consume():
        while (number := queue.get()) is not None:
            got.append(number)

    def run(own_seed):
        produced = range(own_seed * 100, own_seed * 100 + 100)
        makers = [gevent.spawn(produce, produced[at::4]) for at in range(4)]
        takers = [gevent.spawn(consume) for _ in range(3)]
        gevent.joinall(makers)
        for _ in takers:
            queue.put(None)
        gevent.joinall(takers)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
        assert not thread.is_alive()
    assert sorted(got) == list(range(400))


def test_exits_are_no_errors():
    """A killed greenlet of the crowd counts as successful, which the crowd relies on."""
    one = gevent.spawn(gevent.sleep, LONG)
    gevent.sleep(0)
    gevent.kill(one)
    assert isinstance(one.get(), GreenletExit)
