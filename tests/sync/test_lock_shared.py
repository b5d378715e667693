"""gevent.lock between threads, in random programs and over many rounds."""

import gc
import random
import threading
import time

import pytest

import gevent
from gevent.event import AsyncResult, Event
from gevent.hub import _get_hub
from gevent.lock import BoundedSemaphore, RLock, Semaphore
from gevent.thread import LockType


@pytest.fixture
def in_thread():
    """Run `in_thread(f)` in a native thread of its own; `join()` gives what `f` returned."""
    started = []

    class Running:
        def __init__(self, function, *args):
            self.result = None
            self.thread = threading.Thread(target=self.run, args=(function, *args))
            self.thread.start()

        def run(self, function, *args):
            try:
                self.result = function(*args)
            finally:
                hub = _get_hub()
                if hub is not None:
                    hub.destroy(destroy_loop=True)

        def join(self):
            self.thread.join(30)
            assert not self.thread.is_alive()
            return self.result

    def start(function, *args):
        started.append(Running(function, *args))
        return started[-1]

    yield start
    for running in started:
        running.join()


class TestThreads:
    @pytest.mark.parametrize("has_hub", [False, True])
    @pytest.mark.parametrize("kind", [Semaphore, BoundedSemaphore, LockType])
    def test_thread_that_waits_for_itself_waits_for_others(self, kind, has_hub, in_thread):
        lock = kind()

        def work():
            if has_hub:
                gevent.sleep(0)
            # Nobody else has used it so far, and still another thread may release it.
            return lock.acquire() and lock.acquire()

        thread = in_thread(work)
        while not lock.linkcount():
            gevent.sleep(0.001)
        gevent.sleep(0.01)
        lock.release()
        assert thread.join() is True

    @pytest.mark.parametrize("kind", [Semaphore, BoundedSemaphore])
    def test_thread_without_a_hub_blocks_as_a_whole(self, kind, in_thread):
        semaphore = kind(1)
        semaphore.acquire()

        def work():
            result = semaphore.acquire()
            return result, _get_hub()

        thread = in_thread(work)
        while not semaphore.linkcount():
            gevent.sleep(0.001)
        semaphore.release()
        assert thread.join() == (True, None)

    def test_thread_without_a_hub_gives_up(self, in_thread):
        semaphore = Semaphore(1)
        semaphore.acquire()
        assert in_thread(lambda: semaphore.acquire(timeout=0.01)).join() is False
        assert semaphore.linkcount() == 0
        assert semaphore.release() == 1

    def test_thread_alone_has_a_hub_made(self, in_thread):
        semaphore = Semaphore(0)
        assert in_thread(lambda: semaphore.acquire(timeout=0.001)).join() is False

    def test_waits_for_a_thread_without_a_hub(self, in_thread):
        semaphore, taken = Semaphore(1), threading.Event()

        def work():
            with semaphore:
                taken.set()
                time.sleep(0.02)

        thread = in_thread(work)
        taken.wait()
        # Nothing in this thread's loop is going on: that alone must not end the wait.
        with semaphore:
            thread.join()

    def test_links_and_waiters_stay_in_their_thread(self, in_thread):
        semaphore, idents = BoundedSemaphore(1), []
        semaphore.acquire()
        semaphore.rawlink(lambda _: idents.append(threading.get_ident()))

        def wait():
            with semaphore:
                idents.append(threading.get_ident())

        waiters = [gevent.spawn(wait) for _ in range(3)]
        gevent.sleep(0)
        in_thread(semaphore.release).join()
        gevent.joinall(waiters, timeout=10, raise_error=True)
        assert idents == [threading.get_ident()] * 4

    @pytest.mark.parametrize("kind", [Semaphore, BoundedSemaphore, RLock])
    def test_mutual_exclusion(self, kind, in_thread):
        lock = kind()
        inside, worst, total = 0, 0, 0

        def work(pause):
            nonlocal inside, worst, total
            for turn in range(300):
                with lock:
                    inside += 1
                    worst = max(worst, inside)
                    if turn % 20 == 0:
                        pause(0)
                    inside -= 1
                    total += 1

        def with_greenlets():
            gevent.joinall([gevent.spawn(work, gevent.sleep) for _ in range(3)], raise_error=True)

        threads = [in_thread(with_greenlets), in_thread(with_greenlets)]
        threads += [in_thread(work, time.sleep) for _ in range(2)]
        with_greenlets()
        for thread in threads:
            thread.join()
        assert (worst, total) == (1, 300 * 11)
        assert not lock.locked()


class Program:
    """Greenlets that do random things with one semaphore; some are killed. Counts permits."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.permits = self.random.randrange(1, 4)
        self.semaphore = self.random.choice([Semaphore, BoundedSemaphore])(self.permits)
        self.held = 0
        self.calls = 0

    def hold(self):
        self.held += 1
        assert self.held <= self.permits
        try:
            gevent.sleep(self.random.choice((0, 0, 0.0005)))
        finally:
            self.held -= 1
            self.semaphore.release()

    def step(self):
        kind = self.random.randrange(8)
        if kind == 0:
            gevent.sleep(0)
        elif kind == 1:
            assert self.semaphore.wait(0.001) >= 0
        elif kind == 2:
            self.semaphore.rawlink(self.note)
        elif kind == 3:
            with gevent.Timeout(self.random.random() / 500, False):
                self.semaphore.acquire()
                self.hold()
        elif self.acquire(kind):
            self.hold()

    def acquire(self, kind):
        if kind == 4:
            return self.semaphore.acquire(False)
        if kind == 5:
            return self.semaphore.acquire(timeout=self.random.choice((0, 0.0005, 0.002)))
        if kind == 6:
            return self.semaphore.acquire(timeout=gevent.Timeout(self.random.random() / 500))
        return self.semaphore.acquire()

    def note(self, semaphore):
        self.calls += 1

    def work(self):
        for _ in range(40):
            self.step()

    def run(self):
        workers = [gevent.spawn(self.work) for _ in range(12)]
        while not all(worker.ready() for worker in workers):
            if self.random.random() < 0.2:
                self.random.choice(workers).kill(block=self.random.random() < 0.5)
            gevent.sleep(self.random.choice((0, 0.0005)))
        for worker in workers:
            if not isinstance(worker.value, gevent.GreenletExit):
                worker.get()


class TestRandomPrograms:
    @pytest.mark.parametrize("seed", range(25))
    def test_no_permit_is_lost(self, seed):
        program = Program(seed)
        with gevent.Timeout(60):
            program.run()
            gevent.sleep(0.001)
        assert program.held == 0
        assert program.semaphore.counter == program.permits
        assert program.semaphore.linkcount() == 0
        # The last permits can still be had by those who have to wait for them.
        for _ in range(program.permits):
            assert program.semaphore.acquire(False)
        waiter = gevent.spawn(program.semaphore.acquire)
        gevent.sleep(0)
        program.semaphore.release()
        assert waiter.get(timeout=10) is True


def resident():
    """Resident memory in KiB."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4


class TestGrowth:
    def churn(self, semaphore, event, lock, rounds):
        def wait():
            semaphore.acquire()
            semaphore.release()

        def never():
            with lock:
                event.wait()

        for _ in range(rounds):
            killed = [gevent.spawn(semaphore.acquire), gevent.spawn(never), gevent.spawn(never)]
            waiters = [gevent.spawn(wait), gevent.spawn(wait)]
            result = AsyncResult()
            getter = gevent.spawn(result.get)
            result.rawlink(len)
            result.unlink(len)
            semaphore.rawlink(id)
            event.rawlink(id)
            event.unlink(id)
            semaphore.acquire(timeout=0)
            gevent.killall(killed)
            semaphore.release()
            result.set(result)
            gevent.joinall([*waiters, getter])
            assert semaphore.acquire(False)

    def test_nothing_stays_behind(self):
        semaphore, event, lock = Semaphore(0), Event(), RLock()
        self.churn(semaphore, event, lock, 300)
        gc.collect()
        before, objects = resident(), len(gc.get_objects())
        self.churn(semaphore, event, lock, 3000)
        gc.collect()
        assert (semaphore.linkcount(), event.linkcount(), lock.locked()) == (0, 0, False)
        assert abs(len(gc.get_objects()) - objects) < 50
        assert resident() - before < 2048
