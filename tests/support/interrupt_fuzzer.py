#!/usr/bin/env python3
"""Programs that a signal interrupts at a random moment, over all that can be waited for.

The handler of the signal raises an error in whatever Python code runs: the program's, the
package's or the hub's. The program may lose what it was doing. Nothing else may be lost: locks are
free again, those who wait are woken, processes and tasks are noticed to be over, pools and servers
still work.

``python tests/support/interrupt_fuzzer.py --seconds 60`` goes through the kinds of programs until
the time is up; ``--error Alarm`` has the handler raise an `Exception`, which ends no program,
instead of a `KeyboardInterrupt`. The moment is a matter of microseconds, so that no seed can bring
it back; a kind can be named to be run alone.
"""

import argparse
import asyncio
import contextlib
import faulthandler
import logging
import os
import random
import signal
import sys
import time

import gevent
from gevent import aio, fileobject, pywsgi, select, socket, subprocess
from gevent.event import AsyncResult, Event
from gevent.lock import BoundedSemaphore, RLock, Semaphore
from gevent.pool import Group, Pool
from gevent.queue import Channel, Empty, JoinableQueue, LifoQueue, PriorityQueue, Queue, SimpleQueue
from gevent.server import StreamServer
from gevent.thread import LockType
from gevent.threadpool import ThreadPool, ThreadPoolExecutor

#: The seconds after which a wait counts as one for ever.
FOR_EVER = 30


class Interrupt(KeyboardInterrupt):
    """Ends a program."""


class Alarm(Exception):
    """Ends no program: where it is raised in the hub, it is reported there."""


class Interrupter:
    """Raises an error once, at a random moment of a call."""

    def __init__(self, error):
        self.error = error
        self.count = 0
        self._armed = False
        signal.signal(signal.SIGALRM, self._handle)

    def _handle(self, _number, _frame):
        if self._armed:
            self._armed = False
            self.count += 1
            raise self.error

    def call(self, body, most):
        """Call *body*, and interrupt it within *most* seconds, if it takes so long."""
        # An alarm in the hub ends no wait, even if it ended what was to be waited for.
        limit = gevent.Timeout(0.3 if self.error is Alarm else None)
        limit.start()
        signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-6, most))
        try:
            self._armed = True
            body()
            self._armed = False
        except self.error:
            pass
        except gevent.Timeout as passed:
            if passed is not limit:
                raise
        finally:
            self._armed = False
            limit.close()
            signal.setitimer(signal.ITIMER_REAL, 0)
        # A greenlet that it ended may still have to hand it over.
        for _ in range(3):
            with contextlib.suppress(self.error):
                gevent.sleep(0.0003)


#: True for the CPython in which a signal's error may come between the moment when `with lock:` has
#: the lock and the moment when it is sure to release it. The standard library's locks are lost too.
LOSES_LOCKS = sys.version_info[:2] == (3, 14)


def pause():
    """Let others run, or not."""
    choice = random.random()
    if choice < 0.6:
        gevent.sleep(0)
    elif choice < 0.7:
        gevent.sleep(0.0002)


def all_over(greenlets):
    """Wait for the end of greenlets."""
    gevent.joinall(greenlets, timeout=FOR_EVER)
    left = [greenlet for greenlet in greenlets if not greenlet.dead]
    assert not left, f"never woken: {left}"


def permits(make, count):
    """Return a program whose lock has all its permits again."""

    def program(interrupter):
        lock = make()

        def work():
            for _ in range(4):
                with lock:
                    pause()
                pause()

        workers = [gevent.spawn(work) for _ in range(6)]

        def body():
            work()
            gevent.joinall(workers)

        interrupter.call(body, 0.002)
        all_over(workers)
        for _ in range(count):
            assert lock.acquire(timeout=FOR_EVER), "a permit is lost"
        waiter = gevent.spawn(lock.acquire, timeout=FOR_EVER)
        gevent.sleep(0)
        lock.release()
        assert waiter.get(timeout=FOR_EVER), "a release wakes nobody"
        assert getattr(lock, "_block", lock).linkcount() == 0, "left in the list of waiters"

    return program


def items(make):
    """Return a program whose queue gives each item once, and loses none by itself."""

    def program(interrupter):
        queue, put, got = make(), set(), []

        def putter(first):
            for number in range(first, first + 5):
                queue.put(number)
                put.add(number)

        def getter():
            for _ in range(5):
                got.append(queue.get())

        workers = [gevent.spawn(putter, first) for first in (0, 100, 200)]
        workers += [gevent.spawn(getter) for _ in range(4)]

        def body():
            putter(1000)
            gevent.joinall(workers)

        interrupter.call(body, 0.001)
        # Whoever waited for the greenlet that was interrupted waits for ever.
        killed = [worker for worker in workers if not worker.dead]
        gevent.killall(killed)
        with contextlib.suppress(Empty):
            while True:
                got.append(queue.get(timeout=0.002))
        assert len(got) == len(set(got)), f"got twice: {sorted(got)}"
        # One item may be on its way to each greenlet that was ended.
        assert len(put - set(got)) <= 1 + len(killed), f"lost: {put - set(got)}"
        waiter = gevent.spawn(queue.get, timeout=FOR_EVER)
        gevent.sleep(0)
        queue.put(-1, timeout=FOR_EVER)
        assert waiter.get(timeout=FOR_EVER) == -1, "a getter is not woken"

    return program


def flags(make, give):
    """Return a program in which all who wait for an event or a result are woken."""

    def program(interrupter):
        thing = make()
        waiters = [gevent.spawn(thing.wait) for _ in range(4)]
        waiters += [gevent.spawn(gevent.wait, [thing]) for _ in range(2)]
        giver = gevent.spawn(give, thing)

        def body():
            thing.wait(timeout=0.001)
            gevent.joinall(waiters)

        interrupter.call(body, 0.001)
        giver.kill()
        if not thing.ready():
            give(thing)
        all_over(waiters)

    return program


def pools(make, size):
    """Return a program whose pool has all its places again, and whose group is empty."""

    def program(interrupter):
        group = make()

        def body():
            for _ in range(4):
                group.spawn(gevent.sleep, 0)
            group.map(abs, [-1, -2, -3])
            list(group.imap(abs, [-1, -2, -3]))
            list(group.imap_unordered(abs, [-1, -2, -3]))
            group.join()

        interrupter.call(body, 0.0015)
        deadline = time.monotonic() + FOR_EVER
        while len(group) or (size and group.free_count() != size):
            assert time.monotonic() < deadline, f"a place in {group} is lost"
            group.join(timeout=1)
            gevent.sleep(0)
        assert group.map(abs, [-1, -5, -6]) == [1, 5, 6]

    return program


def thread_pools(interrupter):
    """A thread pool has no task left, and works."""
    pool = ThreadPool(2)

    def body():
        for _ in range(3):
            pool.spawn(time.sleep, 0.0001)
        pool.apply(abs, (-1,))
        list(pool.imap_unordered(abs, [-1, -2, -3]))
        pool.join()

    interrupter.call(body, 0.003)
    pool.join()
    assert len(pool) == 0
    assert pool.map(abs, [-1, -2, -3]) == [1, 2, 3]
    pool.kill()


def executors(interrupter):
    """Each future that an executor gave has its result."""
    executor, futures = ThreadPoolExecutor(2), []

    def body():
        for _ in range(4):
            futures.append(executor.submit(time.sleep, 0.0001))
        gevent.wait(futures)

    interrupter.call(body, 0.003)
    for future in futures:
        assert future.result(FOR_EVER) is None
    assert executor.submit(abs, -1).result(FOR_EVER) == 1
    executor.shutdown()


def joins(interrupter):
    """Whoever waits for greenlets goes on when these are over."""
    targets = [gevent.spawn(gevent.sleep, random.choice([0, 0.0002])) for _ in range(5)]
    waiters = [gevent.spawn(gevent.wait, targets), gevent.spawn(gevent.joinall, targets)]

    def body():
        targets[0].join()
        targets[1].get()
        list(gevent.iwait(targets))
        gevent.joinall(waiters)

    interrupter.call(body, 0.001)
    all_over(targets + waiters)


def descriptors(interrupter):
    """A socket and a pipe can be waited for again."""
    one, other = socket.socketpair()
    reading, writing = os.pipe()
    source = fileobject.FileObject(reading, "rb")
    target = fileobject.FileObject(writing, "wb", 0)

    def body():
        for _ in range(3):
            other.send(b"x")
            select.select([one], [], [], 1)
            poll = select.poll()
            poll.register(one, select.POLLIN)
            poll.poll(1000)
            one.recv(1)
            target.write(b"line\n")
            source.readline()

    interrupter.call(body, 0.001)
    other.send(b"y")
    one.settimeout(FOR_EVER)
    assert one.recv(10).endswith(b"y")
    target.close()
    source.read()
    for each in (one, other, source):
        each.close()


def processes(interrupter):
    """The end of a process is noticed, and its output is there."""
    started = []

    def body():
        started.append(subprocess.Popen(["echo", "words"], stdout=subprocess.PIPE))
        started[0].communicate()

    interrupter.call(body, 0.006)
    for process in started:
        process.communicate()
        assert process.wait() == 0


def servers(make, request, answer):
    """Return a program whose server still answers."""

    def program(interrupter):
        server = make(spawn=random.choice([1, 2, "default"]))
        server.start()

        def client():
            with socket.create_connection(server.address, timeout=FOR_EVER) as sock:
                sock.sendall(request)
                received = b""
                while not received.endswith(answer) and (part := sock.recv(1000)):
                    received += part
                return received

        def body():
            clients = [gevent.spawn(client) for _ in range(4)]
            client()
            gevent.joinall(clients)

        with contextlib.suppress(ConnectionError):
            interrupter.call(body, 0.003)
        for _ in range(3):
            assert client().endswith(answer)
        server.stop(timeout=1)

    return program


def echo(sock, _address):
    """Send back what came, if it comes soon: the traceback of a client may keep its socket."""
    sock.settimeout(2)
    with contextlib.suppress(TimeoutError):
        sock.sendall(sock.recv(10))


def application(_environ, start_response):
    """Answer each request."""
    gevent.sleep(0)
    start_response("200 OK", [("Connection", "close")])
    return [b"hello"]


def coroutines(interrupter):
    """A coroutine that greenlets wait for, and one that waits for a greenlet, come to an end."""

    async def main():
        for _ in range(3):
            await asyncio.sleep(0.0001)
            await gevent.spawn(gevent.sleep, 0.0001)

    def body():
        aio.run(main())
        gevent.joinall([gevent.spawn(lambda: aio.run(main())) for _ in range(2)])

    interrupter.call(body, 0.004)
    # The shared loop may still have to raise the error of a task in it.
    with contextlib.suppress(interrupter.error):
        aio.run(main())


KINDS = {
    "Semaphore": permits(lambda: Semaphore(2), 2),
    "BoundedSemaphore": permits(lambda: BoundedSemaphore(1), 1),
    "RLock": permits(RLock, 1),
    "LockType": permits(LockType, 1),
    "Queue": items(Queue),
    "bounded Queue": items(lambda: Queue(1)),
    "LifoQueue": items(lambda: LifoQueue(2)),
    "PriorityQueue": items(lambda: PriorityQueue(2)),
    "SimpleQueue": items(SimpleQueue),
    "JoinableQueue": items(lambda: JoinableQueue(2)),
    "Channel": items(Channel),
    "Event": flags(Event, Event.set),
    "AsyncResult": flags(AsyncResult, lambda result: result.set(1)),
    "Pool": pools(lambda: Pool(2), 2),
    "Group": pools(Group, None),
    "ThreadPool": thread_pools,
    "ThreadPoolExecutor": executors,
    "joins": joins,
    "descriptors": descriptors,
    "processes": processes,
    "StreamServer": servers(lambda **how: StreamServer(("127.0.0.1", 0), echo, **how), b"x", b"x"),
    "WSGIServer": servers(
        lambda **how: pywsgi.WSGIServer(
            ("127.0.0.1", 0), application, log=None, error_log=None, header_timeout=2, **how
        ),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"hello",
    ),
    "coroutines": coroutines,
}


if LOSES_LOCKS:
    for lock in ("Semaphore", "BoundedSemaphore", "RLock", "LockType"):
        del KINDS[lock]


def run(name, interrupter):
    """Run one program of a kind."""
    faulthandler.dump_traceback_later(4 * FOR_EVER, exit=True)
    try:
        with gevent.Timeout(3 * FOR_EVER):
            KINDS[name](interrupter)
    except BaseException:
        print(f"{name} fails after {interrupter.count} interrupts:", file=sys.stderr)
        raise
    finally:
        faulthandler.cancel_dump_traceback_later()


def main():
    """Run what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*", help=f"of {', '.join(KINDS)}; by default all")
    parser.add_argument("--error", choices=["Interrupt", "Alarm"], default="Interrupt")
    parser.add_argument("--seconds", type=float, default=10, help="run for so long")
    parser.add_argument("--count", type=int, help="interrupt each kind so often instead")
    options = parser.parse_args()
    interrupter = Interrupter(globals()[options.error])
    # The errors that interrupted greenlets and callbacks end with need not be reported.
    gevent.get_hub().exception_stream = None
    logging.getLogger("asyncio").disabled = True
    sys.unraisablehook = lambda _unraisable: None
    programs = 0
    kinds = options.kinds or list(KINDS)
    for name in kinds:
        enough = interrupter.count + (options.count or 0)
        end = time.monotonic() + options.seconds / len(kinds)
        while interrupter.count < enough if options.count else time.monotonic() < end:
            run(name, interrupter)
            programs += 1
    print(
        f"{programs} programs, {interrupter.count} of them interrupted by {options.error}: all held"
    )


if __name__ == "__main__":
    main()
