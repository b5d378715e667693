"""Names of gevent 0.13: libevent's events, look-ups and buffers in gevent.core."""

import os
import signal
import warnings

import pytest
from conditions import until

import gevent
from gevent import core
from gevent.event import AsyncResult

pytestmark = pytest.mark.filterwarnings("ignore:.*is of gevent 0.13:DeprecationWarning")


def calls():
    """A callback, and what it was called with."""
    seen = []
    return (lambda *args: seen.append(args)), seen


class TestEvents:
    def test_once(self, pipe):
        reader, writer = pipe
        callback, seen = calls()
        event = core.event(core.EV_READ, reader, callback, "arg")
        assert (event.fd, event.events, event.events_str) == (reader, core.EV_READ, "READ")
        assert (event.callback, event.arg, event.pending) == (callback, "arg", False)
        assert event.flags_str == "INIT"
        event.add()
        assert event.pending
        assert event.flags_str == "INSERTED|INIT"
        os.write(writer, b"x")
        until(lambda: seen)
        assert seen == [(event, core.EV_READ)]
        assert not event.pending

    def test_again_and_again(self, pipe):
        reader, writer = pipe
        seen = []

        def callback(event, evtype):
            seen.append(os.read(event.fd, 1))

        with core.read_event(reader, callback, persist=True) as event:
            assert event.events_str == "READ|PERSIST"
            for count, octet in enumerate(b"abc"):
                os.write(writer, bytes([octet]))
                until(lambda count=count: len(seen) > count)
            assert event.pending
        assert seen == [b"a", b"b", b"c"]
        assert not event.pending

    def test_timeout(self, pipe):
        callback, seen = calls()
        event = core.read_event(pipe[0], callback, timeout=0.01, persist=True)
        assert event.flags_str == "TIMEOUT|INSERTED|INIT"
        until(lambda: seen)
        assert seen == [(event, core.EV_TIMEOUT)]
        assert not event.pending

    def test_a_new_timeout_replaces_the_old_one(self, pipe):
        callback, seen = calls()
        event = core.read_event(pipe[0], callback, timeout=0.01)
        event.add(30)
        gevent.sleep(0.05)
        assert seen == []
        event.cancel()
        assert not event.pending

    def test_a_negative_timeout_is_none(self, pipe):
        event = core.event(core.EV_READ, pipe[0], print)
        with pytest.warns(DeprecationWarning, match="a negative timeout"):
            event.add(-1)
        assert event.flags_str == "INSERTED|INIT"
        event.cancel()

    def test_write_and_both(self, pair):
        one, other = pair
        callback, seen = calls()
        core.write_event(one, callback)
        both = core.readwrite_event(one, callback, persist=True, arg=5)
        until(lambda: len(seen) > 1)
        assert seen[0][1] == seen[1][1] == core.EV_WRITE
        other.send(b"x")
        until(lambda: seen[-1] == (both, core.EV_READ | core.EV_WRITE))
        assert both.arg == 5
        both.cancel()

    def test_cancel(self, pipe):
        callback, seen = calls()
        event = core.read_event(pipe[0], callback, timeout=0.01)
        event.cancel()
        event.cancel()
        os.write(pipe[1], b"x")
        gevent.sleep(0.03)
        assert seen == []

    def test_callbacks_run_in_the_hub(self):
        where = AsyncResult()
        core.timer(0.001, lambda: where.set(gevent.getcurrent()))
        assert where.get(timeout=10) is gevent.get_hub()

    def test_repr(self, pipe):
        event = core.event(core.EV_READ | core.EV_WRITE | 0x40, pipe[0], print, "arg")
        assert repr(event).startswith(
            f"<event at 0x{id(event):x} fd={pipe[0]} events=READ|WRITE|0x40"
        )
        assert "flags=INIT cb=<built-in function print> arg='arg'>" in repr(event)

    def test_what_cannot_be_called(self, pipe):
        with pytest.raises(TypeError):
            core.event(core.EV_READ, pipe[0], "callback")

    def test_errors_are_reported_by_the_hub(self, pipe, capsys):
        core.timer(0, lambda: 1 / 0)
        until(lambda: "ZeroDivisionError" in capsys.readouterr().err)


class TestTimersAndSignals:
    def test_timer(self):
        result = AsyncResult()
        timer = core.timer(0.001, lambda *a, **k: result.set((a, k)), 1, two=2)
        assert (timer.arg, timer.pending, timer.events_str) == (((1,), {"two": 2}), True, "TIMEOUT")
        assert result.get(timeout=10) == ((1,), {"two": 2})
        assert not timer.pending

    def test_todays_timer(self):
        loop = gevent.get_hub().loop
        timer = core.timer(loop, 0.001)
        assert type(timer) is type(loop.timer(1))
        assert isinstance(timer, core.timer)
        assert isinstance(loop.timer(1), core.timer)
        assert not isinstance(loop.io(0, 1), core.timer)
        assert issubclass(type(timer), core.timer)
        assert not issubclass(int, core.timer)
        called = AsyncResult()
        core.timer(loop=loop, after=0.001).start(called.set, 5)
        assert called.get(timeout=10) == 5
        with pytest.raises(TypeError):
            core.timer("loop")

    def test_a_subclass_of_todays_timer(self):
        class Own(core.timer):
            pass

        own = Own(gevent.get_hub().loop, 0.001)
        assert type(own) is Own
        assert isinstance(own, core.timer)
        assert not isinstance(gevent.get_hub().loop.timer(1), Own)

    def test_signal(self):
        callback, seen = calls()
        event = core.signal(signal.SIGUSR1, callback, "arg")
        assert (event.fd, event.events_str) == (signal.SIGUSR1, "SIGNAL|PERSIST")
        assert event.flags_str == "SIGNAL|INIT"
        for count in range(2):
            os.kill(os.getpid(), signal.SIGUSR1)
            until(lambda count=count: len(seen) > count)
        event.cancel()
        assert seen == [("arg",), ("arg",)]

    def test_todays_signal(self):
        loop = gevent.get_hub().loop
        watcher = core.signal(loop, signal.SIGUSR1)
        assert type(watcher) is type(loop.signal(signal.SIGUSR1))

    def test_active_event(self):
        order = []
        event = core.active_event(order.append, "active")
        core.timer(0, order.append, "timer")
        assert event.pending
        assert event.flags_str == "ACTIVE|INIT"
        gevent.sleep(0.01)
        assert order == ["active", "timer"]
        assert not event.pending
        event.add()
        event.add()
        gevent.sleep(0)
        assert order == ["active", "timer", "active"]
        event.add()
        event.cancel()
        gevent.sleep(0)
        assert len(order) == 3


class TestLoop:
    def test_dispatch(self, output_of):
        code = """
            from gevent import core
            core.init()
            print(core.dispatch())
            core.timer(0.001, core.timer, 0.001, print, "second")
            print(core.dispatch(), core.dispatch())
        """
        assert output_of(code, PYTHONWARNINGS="ignore") == "1\nsecond\n0 1\n"

    def test_loop_with_the_setting(self, output_of):
        code = """
            from gevent import core
            print(core.loop())
            core.active_event(print, "active")
            core.timer(0.25, print, "timer")
            late = core.timer(30, print, "late")
            print(core.loop(nonblock=True))
            while late.pending:
                print(core.loop())
                late.cancel()
            print(core.loop(True))
        """
        settings = {"PYTHONWARNINGS": "ignore", "GEVENT_COMPAT": "1"}
        assert output_of(code, **settings) == "1\nactive\n0\ntimer\n0\n1\n"

    def test_loop_without_the_setting(self):
        assert core.loop is type(gevent.get_hub().loop)

    def test_a_mechanism_that_is_not_wanted(self, run_python):
        """The loop goes by the name of the next one, and says once that it waits as ever."""
        code = """
            import threading, gevent
            gevent.sleep(0)
            other = threading.Thread(target=gevent.sleep, args=(0,))
            other.start()
            other.join()
            from gevent import core
            print(core.get_method())
        """
        for variables, name in (
            ({"EVENT_NOEPOLL": "1"}, "poll"),
            ({"EVENT_NOEPOLL": "1", "EVENT_NOPOLL": ""}, "select"),
            ({"EVENT_NOPOLL": "1"}, "epoll"),
            ({"EVENT_NOEPOLL": "1", "GEVENT_BACKEND": "epoll"}, "epoll"),
        ):
            result = run_python(code, PYTHONWARNINGS="ignore::DeprecationWarning", **variables)
            assert result.stdout == f"{name}\n", result.stderr
            told = result.stderr.count("RuntimeWarning: EVENT_NOEPOLL is set")
            assert told == (name != "epoll"), result.stderr

    def test_versions(self):
        assert core.get_version() == core.get_header_version()
        assert core.get_method() == gevent.get_hub().backend == "epoll"


class TestBuffer:
    @pytest.fixture
    def buffer(self):
        with warnings.catch_warnings(action="ignore"):
            return core.buffer(b"one\ntwo\nthree")

    def test_read(self, buffer):
        assert len(buffer) == 13
        assert [buffer.read(5), buffer.read(100), buffer.read()] == [b"one\nt", b"wo\nthree", b""]
        assert buffer

    def test_lines(self, buffer):
        assert [buffer.readline(2), buffer.readline(), next(buffer)] == [b"on", b"e\n", b"two\n"]
        assert buffer.readlines() == [b"three"]
        assert list(buffer) == []

    def test_readlines_stops_at_the_hint(self, buffer):
        assert buffer.readlines(3) == [b"one\n"]
        assert buffer.readlines(5) == [b"two\n", b"three"]

    def test_write_and_detach(self, buffer):
        buffer.write(b"\n")
        assert buffer.readlines()[-1] == b"three\n"
        buffer.write(b"more")
        buffer.detach()
        buffer.write(b"more")
        assert (buffer.read(), len(buffer)) == (b"", 0)
