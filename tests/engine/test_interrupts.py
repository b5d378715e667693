"""Errors that the handlers of signals raise: nobody waits for ever for what they cut short."""

import asyncio
import contextlib
import gc
import itertools
import sys
from contextlib import contextmanager, suppress

import pytest
from native_threads import in_thread

import gevent
from gevent import aio, os, socket, subprocess
from gevent._core import TrackedRawGreenlet
from gevent.event import Event
from gevent.hub import Hub, set_hub
from gevent.server import StreamServer

pytestmark = pytest.mark.usefixtures("printed")


#: The files whose lines are not to be interrupted: this one and that of its context managers.
HELPERS = (__file__, contextlib.__file__)

#: Functions in which no signal comes, or none that matters. The first is called for the sake of
#: tracers. Weak references call the second, whose errors are printed. In the third, which calls one
#: function and then, finally, another one, signals come only as these begin or are over.
UNINTERRUPTED = ("_resumed", "_remove", "run_forever")


class Line:
    """A trace function that raises `KeyboardInterrupt` at one line that is run *inside*."""

    def __init__(self, number, inside):
        self.number = number
        self.inside = inside
        self.was_reached = False

    def __call__(self, frame, event, _argument):
        code = frame.f_code
        if not self.inside(gevent.getcurrent()) or code.co_filename in HELPERS:
            return None
        if code.co_name in UNINTERRUPTED:
            return None
        if event in ("call", "line"):
            if self.number == 0:
                self.was_reached = True
                sys.settrace(None)
                raise KeyboardInterrupt
            self.number -= 1
        return self

    @contextmanager
    def interrupting(self):
        before = sys.gettrace()
        sys.settrace(self)
        try:
            with suppress(KeyboardInterrupt):
                yield
        finally:
            sys.settrace(before)


def in_hub(running):
    """Return true for the hub."""
    return running is gevent.get_hub()


def in_greenlet(running):
    """Return true for greenlets that were spawned."""
    return isinstance(running, gevent.Greenlet)


def in_raw_greenlet(running):
    """Return true for the greenlets that the package makes for itself."""
    return isinstance(running, TrackedRawGreenlet)


def in_main_greenlet(running):
    """Return true for the main greenlets of threads."""
    return running.parent is None


def each_line(inside=in_hub):
    """Yield a `Line` for each line that is run inside, until the body of the loop has no more."""
    for number in itertools.count():
        # No finalizer of what the last line left may run where this one is looked for.
        gc.collect()
        line = Line(number, inside)
        yield line
        if not line.was_reached:
            break


def test_the_first_wait_of_a_thread():
    for line in each_line():

        def waits(line=line):
            gevent.get_hub().exception_stream = None
            with line.interrupting():
                gevent.sleep(0.001)
            gevent.sleep(0.001)
            return True

        assert in_thread(waits)


def test_the_end_of_everything():
    for line in each_line():

        def waits(line=line):
            hub = gevent.get_hub()
            hub.exception_stream = None
            with line.interrupting():
                hub.join()
            assert hub.join()
            # A dead hub has nothing left to do, either.
            return not hub.dead

        assert in_thread(waits)


def test_a_body_of_a_hub_that_always_fails():
    class Faulty(Hub):
        def run(self, *_results):
            raise ValueError("faulty")

    def waits():
        hub = Faulty()
        hub.exception_stream = None
        set_hub(hub)
        failures = 0
        while not hub.dead:
            with pytest.raises(ValueError, match="faulty"):
                gevent.sleep(0.001)
            failures += 1
        return failures

    # The first errors might be those of signals, so only the last one ends the hub.
    assert 1 < in_thread(waits) < 100


def test_the_start_of_the_monitor_thread(spare_hub):
    class Own(Hub):
        starts = 0

        def start_periodic_monitoring_thread(self):
            self.starts += 1
            if self.starts == 1:
                raise KeyboardInterrupt
            return super().start_periodic_monitoring_thread()

    set_hub(Own())
    with pytest.raises(KeyboardInterrupt):
        gevent.sleep(0.001)
    gevent.sleep(0.001)
    assert gevent.get_hub().starts == 2


def test_objects_that_several_wait_for():
    for line in each_line():
        events = [Event(), Event()]
        waiters = [gevent.spawn(gevent.wait, events), gevent.spawn(gevent.wait, events, count=1)]
        gevent.sleep(0)
        with line.interrupting():
            for event in events:
                event.set()
            gevent.joinall(waiters)
        assert len(gevent.joinall(waiters, timeout=20)) == 2


def test_the_time_limit_of_several():
    for line in each_line():
        waiter = gevent.spawn(gevent.wait, [Event()], timeout=0.001)
        with line.interrupting():
            waiter.join()
        assert waiter.get(timeout=20) == []


def test_children():
    for line in each_line():
        process = subprocess.Popen(["true"])
        with line.interrupting():
            process.wait()
        assert process.wait(timeout=20) == 0


# CPython warns of forks in a process with threads, as the tests' own may have.
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_children_that_were_forked():
    for line in each_line():
        ended = []
        pid = os.fork_and_watch(ended.append)
        if not pid:
            os._exit(3)
        with line.interrupting():
            assert os.waitpid(pid, 0) == (pid, 3 << 8)
        with suppress(ChildProcessError):
            os.waitpid(pid, 0)
        gevent.sleep(0)
        # The program's function is called once, also if it is what was interrupted.
        assert len(ended) == 1


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_any_child():
    for line in each_line():
        pid = os.fork_and_watch()
        if not pid:
            os._exit(0)
        got = (0, 0)
        with line.interrupting():
            # Another test may have left a child.
            while got[0] != pid:
                got = os.waitpid(-1, 0)
        while got[0] != pid:
            got = os.waitpid(-1, 0)
        assert got == (pid, 0)


@pytest.mark.parametrize("spawn", ["default", 1])
def test_servers_go_on(spawn):
    def answer(sock, _address):
        sock.sendall(sock.recv(1))

    def ask(server):
        with socket.create_connection(server.address, timeout=20) as sock:
            sock.sendall(b"x")
            return sock.recv(1)

    for line in each_line():
        server = StreamServer(("127.0.0.1", 0), answer, spawn=spawn)
        server.start()
        clients = [gevent.spawn(ask, server) for _ in range(3)]
        with line.interrupting():
            gevent.joinall(clients)
        gevent.joinall(clients, timeout=20)
        # The connection is closed whose handler could not be spawned.
        lost = [client for client in clients if client.value != b"x"]
        assert all(isinstance(client.exception, ConnectionError) for client in lost)
        assert len(lost) <= line.was_reached
        assert ask(server) == b"x"
        server.stop()


async def wait_for_a_greenlet():
    await gevent.spawn(gevent.sleep, 0.001)
    return 5


def test_coroutines():
    aio.run(wait_for_a_greenlet())
    for line in each_line():
        waiter = gevent.spawn(aio.run, wait_for_a_greenlet())
        with line.interrupting():
            waiter.join()
        # A handle of asyncio that was interrupted is gone, and its task with it.
        with gevent.Timeout(20):
            assert aio.run(wait_for_a_greenlet()) == 5
        waiter.kill()


def test_the_first_coroutine_of_a_thread():
    aio.run(wait_for_a_greenlet())
    for line in each_line(in_raw_greenlet):

        def works(line=line):
            hub = gevent.get_hub()
            hub.exception_stream = None
            with line.interrupting():
                aio.run(wait_for_a_greenlet())
            # Nothing is left, either, that keeps the hub running.
            return (aio.run(wait_for_a_greenlet()), hub.join(20))

        assert in_thread(works) == (5, True)


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
def test_callers_of_coroutines():
    def work():
        hub = gevent.get_hub()
        hub.exception_stream = None
        aio.run(wait_for_a_greenlet())
        for line in each_line(in_main_greenlet):
            with line.interrupting():
                aio.run(wait_for_a_greenlet())
            assert aio.run(wait_for_a_greenlet()) == 5
            assert hub.join(20)
        return True

    assert in_thread(work)


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
def test_own_loops_can_be_run_again():
    def work():
        gevent.get_hub().exception_stream = None
        loop = aio.EventLoop()
        with contextlib.closing(loop):
            for line in each_line(in_main_greenlet):
                with line.interrupting():
                    loop.run_until_complete(wait_for_a_greenlet())
                assert asyncio._get_running_loop() is None
                assert sys.get_asyncgen_hooks() == (None, None)
                assert loop.run_until_complete(wait_for_a_greenlet()) == 5
        return True

    assert in_thread(work)


def test_the_output_of_a_process():
    """`communicate` can be called again, and returns what no greenlet had read and then lost."""
    for line in each_line(in_greenlet):
        with subprocess.Popen(["echo", "words"], stdout=subprocess.PIPE) as process:
            with line.interrupting():
                process.communicate()
            output, _ = process.communicate(timeout=20)
            assert output == b"words\n" or (line.was_reached and output == b"")
