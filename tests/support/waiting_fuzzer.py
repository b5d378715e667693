#!/usr/bin/env python3
"""Random programs over all that can be waited for, with kills, timeouts and threads.

A program has workers: greenlets of this thread and of others, of which some end early and leave
their greenlets waiting. Each does a few random operations on one object, under random timeouts,
and is killed at random moments. When all is over, no permit and no item is lost or doubled,
nobody waits any more, and nothing is left in the object's lists.

``python tests/support/waiting_fuzzer.py --seconds 60`` runs programs until the time is up or one
fails, and prints the seed of that; ``--seed N`` runs it again. Under ``python -m gevent.monkey``
the objects are those of the standard library.
"""

import argparse
import concurrent.futures
import contextlib
import faulthandler
import queue as std_queue
import sys
import threading
import time
from random import Random

import gevent
from gevent.event import AsyncResult, Event
from gevent.lock import BoundedSemaphore, RLock, Semaphore
from gevent.monkey import get_original, is_module_patched
from gevent.pool import Group, Pool
from gevent.queue import Channel, LifoQueue, PriorityQueue, Queue, SimpleQueue
from gevent.thread import LockType
from gevent.threadpool import ThreadPool

PATCHED = is_module_patched("threading")
start_thread = get_original("_thread", "start_new_thread")

#: The seconds after which a wait counts as one for ever.
FOR_EVER = 30
#: The exceptions that may interrupt a worker.
INTERRUPTIONS = (gevent.GreenletExit, gevent.Timeout)


class Program:
    """The workers of one random program, and what they wait for."""

    def __init__(self, rng, thing, threads):
        self.rng = rng
        self.thing = thing
        self.threads = rng.choice([0, 0, 1, 2]) if threads else 0
        self.errors = []
        self.running = 0

    def pause(self, rng):
        """Let others run, or not."""
        choice = rng.random()
        if choice < 0.6:
            gevent.sleep(0)
        elif choice < 0.7:
            gevent.sleep(0.0003)

    def limited(self, rng, call):
        """Call *call* under a random `gevent.Timeout`, or none."""
        if rng.random() < 0.6:
            return call()
        with gevent.Timeout(rng.choice([0, 0.0002, 0.001, 0.003])):
            return call()

    def guarded(self, work, rng, abandoned):
        """Run *work*, which interruptions may end; any other error is the program's."""
        try:
            for _ in range(rng.randint(1, 4)):
                with contextlib.suppress(gevent.Timeout):
                    self.limited(rng, lambda: work(rng))
                self.pause(rng)
        except INTERRUPTIONS:
            pass
        except BaseException as error:
            # One that is unwound at the end of its thread has no loop any more.
            if not (abandoned and "destroyed loop" in str(error)):
                self.errors.append(repr(error))

    def crowd(self, work, rng, count, abandon):
        """Spawn *count* workers, kill some, and wait for all, unless they are to be abandoned."""
        workers = [
            gevent.spawn(self.guarded, work, Random(rng.random()), abandon) for _ in range(count)
        ]
        for _ in range(rng.randint(0, 2 * count)):
            self.pause(rng)
            if rng.random() < 0.4:
                rng.choice(workers).kill(
                    rng.choice([gevent.GreenletExit, gevent.Timeout(1)]), block=False
                )
        return [] if abandon else workers

    def in_thread(self, work, rng):
        try:
            # The error of a greenlet that was killed need not be reported.
            gevent.get_hub().exception_stream = None
            count, abandon = rng.randint(1, 4), rng.random() < 0.4
            workers = self.crowd(work, rng, count, abandon)
            self.settle(workers)
        except BaseException as error:
            self.errors.append(repr(error))
        finally:
            # The end of the thread itself comes after this.
            self.running -= 1

    def settle(self, workers):
        """Wait for workers, of which those who wait for nothing that comes are killed."""
        deadline = time.monotonic() + FOR_EVER
        while True:
            gevent.joinall(workers, timeout=0.05)
            waiting = [worker for worker in workers if not worker.dead]
            if not waiting:
                return
            for worker in waiting:
                worker.kill(block=False)
            if time.monotonic() > deadline:
                raise AssertionError(f"{waiting} cannot be killed")

    def run(self, work):
        """Run the program to its end."""
        for _ in range(self.threads):
            self.running += 1
            start_thread(self.in_thread, (work, Random(self.rng.random())))
        self.settle(self.crowd(work, self.rng, self.rng.randint(2, 8), False))
        deadline = time.monotonic() + FOR_EVER
        while self.running:
            gevent.sleep(0.001)
            assert time.monotonic() < deadline, "a thread does not end"
        assert not self.errors, self.errors


def eventually(holds, what):
    """Wait until *holds* is true: threads end a moment after their work."""
    deadline = time.monotonic() + FOR_EVER
    while not holds():
        assert time.monotonic() < deadline, what
        gevent.sleep(0.001)


def nothing_left(thing):
    """Nobody is listed that waits for *thing*."""
    if hasattr(thing, "linkcount"):
        eventually(lambda: thing.linkcount() == 0, f"left in the lists of {thing}")


def permits(rng, make, count, threads=True):
    """A lock or a semaphore has all its permits again, and never gave more."""
    lock = make()
    program = Program(rng, lock, threads)
    held = [0]

    def work(rng):
        choice = rng.random()
        if choice < 0.2:
            taken = lock.acquire(False)
        elif choice < 0.5:
            taken = lock.acquire(timeout=rng.choice([0.0002, 0.001]))
        else:
            taken = lock.acquire()
        if not taken:
            return
        try:
            held[0] += 1
            assert held[0] <= count, "more permits than there are"
            program.pause(rng)
        finally:
            held[0] -= 1
            lock.release()

    program.run(work)
    eventually(lambda: held[0] == 0, "a permit is held")
    for _ in range(count):
        assert lock.acquire(timeout=FOR_EVER), f"a permit of {lock} is lost"
    waiter = gevent.spawn(lock.acquire, timeout=FOR_EVER)
    gevent.sleep(0)
    lock_owner_releases = not isinstance(lock, (RLock, type(threading.RLock())))
    if lock_owner_releases:
        assert not waiter.dead, "a permit too many"
        lock.release()
        assert waiter.get(timeout=FOR_EVER), "a release wakes nobody"
    else:
        lock.release()
        waiter.join(FOR_EVER)
    nothing_left(getattr(lock, "_block", lock))


def items(rng, make, exact=True, threads=True):
    """Each item that was put is got once; what was not put is not there."""
    queue = make()
    program = Program(rng, queue, threads)
    tried, put, got = [0], set(), []
    nowait = hasattr(queue, "get_nowait")

    def work(rng):
        limit = rng.choice([None, None, 0.0005, 0.002])
        try:
            if rng.random() < 0.5:
                tried[0] += 1
                item = tried[0]
                queue.put(item, timeout=limit)
                put.add(item)
            elif rng.random() < 0.2 and nowait:
                got.append(queue.get_nowait())
            else:
                got.append(queue.get(timeout=limit))
        except (std_queue.Empty, std_queue.Full):
            pass

    program.run(work)
    gevent.sleep(0.002)
    while True:
        try:
            got.append(queue.get(timeout=0.002))
        except std_queue.Empty:
            break
    assert len(got) == len(set(got)), f"got twice: {sorted(got)}"
    # A putter that was interrupted may have been served just before.
    lost = put - set(got)
    assert not lost, f"lost {lost}"
    strange = set(got) - put
    assert not (exact and strange), f"never put {strange}"
    getter = gevent.spawn(queue.get, timeout=FOR_EVER)
    gevent.sleep(0)
    queue.put(-1, timeout=FOR_EVER)
    assert getter.get(timeout=FOR_EVER) == -1, "a getter is not woken"


def flags(rng, make, give, threads=True):
    """All who wait for an event or a result go on once it is there."""
    thing = make()
    program = Program(rng, thing, threads)

    def work(rng):
        choice = rng.random()
        if choice < 0.3:
            thing.wait(timeout=rng.choice([0.0005, 0.002]))
        elif choice < 0.5 and hasattr(thing, "rawlink"):
            gevent.wait([thing], timeout=rng.choice([None, 0.001]))
        else:
            thing.wait()

    gevent.spawn_later(rng.choice([0, 0.001, 0.004]), give, thing)
    program.run(work)
    gevent.sleep(0.005)
    waiters = [gevent.spawn(thing.wait) for _ in range(3)]
    gevent.joinall(waiters, timeout=FOR_EVER)
    assert all(waiter.dead for waiter in waiters), "a wake-up is lost"
    nothing_left(thing)


def joins(rng):
    """All who wait for greenlets go on when these are over."""
    targets = [gevent.spawn(gevent.sleep, rng.choice([0, 0.0005, 0.002])) for _ in range(4)]
    program = Program(rng, targets, True)

    def work(rng):
        target = rng.choice(targets)
        choice = rng.randrange(5)
        if choice == 0:
            target.join(rng.choice([None, 0.001]))
        elif choice == 1:
            target.get()
        elif choice == 2:
            gevent.joinall(targets, timeout=rng.choice([None, 0.001]))
        elif choice == 3:
            list(gevent.iwait(targets, timeout=rng.choice([None, 0.001])))
        else:
            gevent.wait(targets, count=2)

    program.run(work)
    gevent.joinall(targets, timeout=FOR_EVER)
    assert all(target.dead for target in targets)


def pools(rng):
    """A pool has all its places again, and a group nobody in it."""
    group = Pool(rng.randint(1, 3)) if rng.random() < 0.7 else Group()
    program = Program(rng, group, False)

    def work(rng):
        choice = rng.randrange(5)
        if choice == 0:
            group.spawn(program.pause, rng).join()
        elif choice == 1:
            assert group.map(abs, [-1, -2, -3]) == [1, 2, 3]
        elif choice == 2:
            assert sorted(group.imap_unordered(abs, [-1, -2])) == [1, 2]
        elif choice == 3:
            group.join(timeout=0.001)
        else:
            group.spawn(gevent.sleep, 0.001)

    program.run(work)
    size = getattr(group, "size", None)

    def settled():
        return len(group) == 0 and (size is None or group.free_count() == size)

    # A `join` lasts until the group was empty once: what a killed worker's `imap` has still to
    # spawn may come after that, before this greenlet runs again.
    deadline = time.monotonic() + FOR_EVER
    while not settled() and time.monotonic() < deadline:
        group.join(timeout=FOR_EVER)
        gevent.sleep(0)
    assert settled(), f"a greenlet is left in {group}, or a place is lost"
    assert not group.full()


def thread_pools(rng):
    """A thread pool has no task left, and still works."""
    pool = ThreadPool(rng.randint(1, 2))
    program = Program(rng, pool, False)

    def work(rng):
        if rng.random() < 0.5:
            assert pool.apply(abs, (-1,)) == 1
        else:
            assert pool.spawn(time.sleep, 0.0005).get() is None

    program.run(work)
    with gevent.Timeout(FOR_EVER):
        pool.join()
        assert len(pool) == 0
        assert pool.apply(abs, (-2,)) == 2
        pool.kill()


def conditions(rng, make_lock):
    """Whoever waits at a condition for what there is gets it, however others end."""
    condition = threading.Condition(make_lock())
    program = Program(rng, condition, False)
    there = [0]

    def work(rng):
        with condition:
            if rng.random() < 0.5:
                there[0] += 1
                condition.notify()
            elif condition.wait_for(lambda: there[0] > 0, rng.choice([None, 0.001])):
                there[0] -= 1

    program.run(work)
    with condition:
        there[0] = 0
    taken = []

    def take():
        with condition:
            condition.wait_for(lambda: there[0] > 0)
            there[0] -= 1
            taken.append(1)

    takers = [gevent.spawn(take) for _ in range(3)]
    gevent.sleep(0)
    # As many die as are notified: each notification must reach one that lives.
    dying = [gevent.spawn(take) for _ in range(2)]
    gevent.sleep(0)
    gevent.killall(dying, block=False)
    with condition:
        for _ in range(3):
            there[0] += 1
            condition.notify()
    gevent.joinall(takers, timeout=FOR_EVER)
    assert len(taken) == 3, "a notification is lost"
    gevent.joinall(dying, timeout=FOR_EVER)
    assert not condition._waiters, "left at the condition"


def barriers(rng):
    """A barrier lets all through once enough have come."""
    barrier = threading.Barrier(2)
    program = Program(rng, barrier, False)

    def work(rng):
        try:
            barrier.wait(rng.choice([None, 0.001]))
        except threading.BrokenBarrierError:
            barrier.reset()

    program.run(work)
    barrier.reset()
    gevent.sleep(0.001)
    both = [gevent.spawn(barrier.wait, FOR_EVER) for _ in range(2)]
    gevent.joinall(both, timeout=FOR_EVER, raise_error=True)
    assert sorted(greenlet.value for greenlet in both) == [0, 1]


def executors(rng):
    """Each task that an executor took is done."""
    done, futures = [], []
    executor = concurrent.futures.ThreadPoolExecutor(rng.randint(1, 3))
    executor.submit(int).result(FOR_EVER)
    program = Program(rng, executor, False)

    def work(rng):
        futures.append(executor.submit(done.append, 1))
        if rng.random() < 0.5:
            futures[-1].result(rng.choice([None, 0.001]))

    def guarded(rng):
        with contextlib.suppress(concurrent.futures.TimeoutError):
            work(rng)

    program.run(guarded)
    finished, waiting = concurrent.futures.wait(futures, FOR_EVER)
    assert not waiting, "a task is lost"
    assert len(done) >= len(finished)
    assert executor.submit(abs, -1).result(FOR_EVER) == 1
    executor.shutdown()


def engine_kinds():
    """The objects of gevent."""
    return {
        "Semaphore": lambda rng: permits(rng, lambda: Semaphore(2), 2),
        "BoundedSemaphore": lambda rng: permits(rng, lambda: BoundedSemaphore(1), 1),
        "RLock": lambda rng: permits(rng, RLock, 1),
        "LockType": lambda rng: permits(rng, LockType, 1),
        "Queue": lambda rng: items(rng, Queue),
        "bounded Queue": lambda rng: items(rng, lambda: Queue(1)),
        "LifoQueue": lambda rng: items(rng, lambda: LifoQueue(2)),
        "PriorityQueue": lambda rng: items(rng, lambda: PriorityQueue(2)),
        "SimpleQueue": lambda rng: items(rng, SimpleQueue),
        "Channel": lambda rng: items(rng, Channel, exact=False),
        "Event": lambda rng: flags(rng, Event, Event.set),
        "AsyncResult": lambda rng: flags(rng, AsyncResult, lambda result: result.set(1)),
        "joins": joins,
        "pools": pools,
        "thread pools": thread_pools,
    }


def patched_kinds():
    """The objects of the standard library."""
    return {
        "Semaphore": lambda rng: permits(rng, lambda: threading.Semaphore(2), 2, False),
        "BoundedSemaphore": lambda rng: permits(
            rng, lambda: threading.BoundedSemaphore(1), 1, False
        ),
        "RLock": lambda rng: permits(rng, threading.RLock, 1),
        "Lock": lambda rng: permits(rng, threading.Lock, 1),
        "Event": lambda rng: flags(rng, threading.Event, lambda event: event.set()),
        "Queue": lambda rng: items(rng, lambda: std_queue.Queue(1)),
        "SimpleQueue": lambda rng: items(rng, std_queue.SimpleQueue),
        "Condition(Lock)": lambda rng: conditions(rng, threading.Lock),
        "Condition(RLock)": lambda rng: conditions(rng, threading.RLock),
        "Barrier": barriers,
        "ThreadPoolExecutor": executors,
    }


def run(seed):
    """Run the program of *seed*; return the kind of its object."""
    rng = Random(seed)
    kinds = patched_kinds() if PATCHED else engine_kinds()
    names = sorted(kinds)
    name = names[seed % len(names)]
    # The error of a greenlet that was killed need not be reported.
    gevent.get_hub().exception_stream = None
    faulthandler.dump_traceback_later(4 * FOR_EVER, exit=True)
    try:
        with gevent.Timeout(3 * FOR_EVER):
            kinds[name](rng)
    except BaseException:
        print(f"seed {seed} ({name}{', patched' if PATCHED else ''}) fails:", file=sys.stderr)
        raise
    finally:
        faulthandler.cancel_dump_traceback_later()
    return name


def main():
    """Run what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10, help="run for so long")
    parser.add_argument("--seed", type=int, help="run this program only")
    parser.add_argument("--first", type=int, help="begin with this seed, by default a random one")
    parser.add_argument("--count", type=int, help="run so many programs, however long it takes")
    options = parser.parse_args()
    if options.seed is not None:
        print(options.seed, run(options.seed))
        return
    first = options.first
    if first is None:
        first = Random().randrange(10**9)
    done, until = 0, time.monotonic() + options.seconds
    while done < options.count if options.count else time.monotonic() < until:
        run(first + done)
        done += 1
    print(f"{done} programs from seed {first}: all held")


if __name__ == "__main__":
    main()
