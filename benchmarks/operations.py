"""The measured operations, in gevent's public names only: the same code runs on both sides.

Each function takes a number of iterations and returns the seconds (the memory functions: bytes) one
of them took. What has to exist before, and ends after, stays outside the measured time.
"""

import os
from contextvars import ContextVar, copy_context
from time import perf_counter, process_time

import greenlet

import gevent
from gevent import config, socket
from gevent.event import AsyncResult, Event
from gevent.lock import RLock, Semaphore
from gevent.pool import Group, Pool
from gevent.queue import Queue

_VARIABLE: ContextVar[str] = ContextVar("variable")


def implementation() -> str:
    """Name what is being measured."""
    name = getattr(gevent, "__implementation__", f"gevent {gevent.__version__}")
    return f"{name}, greenlet {greenlet.__version__}"


def _nothing(*_args):
    return None


def _run_together(n, *functions):
    """Run the functions in a greenlet each; return the seconds per iteration for `n` of them."""
    start = perf_counter()
    gevent.joinall([gevent.spawn(function) for function in functions], raise_error=True)
    return (perf_counter() - start) / n


def sleep0_two(n):
    def yielder():
        for _ in range(n // 2):
            gevent.sleep(0)

    return _run_together(n, yielder, yielder)


def sleep0_thousand(n):
    crowd = 1000
    each = n // crowd

    def yielder():
        for _ in range(each + 1):
            gevent.sleep(0)

    greenlets = [gevent.spawn(yielder) for _ in range(crowd)]
    gevent.sleep(0)  # all have begun, and are in their first sleep
    start = perf_counter()
    gevent.joinall(greenlets)
    return (perf_counter() - start) / (each * crowd)


def sleep0_alone(n):
    start = perf_counter()
    for _ in range(n):
        gevent.sleep(0)
    return (perf_counter() - start) / n


def spawn_join(n):
    start = perf_counter()
    for _ in range(n):
        gevent.spawn(_nothing).join()
    return (perf_counter() - start) / n


def spawn_joinall(n):
    start = perf_counter()
    gevent.joinall([gevent.spawn(_nothing) for _ in range(n)])
    return (perf_counter() - start) / n


def spawn_in_context(n):
    """As `spawn_joinall`, and each greenlet begins with a copy of the spawner's context.

    gevent has no setting for that: a program calls the function in a copy.
    """
    _VARIABLE.set("value")
    if hasattr(config, "inherit_context"):
        config.inherit_context = True
        try:
            start = perf_counter()
            gevent.joinall([gevent.spawn(_nothing) for _ in range(n)])
        finally:
            config.inherit_context = False
    else:
        start = perf_counter()
        gevent.joinall([gevent.spawn(copy_context().run, _nothing) for _ in range(n)])
    return (perf_counter() - start) / n


def spawn_in_group(n):
    """As `spawn_joinall`, by a `TaskGroup`, whose children get a copy of the context, too.

    gevent's nearest is `gevent.pool.Group`, with a copy of the context for each call.
    """
    _VARIABLE.set("value")
    start = perf_counter()
    if hasattr(gevent, "TaskGroup"):
        with gevent.TaskGroup() as group:
            for _ in range(n):
                group.spawn(_nothing)
    else:
        group = Group()
        for _ in range(n):
            group.spawn(copy_context().run, _nothing)
        group.join()
    return (perf_counter() - start) / n


def queue_ping_pong(n):
    """One iteration is a round trip: two items put and got, each `get` having to wait."""
    there, back = Queue(), Queue()

    def ping():
        for item in range(n):
            there.put(item)
            back.get()

    def pong():
        for _ in range(n):
            back.put(there.get())

    return _run_together(n, ping, pong)


def queue_bounded(n):
    """One iteration is one item handed through a queue that holds one."""
    queue = Queue(1)

    def produce():
        for item in range(n):
            queue.put(item)

    def consume():
        for _ in range(n):
            queue.get()

    return _run_together(n, produce, consume)


def event_ping_pong(n):
    """One iteration is a round trip: two events set, waited for and cleared."""
    there, back = Event(), Event()

    def ping():
        for _ in range(n):
            there.set()
            back.wait()
            back.clear()

    def pong():
        for _ in range(n):
            there.wait()
            there.clear()
            back.set()

    return _run_together(n, ping, pong)


def async_result(n):
    """One iteration is a question and its answer: two results made, set and waited for."""
    first = AsyncResult()

    def ask():
        question = first
        for _ in range(n):
            answer, following = AsyncResult(), AsyncResult()
            question.set((answer, following))
            answer.get()
            question = following

    def respond():
        question = first
        for _ in range(n):
            answer, question = question.get()
            answer.set(None)

    return _run_together(n, ask, respond)


def semaphore_contended(n):
    """One iteration is a round trip: two acquires, each waiting for the other side's release.

    Greenlets that merely fight over one semaphore would measure how fair it is: an unfair one lets
    the holder take it again and again, and nobody ever waits.
    """
    there, back = Semaphore(0), Semaphore(0)

    def ping():
        for _ in range(n):
            there.release()
            back.acquire()

    def pong():
        for _ in range(n):
            there.acquire()
            back.release()

    return _run_together(n, ping, pong)


def semaphore_uncontended(n):
    semaphore = Semaphore(1)
    start = perf_counter()
    for _ in range(n):
        semaphore.acquire()
        semaphore.release()
    return (perf_counter() - start) / n


def rlock(n):
    lock = RLock()
    start = perf_counter()
    for _ in range(n):
        with lock:
            pass
    return (perf_counter() - start) / n


def timeout(n):
    start = perf_counter()
    for _ in range(n):
        with gevent.Timeout(10):
            pass
    return (perf_counter() - start) / n


def pool_map(n):
    pool = Pool(10)
    start = perf_counter()
    pool.map(_nothing, range(n))
    return (perf_counter() - start) / n


def group_imap_unordered(n):
    group = Group()
    start = perf_counter()
    for _ in group.imap_unordered(_nothing, range(n)):
        pass
    return (perf_counter() - start) / n


def _parked(n, wait, *args):
    """Return `n` greenlets that have all entered `wait(*args)`."""
    entered = 0

    def park():
        nonlocal entered
        entered += 1
        wait(*args)

    greenlets = [gevent.spawn(park) for _ in range(n)]
    while entered < n:
        gevent.sleep(0.001)
    return greenlets


def kill_sleeping(n):
    greenlets = _parked(n, gevent.sleep, 1000)
    start = perf_counter()
    gevent.killall(greenlets)
    return (perf_counter() - start) / n


def short_timers(n):
    """One iteration is a greenlet that sleeps 0.1 to 10 ms.

    Processor time, because elapsed time would count the 10 ms that no engine can shorten: a fast
    one has started everything before the last timer is due, and waits. Waiting costs no processor
    time unless an engine polls without need, and then it should show.
    """
    start = process_time()
    gevent.joinall([gevent.spawn(gevent.sleep, (1 + i % 100) / 10_000) for i in range(n)])
    return (process_time() - start) / n


def threadpool_apply(n):
    threadpool = gevent.get_hub().threadpool
    threadpool.apply(_nothing)  # the worker thread exists
    start = perf_counter()
    for _ in range(n):
        threadpool.apply(_nothing)
    return (perf_counter() - start) / n


def socket_ping_pong(n):
    """One iteration is a round trip: two bytes sent and received, each `recv` having to wait."""
    left, right = socket.socketpair()

    def ping():
        for _ in range(n):
            left.send(b"x")
            left.recv(1)

    def pong():
        for _ in range(n):
            right.recv(1)
            right.send(b"x")

    with left, right:
        return _run_together(n, ping, pong)


def socket_ready(n):
    left, right = socket.socketpair()
    with left, right:
        start = perf_counter()
        for _ in range(n):
            left.send(b"x")
            right.recv(1)
        return (perf_counter() - start) / n


def _resident_bytes():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _parked_bytes(n, wait, *args):
    # The first greenlets bring in what exists once for all of them.
    first = _parked(10, wait, *args)
    before = _resident_bytes()
    greenlets = _parked(n, wait, *args)
    after = _resident_bytes()
    assert len(first) + len(greenlets) == n + 10
    return (after - before) / n


def memory_sleep(n):
    """Bytes of resident memory per greenlet parked in `sleep(1000)`: stack, object and timer."""
    return _parked_bytes(n, gevent.sleep, 1000)


def memory_event(n):
    """Bytes of resident memory per greenlet parked in `wait` of one shared event."""
    return _parked_bytes(n, Event().wait)
