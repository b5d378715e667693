"""The monitor thread: its functions, blocked loops, memory; and what it costs the hub."""

import gc
import io
import json
import os
import re
import sys
import threading
from time import perf_counter
from types import SimpleNamespace

import pytest
from greenlet import getcurrent, gettrace, settrace

import gevent
from gevent import _monitor, events
from gevent._blocking import place_of
from gevent._tracer import GreenletTracer, HubProbe
from gevent.hub import get_hub, reinit


class OtherHub:
    """A hub that is not of this package."""

    _threadpool = _resolver = None
    dead = False

    def __init__(self):
        self.thread_ident = threading.get_ident()
        self.exception_stream = io.StringIO()
        self.errors = []

    def __bool__(self):
        return not self.dead

    def handle_error(self, *args):
        self.errors.append(args)

    @property
    def loop(self):
        return self

    def reinit(self):
        pass


@pytest.fixture
def threads(monkeypatch):
    """Let no monitor start a thread; return those it would have started."""
    started = []

    def start_new_thread(function, arguments):
        started.append(function)
        return len(started)

    monkeypatch.setattr(_monitor, "start_new_thread", start_new_thread)
    monkeypatch.setattr(_monitor, "thread_sleep", lambda seconds: None)
    return started


@pytest.fixture
def hub():
    return OtherHub()


@pytest.fixture
def monitor(threads, hub):
    made = _monitor.PeriodicMonitoringThread(hub)
    yield made
    made.kill()
    assert gettrace() is None


@pytest.fixture
def seen():
    """Return the list of the events that are emitted from now on."""
    emitted = []
    events.subscribers.append(emitted.append)
    yield emitted
    events.subscribers.remove(emitted.append)


@pytest.fixture
def setting(monkeypatch):
    """Return a function that changes a setting for the test."""
    before = {}

    def change(name, value):
        before.setdefault(name, getattr(gevent.config, name))
        setattr(gevent.config, name, value)

    yield change
    for name, value in before.items():
        setattr(gevent.config, name, value)


class TestFunctions:
    def test_add_change_remove(self, monitor):
        calls = []
        monitor.add_monitoring_function(calls.append, 1)
        assert [entry.period for entry in monitor.monitoring_functions()] == [0.1, 1]
        monitor.add_monitoring_function(calls.append, 2)
        assert [entry.period for entry in monitor.monitoring_functions()] == [0.1, 2]
        monitor.add_monitoring_function(calls.append, None)
        assert len(monitor.monitoring_functions()) == 1

    def test_refused(self, monitor):
        with pytest.raises(ValueError, match="function must be callable"):
            monitor.add_monitoring_function(None, 1)
        for period in (0, -1):
            with pytest.raises(ValueError, match="Period must be positive"):
                monitor.add_monitoring_function(len, period)

    def test_sleep_time(self, monitor, setting):
        assert monitor.calculate_sleep_time() == 0.1
        monitor.add_monitoring_function(len, 0.05)
        assert monitor.calculate_sleep_time() == 0.05
        monitor.add_monitoring_function(len, 0.0001)
        assert monitor.calculate_sleep_time() == monitor.min_sleep_time

    def test_settings_are_followed(self, monitor, setting):
        setting("max_blocking_time", 3)
        assert monitor.monitoring_functions()[0].period == 3
        assert monitor.calculate_sleep_time() == 3
        setting("max_blocking_time", None)
        assert monitor.monitoring_functions()[0].period == 0
        assert monitor.calculate_sleep_time() == monitor.inactive_sleep_time

    def test_a_function_that_is_due_is_called(self, monitor, hub):
        calls = []

        def function(argument):
            calls.append(argument)
            monitor.kill()

        monitor.add_monitoring_function(function, 0.01)
        monitor()
        assert calls == [hub]

    def test_a_disabled_check_is_not_made(self, monitor, setting, seen):
        setting("max_blocking_time", None)
        monitor.add_monitoring_function(lambda hub: monitor.kill(), 0.01)
        monitor._greenlet_tracer("switch", (None, object()))
        monitor.monitor_blocking = pytest.fail
        monitor()

    def test_errors_end_it(self, monitor, hub):
        monitor.add_monitoring_function(lambda hub: 1 / 0, 0.01)
        monitor()
        [(context, kind, _value, _tb)] = hub.errors
        assert context is monitor
        assert kind is ZeroDivisionError

    def test_system_exit_ends_it(self, monitor, hub):
        def leave(hub):
            raise SystemExit

        monitor.add_monitoring_function(leave, 0.01)
        monitor()
        assert not monitor.should_run
        assert hub.errors == []


class TestLife:
    def test_ends_with_its_hub(self, threads):
        hub = OtherHub()
        monitor = _monitor.PeriodicMonitoringThread(hub)
        assert monitor.hub is hub
        del hub
        gc.collect()
        assert monitor.hub is None
        assert not monitor.should_run
        assert gettrace() is None
        monitor()

    def test_ends_when_the_hub_is_dead(self, monitor, hub):
        hub.dead = True
        monitor()
        assert not monitor.should_run

    def test_starts_anew_in_a_forked_child(self, monitor, hub, threads):
        hub.periodic_monitoring_thread = monitor
        reinit(hub)
        assert threads == [monitor]
        monitor.pid = -1
        reinit(hub)
        assert threads == [monitor, monitor]
        assert monitor.pid == os.getpid()
        assert monitor.monitor_thread_ident == 2

    def test_trace_function_of_before(self, threads, hub):
        called = []

        def trace(*args):
            called.append(args)

        settrace(trace)
        try:
            monitor = _monitor.PeriodicMonitoringThread(hub)
            assert gettrace() is monitor._greenlet_tracer
            monitor._greenlet_tracer("event", ("args",))
            monitor.kill()
            assert gettrace() is trace
        finally:
            settrace(None)
        assert called == [("event", ("args",))]


class TestBlocking:
    def test_reported(self, monitor, hub, seen):
        blocking = object()
        assert not monitor.monitor_blocking(hub)
        monitor._greenlet_tracer("switch", (None, blocking))
        assert not monitor.monitor_blocking(hub)
        assert seen == []
        assert monitor.monitor_blocking(hub)[0] is blocking
        [event] = seen
        assert (event.greenlet, event.hub, event.blocking_time) == (blocking, hub, 0.1)
        assert f"Greenlet {blocking} appears to be blocked" in hub.exception_stream.getvalue()

    def test_subscribers_come_before_the_report(self, monitor, hub):
        def subscriber(event):
            assert hub.exception_stream.getvalue() == ""
            event.info[:] = ["only this"]

        events.subscribers.append(subscriber)
        try:
            monitor._greenlet_tracer("switch", (None, object()))
            monitor.monitor_blocking(hub)
            monitor.monitor_blocking(hub)
        finally:
            events.subscribers.remove(subscriber)
        assert hub.exception_stream.getvalue() == "only this\n"

    def test_reports_need_not_be_printed(self, monitor, hub, seen, setting):
        setting("print_blocking_reports", False)
        monitor._greenlet_tracer("switch", (None, object()))
        monitor.monitor_blocking(hub)
        assert monitor.monitor_blocking(hub)
        assert len(seen) == 1
        assert hub.exception_stream.getvalue() == ""

    def test_ignored(self, monitor, hub):
        monitor._greenlet_tracer("switch", (None, object()))
        monitor.monitor_blocking(hub)
        monitor.ignore_current_greenlet_blocking()
        assert not monitor.monitor_blocking(hub)
        monitor.monitor_current_greenlet_blocking()
        assert monitor.monitor_blocking(hub)[0] is getcurrent()

    def test_hub_without_an_ident(self, monitor, hub):
        hub.thread_ident = -1
        monitor.monitor_current_greenlet_blocking()
        assert "Not running Python code" in "\n".join(monitor.monitor_blocking(hub)[1])


class TestMemory:
    @pytest.fixture
    def usage(self, monitor):
        usage = SimpleNamespace(rss=0)
        monitor._get_process = lambda: SimpleNamespace(memory_full_info=lambda: usage)
        return usage

    def test_no_limit(self, monitor, usage):
        assert monitor.monitor_memory_usage(None) == -1

    def test_over_and_under(self, monitor, usage, setting, seen):
        setting("max_memory_usage", 10)
        for rss in (10, 11, 11, 12, 11, 5, 5, 11):
            usage.rss = rss
            monitor.monitor_memory_usage(None)
        over, grown, under, again = seen
        assert isinstance(over, events.MemoryUsageThresholdExceeded)
        assert (over.mem_usage, over.max_allowed, over.memory_info) == (11, 10, usage)
        assert isinstance(grown, events.MemoryUsageThresholdExceeded)
        assert grown.mem_usage == 12
        assert isinstance(under, events.MemoryUsageUnderThreshold)
        assert (under.mem_usage, under.max_memory_usage) == (5, 12)
        assert isinstance(again, events.MemoryUsageThresholdExceeded)

    def test_installed_where_possible(self, monitor, usage):
        monitor.install_monitor_memory_usage()
        assert monitor.monitoring_functions()[1].function == monitor.monitor_memory_usage
        assert monitor.monitoring_functions()[1].period == 5

    def test_not_too_often(self, monitor, usage, setting):
        setting("memory_monitor_period", 0.1)
        monitor.install_monitor_memory_usage()
        assert monitor.monitoring_functions()[1].period == monitor.min_memory_monitor_period

    def test_a_warning_where_not(self, monitor):
        monitor._get_process = lambda: None
        with pytest.warns(_monitor.MonitorWarning, match="psutil"):
            monitor.install_monitor_memory_usage()
        assert len(monitor.monitoring_functions()) == 1

    def test_of_this_process(self, monitor, setting):
        pytest.importorskip("psutil")
        setting("max_memory_usage", 1)
        assert monitor.monitor_memory_usage(None).mem_usage > 1
        assert monitor._get_process() is monitor._get_process()


class TestHubProbe:
    """With a loop made by hand, so that every state can be had."""

    @pytest.fixture
    def watched(self):
        loop = SimpleNamespace(iteration_activity=0, polling=False, active_ident=0)

        class Watched:
            parent = "main"
            thread_ident = threading.get_ident()

        watched = Watched()
        watched.loop = loop
        return watched

    def test_states(self, watched):
        probe, loop = HubProbe(watched), watched.loop
        assert not probe.did_block_hub(watched)
        assert not probe.did_block_hub(watched), "a loop that never did anything is not in use"
        loop.iteration_activity = 1
        assert not probe.did_block_hub(watched)
        assert probe.did_block_hub(watched) == (True, watched), "in a callback"
        loop.active_ident = id(getcurrent())
        assert probe.did_block_hub(watched) == (True, getcurrent())
        loop.active_ident = id(probe)
        assert probe.did_block_hub(watched) == (True, "main"), "not known any more"
        loop.polling = True
        assert not probe.did_block_hub(watched)
        loop.polling = False
        loop.iteration_activity = 2
        assert not probe.did_block_hub(watched)

    def test_a_thread_that_waits_outside_of_python(self, watched):
        probe, loop = HubProbe(watched), watched.loop
        loop.iteration_activity = loop.active_ident = 1
        watched.thread_ident = -1
        probe.did_block_hub(watched)
        assert not probe.did_block_hub(watched)
        loop.active_ident = id(getcurrent())
        assert probe.did_block_hub(watched) == (True, getcurrent())

    def test_ignored_until_the_next_task(self, watched):
        probe, loop = HubProbe(watched), watched.loop
        loop.iteration_activity = 1
        probe.did_block_hub(watched)
        probe.ignore_current_greenlet_blocking()
        assert not probe.did_block_hub(watched)
        probe.monitor_current_greenlet_blocking()
        assert probe.did_block_hub(watched)
        probe.ignore_current_greenlet_blocking()
        loop.iteration_activity = 2
        probe.did_block_hub(watched)
        assert probe.did_block_hub(watched)

    def test_a_destroyed_hub(self, watched):
        probe = HubProbe(watched)
        watched.loop = None
        assert not probe.did_block_hub(watched)
        probe.ignore_current_greenlet_blocking()


class TestSummary:
    def test_how_often_before(self):
        probe = HubProbe(get_hub())
        frame = sys._getframe()

        def blocked(activity, seconds):
            probe._seen, probe._since = activity, perf_counter() - seconds
            return probe._summary(frame)

        assert re.search(
            r"at least 1\.0 s in .*test_how_often.*, which .* never before", blocked(1, 1)
        )
        # The same time, reported once more, is no other one.
        assert "never before" in blocked(1, 2)
        assert "blocked 1 time before, for 2.0 s in all" in blocked(2, 1)
        assert "blocked 2 times before, for 3.0 s in all" in blocked(3, 1)

    def test_library_code_is_not_blamed(self):
        frames = []
        sorted([1], key=lambda _: frames.append(sys._getframe()))
        json.dumps(object(), default=lambda _: frames.append(sys._getframe()))
        assert "<lambda>" in place_of(frames[0])
        assert __file__ in place_of(frames[1].f_back)


class TestGreenletTracer:
    def test_counts(self):
        tracer = GreenletTracer()
        try:
            gevent.spawn_raw(len, ())
            gevent.sleep(0.001)
            assert tracer.greenlet_switch_counter > 0
            assert tracer.active_greenlet is getcurrent()
        finally:
            tracer.kill()
        tracer.kill()
        assert gettrace() is None

    def test_unknown_events(self):
        tracer = GreenletTracer()
        try:
            tracer("switch", (1, 2))
            assert tracer.active_greenlet == 2
            tracer("unknown", ())
            assert tracer.active_greenlet is None
            assert tracer.greenlet_switch_counter == 2
        finally:
            tracer.kill()


class TestRealHub:
    @pytest.fixture
    def monitored(self, setting):
        setting("monitor_thread", True)
        hub = get_hub()
        hub.exception_stream = io.StringIO()
        yield hub
        del hub.exception_stream
        if hub.periodic_monitoring_thread is not None:
            hub.periodic_monitoring_thread.kill()
            hub.periodic_monitoring_thread = None

    def test_only_if_set(self):
        assert get_hub().start_periodic_monitoring_thread() is None

    def test_started_with_an_event(self, monitored, seen):
        monitor = monitored.start_periodic_monitoring_thread()
        assert monitored.start_periodic_monitoring_thread() is monitor
        assert monitored.periodic_monitoring_thread is monitor
        [event] = seen
        assert isinstance(event, events.PeriodicMonitorThreadStartedEvent)
        assert event.monitor is monitor

    def test_switches_are_not_traced(self, monitored):
        monitored.start_periodic_monitoring_thread()
        assert gettrace() is None

    def test_a_blocked_hub(self, monitored, seen):
        monitor = monitored.start_periodic_monitoring_thread()
        reported = threading.Event()

        def block():
            # Not cooperative: this is what the monitor is for.
            reported.wait(30)

        gevent.sleep(0)
        seen.clear()
        greenlet = gevent.spawn(block)
        shown = str(greenlet)
        # Where the machine stalls is reported too.
        events.subscribers.append(lambda event: event.greenlet is greenlet and reported.set())
        try:
            greenlet.join()
        finally:
            events.subscribers.pop()
            monitor.kill()
        event = next(event for event in seen if event.greenlet is greenlet)
        assert isinstance(event, events.EventLoopBlocked)
        assert event.hub is monitored
        report = "\n".join(event.info)
        assert f"Greenlet {shown} appears to be blocked" in report
        assert "in block" in report
        assert "PeriodicMonitoringThread" in report

    def test_a_hub_that_waits_is_not_blocked(self, monitored, seen, setting):
        setting("max_blocking_time", 0.5)
        monitor = monitored.start_periodic_monitoring_thread()
        seen.clear()
        looked = []
        monitor.add_monitoring_function(looked.append, 0.01)
        with gevent.Timeout(30):
            while len(looked) < 5:
                # Longer than a hub may be blocked.
                gevent.sleep(1.2)
        monitor.kill()
        assert seen == []

    def test_starts_when_something_first_waits(self, setting):
        setting("monitor_thread", True)
        found = []

        def run():
            hub = get_hub()
            found.append(hub.periodic_monitoring_thread)
            gevent.sleep(0.001)
            found.append(hub.periodic_monitoring_thread)
            hub.destroy()
            found.append(hub.periodic_monitoring_thread)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        before, waiting, after = found
        assert before is after is None
        assert isinstance(waiting, _monitor.PeriodicMonitoringThread)
        assert not waiting.should_run


def test_nothing_is_imported_for_a_monitor_that_is_off(run_python):
    done = run_python(
        "import sys, gevent; gevent.sleep(0.001); print('gevent._monitor' in sys.modules)"
    )
    assert done.stdout == "False\n", done.stderr
