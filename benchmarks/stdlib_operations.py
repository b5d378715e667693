"""The measured uses of the standard library, in a process that is patched like any gevent program.

Each function takes a number of iterations and returns the seconds that one of them took, as those
of operations.py.
"""

import queue
import subprocess
import sys
import threading
import time
from time import perf_counter

import greenlet

import gevent
from gevent import monkey

monkey.patch_all()


def implementation() -> str:
    """Name what is being measured."""
    name = getattr(gevent, "__implementation__", f"gevent {gevent.__version__}")
    return f"{name}, greenlet {greenlet.__version__}"


def _nothing():
    pass


def lock_acquire_release(n):
    lock = threading.Lock()
    start = perf_counter()
    for _ in range(n):
        lock.acquire()
        lock.release()
    return (perf_counter() - start) / n


def lock_with(n):
    lock = threading.Lock()
    start = perf_counter()
    for _ in range(n):
        with lock:
            pass
    return (perf_counter() - start) / n


def lock_contended(n):
    """One iteration: one of four threads holds the lock while the others run."""
    lock = threading.Lock()

    def take_turns():
        for _ in range(n // 4):
            with lock:
                time.sleep(0)

    return _in_threads(n, *[take_turns] * 4)


def _in_threads(n, *functions):
    threads = [threading.Thread(target=function) for function in functions]
    start = perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return (perf_counter() - start) / n


def queue_put_get(n):
    items = queue.Queue()
    start = perf_counter()
    for _ in range(n):
        items.put(None)
        items.get()
    return (perf_counter() - start) / n


def queue_handed_over(n):
    """One iteration is an item handed from thread to thread through a queue that holds one."""
    items = queue.Queue(1)

    def produce():
        for _ in range(n):
            items.put(None)

    def consume():
        for _ in range(n):
            items.get()

    return _in_threads(n, produce, consume)


def time_sleep0_alone(n):
    start = perf_counter()
    for _ in range(n):
        time.sleep(0)
    return (perf_counter() - start) / n


def time_sleep0_two(n):
    def yielder():
        for _ in range(n // 2):
            time.sleep(0)

    return _in_threads(n, yielder, yielder)


def thread_start_join(n):
    start = perf_counter()
    for _ in range(n):
        thread = threading.Thread(target=_nothing)
        thread.start()
        thread.join()
    return (perf_counter() - start) / n


def thread_crowd(n):
    """One iteration is one of a hundred threads that are started, and then joined."""
    start = perf_counter()
    for _ in range(n // 100):
        _in_threads(1, *[_nothing] * 100)
    return (perf_counter() - start) / n


_PATCH = """
import time
start = time.perf_counter()
import gevent.monkey
gevent.monkey.patch_all()
print(time.perf_counter() - start)
"""


def import_and_patch(n):
    def once():
        command = [sys.executable, "-c", _PATCH]
        return float(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)

    return sorted(once() for _ in range(n))[n // 2]


def subprocess_run(n):
    """One iteration is one of `n` children that fifty threads run."""
    left = iter(range(n))

    def run():
        for _ in left:
            subprocess.run(["true"], check=True)

    return _in_threads(n, *[run] * 50)
