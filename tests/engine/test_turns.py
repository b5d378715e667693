"""The order within a turn of the loop, and the rest of a task that a hub was switched from."""

import socket as native
import sys
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress

import greenlet
import pytest
from conditions import until
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import gevent
from gevent import core, select, socket
from gevent.event import AsyncResult, Event
from gevent.hub import Waiter
from gevent.lock import Semaphore
from gevent.pool import Group
from gevent.server import StreamServer


def be_busy(seconds: float) -> None:
    """Let time pass without letting anybody run."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def connected_pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        return client, listener.accept()[0]


#: The seconds within which something must come; no stall between two statements is as long.
IN_TIME = 0.25


def limited_by_a_timeout(receive: Callable) -> object:
    with gevent.Timeout(IN_TIME):
        return receive()


def limited_by_a_scope(receive: Callable) -> object:
    with gevent.fail_after(IN_TIME):
        return receive()


class TestOrder:
    @pytest.mark.parametrize("pair", [socket.socketpair, connected_pair])
    @pytest.mark.parametrize(
        "wait",
        [
            lambda near: limited_by_a_timeout(lambda: near.recv(1)),
            lambda near: (near.settimeout(IN_TIME), near.recv(1))[1],
            lambda near: gevent.with_timeout(IN_TIME, near.recv, 1),
            lambda near: socket.wait_read(near.fileno(), timeout=IN_TIME) or near.recv(1),
            lambda near: select.select([near], [], [], IN_TIME)[0] and near.recv(1),
            lambda near: limited_by_a_scope(lambda: near.recv(1)),
        ],
        ids=["Timeout", "settimeout", "with_timeout", "wait_read", "select", "scope"],
    )
    def test_what_came_in_time_is_received_after_a_busy_moment(
        self, wait: Callable, pair: Callable
    ) -> None:
        near, far = pair()
        waiting = gevent.spawn(wait, near)
        gevent.sleep(0)
        far.send(b"x")
        time.sleep(IN_TIME + 0.02)
        assert waiting.get(timeout=20) == b"x"
        near.close()
        far.close()

    @pytest.mark.parametrize("pair", [socket.socketpair, connected_pair])
    def test_timers_come_before_descriptors_and_both_before_what_they_spawn(
        self, pair: Callable
    ) -> None:
        order: list[str] = []
        near, far = pair()

        def sleeper(seconds: float) -> None:
            gevent.sleep(seconds)
            order.append("timer")
            gevent.spawn(order.append, "spawned by a timer")

        def reader() -> None:
            far.recv(1)
            order.append("descriptor")
            gevent.spawn(order.append, "spawned by a descriptor")

        # The reader waits first, and what it waits for comes first.
        waiting = [gevent.spawn(reader), *(gevent.spawn(sleeper, s) for s in (0.06, 0.05))]
        gevent.sleep(0)
        near.send(b"x")
        be_busy(0.1)
        gevent.joinall(waiting)
        gevent.sleep(0)
        near.close()
        far.close()
        assert order == ["timer"] * 2 + ["descriptor"] + ["spawned by a timer"] * 2 + [
            "spawned by a descriptor"
        ]

    @given(
        st.lists(
            st.tuples(st.sampled_from(["timer", "descriptor", "watcher"]), st.integers(1, 5)),
            min_size=1,
            max_size=8,
        )
    )
    @settings(max_examples=15, deadline=None)
    def test_of_any_mixture(self, sources: list[tuple[str, int]]) -> None:
        order: list[tuple[int, str]] = []
        sockets, waiting, watchers = [], [], []
        hub = gevent.get_hub()

        def note(rank: int, what: str) -> None:
            order.append((rank, what))
            gevent.spawn(order.append, (2, what))

        def sleep(delay: int) -> None:
            gevent.sleep(0.05 + delay / 1000)
            note(0, "timer")

        def read(end: socket.socket) -> None:
            end.recv(1)
            note(1, "descriptor")

        for kind, delay in sources:
            if kind == "timer":
                waiting.append(gevent.spawn(sleep, delay))
                continue
            near, far = native.socketpair() if kind == "watcher" else socket.socketpair()
            sockets += [near, far]
            if kind == "descriptor":
                waiting.append(gevent.spawn(read, far))
            else:
                watcher = hub.loop.io(far.fileno(), 1)
                watcher.start(lambda w=watcher: (w.stop(), note(1, "watcher")))
                watchers.append(watcher)
        gevent.sleep(0)
        # A stall may let a timer come before there is anything to read: that is no mixture.
        mixed = not order
        for near in sockets[::2]:
            near.send(b"x")
        be_busy(0.08)
        gevent.joinall(waiting)
        until(lambda: len(order) == 2 * len(sources))
        for watcher in watchers:
            watcher.close()
        for end in sockets:
            end.close()
        assume(mixed)
        assert [rank for rank, _ in order] == sorted(rank for rank, _ in order)

    def test_a_listener_closed_by_a_timer_takes_no_connection_in(self) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        shared = listener.dup()
        handled: list[int] = []
        server = StreamServer(listener, lambda *_: handled.append(listener.fileno()))
        server.start()
        gevent.sleep(0)
        closer = gevent.spawn(lambda: (gevent.sleep(0.05), server.close()))
        gevent.sleep(0)
        with native.create_connection(shared.getsockname()):
            be_busy(0.1)
            closer.join()
            gevent.sleep(0.002)
            assert handled == []
            # It is still there for whoever shares the socket.
            shared.settimeout(20)
            shared.accept()[0].close()
        shared.close()

    def test_a_delay_of_nothing_comes_before_timers_that_are_overdue(self) -> None:
        order: list[str] = []
        gevent.spawn_later(0.005, order.append, "overdue")
        be_busy(0.02)
        gevent.spawn_later(0, order.append, "at once")
        gevent.sleep(0.02)
        assert order == ["at once", "overdue"]


def never() -> None:
    """Wait without ever leaving the hub anything to do."""
    while True:
        gevent.sleep(0.002)


class TestHubInTheMiddleOfATask:
    @pytest.mark.parametrize("link", ["link", "rawlink"])
    @pytest.mark.parametrize("busy", [never, lambda: gevent.sleep(60)], ids=["busy", "idle"])
    def test_links_that_wait_keep_nobody_else_from_the_end(
        self, link: str, busy: Callable[[], None]
    ) -> None:
        started: list[gevent.Greenlet] = []

        def serve(_: object) -> None:
            if link == "link":
                started.append(greenlet.getcurrent())
                busy()
            else:
                started.append(gevent.spawn(busy))
                started[0].switch()

        source = gevent.spawn(gevent.sleep, 0.005)
        group = Group()
        group.add(source)
        result: AsyncResult = AsyncResult()
        told: list[str] = []
        getattr(source, link)(serve)
        waiters = [
            gevent.spawn(lambda: (source.join(), told.append("join"))),
            gevent.spawn(lambda: (source.get(), told.append("get"))),
            gevent.spawn(lambda: (gevent.wait([source]), told.append("wait"))),
            gevent.spawn(lambda: (gevent.joinall([source]), told.append("joinall"))),
            gevent.spawn(lambda: (group.join(), told.append("group"))),
            gevent.spawn(lambda: (result.get(), told.append("result"))),
        ]
        source.link(lambda _: told.append("link"))
        source.link(result)
        gevent.joinall(waiters, timeout=10)
        gevent.sleep(0.01)
        for served in started:
            gevent.kill(served)
        gevent.sleep(0)
        assert sorted(told) == ["get", "group", "join", "joinall", "link", "result", "wait"]

    def test_a_link_of_a_semaphore_that_waits_keeps_nobody_from_acquiring(self) -> None:
        semaphore = Semaphore(0)
        acquired: list[int] = []
        served: list[greenlet.greenlet] = []

        def serve(_: object) -> None:
            served.append(greenlet.greenlet(never, gevent.get_hub()))
            served[0].switch()

        semaphore.rawlink(serve)
        waiters = [
            gevent.spawn(lambda n=n: (semaphore.acquire(), acquired.append(n))) for n in range(3)
        ]
        gevent.sleep(0)
        for _ in waiters:
            semaphore.release()
        gevent.joinall(waiters, timeout=10)
        semaphore.unlink(serve)
        gevent.kill(served[0])
        gevent.sleep(0)
        assert acquired == [0, 1, 2]

    def test_errors_in_the_main_greenlet_leave_no_task_behind(self, output_of: Callable) -> None:
        program = """
            import gevent
            gevent.get_hub().exception_stream = None
            told = []
            def fail(_): raise SystemExit("for the main greenlet")
            source = gevent.spawn(lambda: None)
            source.rawlink(fail)
            source.link(lambda _: told.append("link"))
            try:
                gevent.sleep(10)
            except SystemExit:
                pass
            busy = [gevent.spawn(lambda: [gevent.sleep(0) for _ in range(20)]) for _ in range(2)]
            gevent.joinall(busy)
            print(told)
        """
        assert output_of(program) == "['link']\n"


class Kept:
    """Something whose end can be seen."""


class TestWhatTheHubHandsOver:
    """It is not kept by the hub, however long greenlets go on without it."""

    @pytest.fixture
    def pings(self):
        """A greenlet that goes on with another one for so many turns, without the hub."""
        ends = socket.socketpair()

        def echo() -> None:
            while ends[1].recv(1):
                ends[1].send(b"x")

        peer = gevent.spawn(echo)

        def ping(turns: int) -> None:
            for _ in range(turns):
                ends[0].send(b"x")
                ends[0].recv(1)

        yield ping
        ends[0].close()
        peer.join()
        ends[1].close()

    @pytest.mark.parametrize("handler", ["callback", "timer", "async", "link", "spawn_raw"])
    def test_arguments(self, handler: str, pings: Callable[[int], None]) -> None:
        hub = gevent.get_hub()
        seen: list[weakref.ref] = []
        worked: list[bool] = []

        def work(_: object = None) -> None:
            # Runs in a greenlet of its own, and waits.
            pings(3)
            worked.append(True)

        def in_hub(kept: object) -> None:
            # What the hub called goes on in a greenlet, which waits before this returns.
            greenlet.greenlet(work, hub).switch(None)

        def begin() -> object:
            kept = Kept()
            seen.append(weakref.ref(kept))
            if handler == "callback":
                hub.loop.run_callback(in_hub, kept)
                return None
            if handler == "spawn_raw":
                return gevent.spawn_raw(lambda k: (seen.append(weakref.ref(k)), work())[0], kept)
            if handler == "link":
                source = gevent.spawn(lambda: None)
                source.kept = kept
                source.link(work)
                return None
            watcher = {
                "timer": lambda: hub.loop.timer(0.001),
                "async": lambda: hub.loop.async_(),
            }[handler]()
            watcher.start(lambda k: (watcher.stop(), in_hub(k)), kept)
            if handler == "async":
                watcher.send()
            return watcher

        handle = begin()
        until(lambda: worked)
        pings(5)
        del handle
        gevent.sleep(0)
        assert seen[0]() is None

    def test_the_traceback_of_a_handled_timeout(self, pings: Callable[[int], None]) -> None:
        seen: list[weakref.ref] = []

        def call() -> None:
            kept = Kept()
            seen.append(weakref.ref(kept))
            gevent.sleep(5)

        def worker() -> bool:
            try:
                with gevent.Timeout(0.001):
                    call()
            except gevent.Timeout:
                pass
            pings(2)
            return seen[0]() is None

        assert gevent.spawn(worker).get(timeout=10)

    def test_the_error_of_a_kill(self, pings: Callable[[int], None]) -> None:
        seen: list[weakref.ref] = []

        class Ending(Exception, Kept):
            pass

        def worker() -> None:
            with suppress(Ending):
                gevent.sleep(5)
            pings(2)
            seen.append(seen[0]() is None)

        victim = gevent.spawn(worker)
        gevent.sleep(0)

        def kill() -> None:
            error = Ending()
            seen.append(weakref.ref(error))
            victim.kill(error, block=False)

        kill()
        victim.join()
        assert seen[1] is True


class TestLoops:
    @pytest.mark.parametrize("mode", ["nowait", "once"])
    def test_one_turn_ends_though_callbacks_schedule_callbacks(self, mode: str) -> None:
        loop = core.loop(default=False)
        ran = [0]

        def again() -> None:
            ran[0] += 1
            if ran[0] < 100_000:
                loop.run_callback(again)

        loop.run_callback(again)
        loop.run(**{mode: True})
        loop.destroy()
        assert 0 < ran[0] < 1_000

    def test_what_waits_on_a_loop_that_was_replaced_goes_on(self, output_of: Callable) -> None:
        program = """
            import threading, gevent
            from gevent import core, select, socket
            from gevent.event import Event
            hub = gevent.get_hub()
            first, second = socket.socketpair()
            told, event = [], Event()
            waiting = [
                gevent.spawn(lambda: (gevent.sleep(0.05), told.append("slept"))),
                gevent.spawn(lambda: (second.recv(1), told.append("read"))),
                gevent.spawn(lambda: (event.wait(), told.append("event"))),
            ]
            gevent.sleep(0)
            for _ in range(2):
                hub.loop = core.loop()
                # The same one again changes nothing.
                hub.loop = hub.loop
            hub.loop = hub.loop
            try:
                gevent.spawn(gevent.sleep, 10).get(timeout=0.02)
            except gevent.Timeout:
                told.append("timeout")
            first.send(b"x")
            event.set()
            gevent.joinall(waiting, timeout=20)
            print(sorted(told))
        """
        assert output_of(program) == "['event', 'read', 'slept', 'timeout']\n"


class TestIdleTime:
    def test_is_the_hubs_for_whoever_samples_frames(self) -> None:
        main = threading.get_ident()
        seen: list[tuple[str, str]] = []
        enough = Event()

        def sample() -> None:
            # A busy machine catches the greenlets at work too, as they begin to wait.
            for _ in range(5000):
                code = sys._current_frames()[main].f_code
                seen.append((code.co_filename.rpartition("gevent/")[2], code.co_name))
                if seen[-50:] == [("hub.py", "run")] * 50:
                    enough.set()
                    return
                time.sleep(0.002)

        threading.Thread(target=sample, daemon=True).start()
        idle = [gevent.spawn(gevent.sleep, 60), gevent.spawn(Event().wait, 60)]
        assert enough.wait(20), seen[-50:]
        gevent.killall(idle)

    def test_is_the_hubs_for_whoever_traces_switches(self) -> None:
        hub = gevent.get_hub()
        current: list[greenlet.greenlet] = []
        ready, far = native.socketpair()

        def trace(_: str, pair: tuple) -> None:
            current.append(pair[1])

        greenlet.settrace(trace)
        try:
            waiter = Waiter()
            thread = threading.Timer(0.02, ready.send, [b"x"])
            thread.start()
            watcher = hub.loop.io(far.fileno(), 1)
            watcher.start(waiter.switch, None)
            waiter.get()
            # The last switch before the wait went to the hub, and the one after it came from there.
            assert current[-2] is hub
        finally:
            greenlet.settrace(None)
            watcher.close()
            thread.join()
            ready.close()
            far.close()
