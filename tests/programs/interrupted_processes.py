"""multiprocessing in a patched process, when a greenlet is interrupted while it uses it.

usage: interrupted_processes.py FUNCTION METHOD
"""

from gevent import monkey

monkey.patch_all()

import json
import multiprocessing
import os
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import connection, reduction
from multiprocessing.managers import BaseManager

import gevent


def nap(seconds):
    time.sleep(seconds)
    return seconds


def take(data):
    pass


class Slow:
    """An object that a manager's process holds, and whose answers take time."""

    def answer(self, value, seconds=0):
        time.sleep(seconds)
        return value


class SlowManager(BaseManager):
    """A manager of slow objects."""


SlowManager.register("Slow", Slow)


def killed(function, *args):
    """Kill a greenlet in the first wait of a call."""
    greenlet = gevent.spawn(function, *args)
    gevent.sleep(0)
    waited = not greenlet.ready()
    greenlet.kill()
    return waited


def proxies(method):
    """The answer to a request that was given up is not taken for the next one's."""
    with SlowManager(ctx=multiprocessing.get_context(method)) as manager:
        slow = manager.Slow()
        answers = [slow.answer(0)]
        for number, error in enumerate((None, TimeoutError("of the program")), 1):
            try:
                with gevent.Timeout(0.02, error):
                    slow.answer("late", 0.2)
            except (gevent.Timeout, TimeoutError):
                answers.append(slow.answer(number))
        return answers


def queues(method):
    """A put that is killed while it starts the queue's thread leaves a queue like any other."""
    made = multiprocessing.get_context(method)
    seen = []
    for kind in (made.Queue, made.JoinableQueue):
        queue = kind(1)
        seen.append(killed(queue.put, "given up"))
        queue.put("kept", timeout=20)
        seen.append(queue.get(timeout=20))
        if kind == made.JoinableQueue:
            with queue._cond:
                # It waits for the lock of the count, and gives its place back.
                killed(queue.put, "given up")
            queue.put("kept", timeout=20)
            seen.append(queue.get(timeout=20))
        queue.close()
        queue.join_thread()
    return seen, [thread.name for thread in threading.enumerate() if "Feeder" in thread.name]


def conditions(method):
    """A greenlet that is killed at a condition leaves lock and counts as they have to be."""
    made = multiprocessing.get_context(method)
    return [each for lock in (made.RLock(), made.Lock()) for each in use_condition(made, lock)]


def use_condition(made, lock):
    """Kill one that waits and one that notifies, and see what they leave."""
    condition, waiting = made.Condition(lock), made.Semaphore(0)
    seen = []

    def wait():
        with condition:
            try:
                waiting.release()
                return condition.wait(30)
            finally:
                seen.append(condition._lock._semlock._is_mine())

    def notify():
        with condition:
            condition.notify_all()

    # It is to take the lock again as it is killed.
    greenlet = gevent.spawn(wait)
    waiting.acquire()
    with condition:
        condition.notify()
        kill = gevent.spawn(greenlet.kill)
        gevent.sleep(0.05)
        seen.append(greenlet.ready())
    kill.join()
    # Of the next two notifiers the first is killed before the waiter has woken.
    for notifying in (lambda: killed(notify), notify):
        greenlet = gevent.spawn(wait)
        waiting.acquire()
        notifying()
        seen.append(greenlet.get(timeout=30))
    seen.append(lock.acquire(timeout=20))
    lock.release()
    return seen


def messages(method):
    """A message whose receiver was killed in its middle is there for the next one."""
    here, there = multiprocessing.get_context(method).Pipe()
    size = 3_000_000
    sending = gevent.spawn(here.send_bytes, b"a" * size)
    receiving = gevent.spawn(there.recv_bytes)
    gevent.sleep(0)
    gevent.sleep(0)
    receiving.kill()
    sending.join()
    return (
        isinstance(receiving.value, gevent.GreenletExit),
        connection.wait([there], 20) == [there],
        len(there.recv_bytes()) == size,
    )


def executors(method):
    """A call that is killed while the executor starts its processes leaves it usable."""
    executor = ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method))
    waited = killed(executor.submit, nap, 0)
    future = executor.submit(nap, 0.2)
    try:
        with gevent.Timeout(0.01):
            executor.shutdown()
    except gevent.Timeout:
        # The second call waits, too.
        executor.shutdown()
    return waited, future.done(), len(multiprocessing.active_children())


def starts(method):
    """A process whose start is killed does not run, and is collected."""
    context = multiprocessing.get_context(method)
    context.Process(target=nap, args=(0,)).start()
    process = context.Process(target=take, args=(b"x" * 3_000_000,))
    greenlet = gevent.spawn(process.start)
    gevent.sleep(0.002)
    waited = not greenlet.ready()
    greenlet.kill()
    with gevent.Timeout(20):
        # Also of children that no object stands for.
        while multiprocessing.active_children() or children():
            gevent.sleep(0.01)
    return waited


def children():
    """The processes that this one has started and that ran its program, but for its helpers."""
    found = []
    for thread in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{thread}/children") as file:
            found += file.read().split()
    return [pid for pid in found if "spawn_main" in command(pid)]


def command(pid):
    try:
        with open(f"/proc/{pid}/cmdline") as file:
            return file.read()
    except OSError:
        return ""


def handles(method):
    """A descriptor that is sent leaves the connection in blocking mode."""
    here, there = multiprocessing.get_context(method).Pipe()
    reader, writer = os.pipe()
    # Since CPython 3.14 the sender waits for an answer.
    sending = gevent.spawn(reduction.send_handle, here, writer, os.getpid())
    os.write(reduction.recv_handle(there), b"sent")
    sending.get(timeout=30)
    return os.read(reader, 4).decode(), [os.get_blocking(end.fileno()) for end in (here, there)]


def ticks(method):
    """The turns of another greenlet while a process starts, and while one takes its arguments."""
    turns = 0

    def turn():
        nonlocal turns
        while True:
            turns += 1
            gevent.sleep(0.001)

    gevent.spawn(turn)
    seen = []
    for data in (b"", b"x" * 3_000_000):
        process = multiprocessing.get_context(method).Process(target=take, args=(data,))
        before = turns
        process.start()
        seen.append(turns - before)
        process.join(30)
    return seen


def joins(method):
    """Every greenlet that waits for a process sees its exit code."""
    process = multiprocessing.get_context(method).Process(target=sys.exit, args=(3,))
    process.start()

    def join():
        process.join(30)
        return process.exitcode

    greenlets = [gevent.spawn(join) for _ in range(5)]
    return [greenlet.get(timeout=40) for greenlet in greenlets]


if __name__ == "__main__":
    gevent.get_hub().exception_stream = None
    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
