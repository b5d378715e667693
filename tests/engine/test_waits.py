"""The record of waits: each kind, its object, since when, and the holders of locks."""

import asyncio
import re
import subprocess
import sys
import textwrap
import threading

import pytest

import gevent
from gevent import _waits, aio, pywsgi, select, socket, util
from gevent import subprocess as green_subprocess
from gevent.event import AsyncResult, Event
from gevent.exceptions import LoopExit
from gevent.lock import BoundedSemaphore, RLock, Semaphore
from gevent.pool import Group, Pool
from gevent.queue import Channel, JoinableQueue, Queue
from gevent.threadpool import ThreadPool


@pytest.fixture
def started():
    """Return a function that starts a greenlet, which is killed at the end, and lets it wait."""
    greenlets = []

    def start(function, *args, raw=False):
        spawn = gevent.spawn_raw if raw else gevent.spawn
        # Waits are counted from the loop's time, which is old if it did not run for long.
        gevent.get_hub().loop.update_now()
        greenlets.append(spawn(function, *args))
        gevent.sleep(0.01)
        return greenlets[-1]

    yield start
    for greenlet in greenlets:
        gevent.kill(greenlet)
    gevent.sleep(0)


def held(lock):
    lock.acquire()
    return lock


def full(queue):
    queue.put(1)
    return queue


def filled(group):
    group.spawn(gevent.sleep, 30)
    return group


def sleeper():
    return gevent.spawn(gevent.sleep, 30)


OBJECTS = {
    "Greenlet.join": (sleeper, "join"),
    "Greenlet.get": (sleeper, "get"),
    "Event.wait": (Event, "wait"),
    "AsyncResult.get": (AsyncResult, "get"),
    "AsyncResult.wait": (AsyncResult, "wait"),
    "Semaphore.acquire": (lambda: Semaphore(0), "acquire"),
    "Semaphore.wait": (lambda: Semaphore(0), "wait"),
    "BoundedSemaphore.acquire": (lambda: held(BoundedSemaphore(1)), "acquire"),
    "RLock.acquire": (lambda: held(RLock()), "acquire"),
    "Queue.get": (Queue, "get"),
    "Queue.peek": (Queue, "peek"),
    "Group.join": (lambda: filled(Group()), "join"),
    "Pool.join": (lambda: filled(Pool(2)), "join"),
    "Queue.join": (lambda: full(JoinableQueue()), "join"),
    "Channel.get": (Channel, "get"),
}


@pytest.mark.parametrize("call", OBJECTS)
@pytest.mark.parametrize("raw", [False, True])
def test_objects(started, call, raw):
    make, method = OBJECTS[call]
    obj = make()
    greenlet = started(getattr(obj, method), raw=raw)
    wait = util.waiting_for(greenlet)
    assert wait.call == call
    assert wait.object is obj
    assert 0 <= wait.seconds < 30
    shown = f"<{type(obj).__name__} at {id(obj):#x}>"
    assert re.search(rf"Waiting \d+\.\d s in .*{call} on {shown}", told(greenlet))
    assert re.search(rf" waiting \d+\.\d s in {call} on {shown}>$", repr(greenlet))
    if isinstance(obj, gevent.Greenlet | Group):
        obj.kill()


def told(greenlet):
    return util.GreenletTree(greenlet).format()


def test_raw_greenlets_of_a_program_that_tracks_nothing(started):
    gevent.config.track_greenlet_tree = False
    try:
        greenlet = started(gevent.sleep, 30, raw=True)
    finally:
        gevent.config.track_greenlet_tree = True
    assert re.search(r" waiting \d+\.\d s in sleep>$", repr(greenlet))
    assert not hasattr(greenlet, "spawning_greenlet")


def test_the_host_of_a_group_waits_for_the_group(started):
    group = gevent.TaskGroup("crawl")
    release = Event()

    def host():
        with group:
            group.spawn(release.wait)

    greenlet = started(host)
    gevent.sleep(0)
    wait = util.waiting_for(greenlet)
    assert wait.call == "TaskGroup.join"
    assert wait.object is group
    assert f"TaskGroup.join on <TaskGroup at {id(group):#x}>" in repr(greenlet)
    release.set()
    greenlet.join()


@pytest.mark.parametrize("make", [lambda: full(Queue(1)), Channel])
def test_put(started, make):
    queue = make()
    assert util.waiting_for(started(queue.put, 2)).call == f"{type(queue).__name__}.put"


def test_sleep_and_switch(started):
    assert util.waiting_for(started(gevent.sleep, 30)).call == "sleep"
    assert "sleep" in repr(started(gevent.sleep, 30))
    assert util.waiting_for(started(lambda: gevent.get_hub().switch())).call == "switch"


def test_sockets(started):
    one, other = socket.socketpair()
    listener = socket.create_server(("127.0.0.1", 0))
    reading = util.waiting_for(started(one.recv, 1))
    assert reading.call == "socket.read"
    assert reading.descriptors == (one.fileno(),)
    other.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    assert util.waiting_for(started(other.sendall, b"x" * 1_000_000)).call == "socket.write"
    accepting = started(listener.accept)
    port = listener.getsockname()[1]
    assert f"socket.accept on <socket fd={listener.fileno()} 127.0.0.1:{port}>" in told(accepting)
    for sock in (one, other, listener):
        sock.close()


def test_connect(started):
    # A listener whose queue is full answers no more of those that connect.
    listener = socket.create_server(("127.0.0.1", 0), backlog=0)
    kept = []
    waits = []
    for _ in range(8):
        sock = socket.socket()
        kept.append(sock)
        greenlet = started(sock.connect, listener.getsockname())
        wait = util.waiting_for(greenlet)
        if wait is not None:
            waits.append((wait.call, wait.function))
    assert ("socket.connect", "gevent.socket.socket.connect") in waits
    for sock in (*kept, listener):
        sock.close()


def test_descriptors(started):
    one, other = socket.socketpair()
    wait = util.waiting_for(started(lambda: select.select([one, other], [], [])))
    assert (wait.call, wait.function) == ("poll", "gevent.select.select")
    assert set(wait.descriptors) == {one.fileno(), other.fileno()}
    poll = select.poll()
    poll.register(one, select.POLLIN)
    wait = util.waiting_for(started(poll.poll))
    assert (wait.call, wait.subject) == ("poll", f"descriptor {one.fileno()}")
    one.close()
    other.close()


def test_watcher(started):
    hub = gevent.get_hub()
    with hub.loop.timer(30) as timer:
        wait = util.waiting_for(started(hub.wait, timer))
        assert wait.object is timer
        assert wait.call == "timer.wait"


def test_functions_of_the_package(started):
    child = green_subprocess.Popen(["sleep", "30"])
    wait = util.waiting_for(started(child.wait))
    child.kill()
    assert wait.function == "gevent.subprocess.Popen.wait"
    release = threading.Event()
    pool = gevent.get_hub().threadpool
    try:
        wait = util.waiting_for(started(pool.apply, release.wait))
    finally:
        release.set()
    assert (wait.call, wait.function) == ("AsyncResult.get", "gevent.pool.GroupMappingMixin.apply")


def test_several_objects(started):
    objects = [Event(), AsyncResult()]
    wait = util.waiting_for(started(gevent.wait, objects))
    assert (wait.call, wait.function) == ("Waiter.get", "gevent.wait")
    wait = util.waiting_for(started(lambda: next(gevent.iwait(objects))))
    assert (wait.call, wait.function) == ("Waiter.get", "gevent.iwait")


def test_thread_pools(started):
    pool, release = ThreadPool(1), threading.Event()
    try:
        for _ in range(2):
            pool.spawn(release.wait)
        for call, *args in (("spawn", int), ("join",), ("kill",)):
            greenlet = started(getattr(pool, call), *args)
            wait = util.waiting_for(greenlet)
            assert wait.object is pool
            assert wait.call == f"ThreadPool.{'spawn' if args else 'join'}"
            assert wait.function == f"gevent.threadpool.ThreadPool.{call}"
            greenlet.kill()
    finally:
        release.set()
        pool.kill()


def waits():
    every = map(util.waiting_for, _waits.all_greenlets())
    return [wait for wait in every if wait is not None]


def test_the_end_of_a_server_with_a_connection(started):
    answering, may_end = Event(), Event()

    def answer(_environ, start_response):
        answering.set()
        may_end.wait(30)
        start_response("200 OK", [])
        return [b""]

    server = pywsgi.WSGIServer(("127.0.0.1", 0), answer, log=None)
    server.start()
    with socket.create_connection(server.address) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert answering.wait(20)
        wait = util.waiting_for(started(server.stop, 30))
        # A connection that is left waiting would keep later tests from a LoopExit.
        may_end.set()
    assert wait.object is server
    assert wait.call == "WSGIServer.join"


def test_a_loop_of_asyncio_that_has_nothing_to_do(started):
    wait = util.waiting_for(started(aio.run, asyncio.sleep(30)))
    assert (wait.call, wait.function) == ("Event.wait", "gevent.aio.run")
    with gevent.Timeout(20):
        while not (loops := [wait.object for wait in waits() if wait.call == "SharedLoop.wait"]):
            gevent.sleep(0.01)
    assert len(loops) == 1
    assert isinstance(loops[0], asyncio.AbstractEventLoop)


def test_others_are_counted(started):
    event = Event()
    greenlets = [started(event.wait) for _ in range(3)]
    started(Event().wait)
    assert "for which 2 others wait" in told(greenlets[0])
    started(event.wait, raw=True)
    assert "for which 3 others wait" in told(greenlets[0])


def test_nothing_is_left_when_it_goes_on(started):
    event = Event()
    greenlet, raw = started(event.wait), started(event.wait, raw=True)
    event.set()
    gevent.sleep(0.01)
    assert util.waiting_for(greenlet) is None
    assert util.waiting_for(raw) is None
    assert "waiting" not in repr(greenlet)
    assert util.waiting_for(gevent.getcurrent()) is None


def test_a_greenlet_that_is_its_lock_s_holder_can_be_shown(started):
    lock = RLock()

    def hold(mine):
        with mine:
            gevent.sleep(30)

    greenlet = started(hold, lock)
    assert "hold(" in repr(greenlet)


class TestDeadlocks:
    def test_cycle_of_locks(self):
        locks = [Semaphore(1), RLock(), BoundedSemaphore(1)]

        def take(first, second):
            with first:
                gevent.sleep(0.001)
                with second:
                    pass

        greenlets = [
            gevent.spawn(take, lock, locks[(index + 1) % 3]) for index, lock in enumerate(locks)
        ]
        with pytest.raises(LoopExit) as caught:
            greenlets[0].join()
        text = str(caught.value)
        assert "The main greenlet is waiting" in text
        assert "Deadlock of 3 greenlets" in text
        for lock, holder in zip(locks, greenlets, strict=True):
            where = f"on <{type(lock).__name__} at {id(lock):#x}>"
            assert re.search(rf"{re.escape(where)}\n    held by <Greenlet at {id(holder):#x}", text)
        gevent.killall(greenlets)

    def test_the_main_greenlet_in_it(self):
        lock = Semaphore(1)
        lock.acquire()
        waiter = gevent.spawn(lock.acquire)
        with pytest.raises(LoopExit) as caught:
            waiter.join()
        text = str(caught.value)
        assert "held by the main greenlet" in text
        assert f"that is the end of <Greenlet at {id(waiter):#x}" in text
        waiter.kill()

    def test_a_lock_taken_twice(self):
        lock = Semaphore(1)
        lock.acquire()
        with pytest.raises(LoopExit, match="waits for itself"):
            lock.acquire()

    def test_no_cycle_is_made_up(self):
        with pytest.raises(LoopExit) as caught:
            Event().wait()
        assert "Deadlock" not in str(caught.value)
        assert "Event.wait" in str(caught.value)

    def test_one_who_gave_it_back_holds_nothing(self):
        lock = Semaphore(1)
        gevent.spawn(lock.acquire).join()
        lock.release()
        event = Event()
        waiter = gevent.spawn(event.wait)
        with pytest.raises(LoopExit) as caught:
            waiter.join()
        assert "held by" not in str(caught.value)
        waiter.kill()


def test_patched_program():
    program = """
        from gevent import monkey; monkey.patch_all()
        import gevent, queue, socket, subprocess, threading
        from gevent import util

        def shown(function, *args):
            greenlet = gevent.spawn(function, *args)
            gevent.sleep(0.01)
            text = util.waiting_for(greenlet).text()
            # A program that is left running would hold the pipe of this one's output open.
            greenlet.kill()
            return text

        lock = threading.Lock(); lock.acquire()
        rlock = threading.RLock(); gevent.spawn(rlock.acquire).join()
        condition = threading.Condition()
        def wait():
            with condition:
                condition.wait()
        thread = threading.Thread(target=gevent.sleep, args=(30,), daemon=True); thread.start()
        print(shown(lock.acquire))
        print(shown(rlock.acquire))
        print(shown(wait))
        print(shown(threading.Event().wait))
        print(shown(queue.Queue().get))
        print(shown(thread.join))
        print(shown(subprocess.run, ["sleep", "30"]))
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=50
    )
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    patterns = (
        r"in LockType\.acquire on <LockType at 0x",
        r"in \w*RLock\.acquire on <\w*RLock at 0x",
        r"in threading\.Condition\.wait: LockType\.acquire",
        r"in Event\.wait on <Event at 0x",
        r"in Queue\.get on <Queue at 0x",
        r"in \S*join",
        r"in \S*subprocess\.run: ",
    )
    for line, pattern in zip(lines, patterns, strict=True):
        assert re.match(rf"waiting \d+\.\d s {pattern}", line), line
