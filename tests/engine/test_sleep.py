"""sleep, idle, and who runs in which order."""

import math
import os
import threading
import time

import pytest
from conditions import until

import gevent
from gevent.hub import get_hub


class Real:
    """A number that is neither an int nor a float."""

    def __init__(self, value):
        self.value = value

    def __float__(self):
        return float(self.value)

    def __le__(self, other):
        return self.value <= other


class TestDelay:
    @pytest.mark.parametrize("seconds", [0.003, Real(0.003)])
    def test_is_at_least_what_was_asked_for(self, seconds):
        before = time.monotonic()
        assert gevent.sleep(seconds) is None
        assert time.monotonic() - before >= 0.003

    @pytest.mark.parametrize("seconds", [0, 0.0, -0.0, -1, -(10**400), -math.inf, Real(-1), False])
    def test_nothing_or_less_only_yields(self, seconds):
        order = []
        gevent.spawn(order.append, "other")
        gevent.sleep(seconds)
        assert order == ["other"]

    @pytest.mark.parametrize("seconds", [math.inf, 1e300, 10**400, 2**63, 10**9])
    def test_huge(self, seconds):
        sleeper = gevent.spawn(gevent.sleep, seconds)
        gevent.sleep(0.001)
        assert not sleeper.ready()
        sleeper.kill()
        assert sleeper.ready()

    @pytest.mark.parametrize("seconds", ["1", b"1", [], {}, object(), 1j, math.nan])
    def test_what_is_no_time(self, seconds):
        before = get_hub().loop.activecnt
        with pytest.raises((TypeError, ValueError)):
            gevent.sleep(seconds)
        assert get_hub().loop.activecnt <= before

    def test_arguments(self):
        gevent.sleep()
        gevent.sleep(seconds=0, ref=True)
        uncounted = gevent.spawn(gevent.sleep, 0.0001, False)
        until(uncounted.ready)
        for args, kwargs in (
            ((1, 2, 3), {}),
            ((), {"delay": 1}),
            ((0,), {"seconds": 0}),
            ((0, True), {"ref": True}),
        ):
            with pytest.raises(TypeError):
                gevent.sleep(*args, **kwargs)

    def test_error_of_the_arguments_own_code(self):
        class Bad:
            def __le__(self, other):
                raise ZeroDivisionError

            __gt__ = __lt__ = __ge__ = __float__ = __index__ = __le__

        with pytest.raises(ZeroDivisionError):
            gevent.sleep(Bad())


class TestOrder:
    def test_yields_go_round(self):
        order = []

        def run(name):
            for _ in range(3):
                order.append(name)
                gevent.sleep(0)

        gevent.joinall([gevent.spawn(run, name) for name in "abc"])
        assert "".join(order) == "abcabcabc"

    def test_starts_are_first_in_first_out(self):
        order = []
        greenlets = [gevent.spawn(order.append, number) for number in range(200)]
        gevent.joinall(greenlets)
        assert order == list(range(200))

    def test_callbacks_and_greenlets_keep_their_order(self):
        order = []
        loop = get_hub().loop
        for number in range(0, 20, 2):
            loop.run_callback(order.append, number)
            gevent.spawn(order.append, number + 1)
        gevent.sleep(0.001)
        assert order == list(range(20))

    def test_deadlines_go_before_later_ones(self):
        order = []

        def run(delay):
            gevent.sleep(delay)
            order.append(delay)

        delays = [0.02, 0.001, 0.015, 0.005, 0.01]
        gevent.joinall([gevent.spawn(run, delay) for delay in delays])
        assert order == sorted(delays)

    def test_a_busy_greenlet_does_not_starve_timers(self):
        over = gevent.spawn(gevent.sleep, 0.002)
        turns = 0
        while not over.ready():
            gevent.sleep(0)
            turns += 1
        assert turns

    def test_a_busy_pair_does_not_starve_descriptors(self):
        read, write = os.pipe()
        watcher = get_hub().loop.io(read, 1)
        busy = [gevent.spawn(spin) for _ in range(2)]
        waiting = gevent.spawn(get_hub().wait, watcher)
        gevent.sleep(0)
        os.write(write, b"x")
        waiting.join(timeout=20)
        assert waiting.ready()
        gevent.killall(busy)
        os.close(read)
        os.close(write)

    def test_a_busy_greenlet_does_not_starve_other_threads_callbacks(self):
        got = []
        loop = get_hub().loop
        thread = threading.Thread(target=loop.run_callback_threadsafe, args=(got.append, 1))
        thread.start()
        until = time.monotonic() + 20
        while not got and time.monotonic() < until:
            gevent.sleep(0)
        thread.join()
        assert got == [1]


def spin():
    while True:
        gevent.sleep(0)


class TestIdle:
    def test_runs_when_nobody_is_ready(self):
        order = []

        def run(name):
            for _ in range(2):
                order.append(name)
                gevent.sleep(0)

        others = [gevent.spawn(run, name) for name in "ab"]
        gevent.idle()
        order.append("idle")
        gevent.joinall(others)
        assert order.index("idle") >= 2

    def test_many(self):
        gevent.joinall([gevent.spawn(gevent.idle, priority) for priority in range(-3, 4)])

    def test_killed(self):
        before = get_hub().loop.activecnt
        idle = gevent.spawn(gevent.idle)
        gevent.spawn(idle.kill).join()
        assert idle.ready()
        assert get_hub().loop.activecnt <= before

    def test_bad_priority(self):
        for priority in ("1", 1.5, None, 10**100):
            with pytest.raises((TypeError, OverflowError)):
                gevent.idle(priority)


class TestSwitchInterval:
    def test_set_and_get(self):
        before = gevent.getswitchinterval()
        try:
            gevent.setswitchinterval(0.25)
            assert gevent.getswitchinterval() == pytest.approx(0.25)
        finally:
            gevent.setswitchinterval(before)

    @pytest.mark.parametrize("interval", [0, -1, math.nan, "1", None])
    def test_refused(self, interval):
        before = gevent.getswitchinterval()
        with pytest.raises((TypeError, ValueError)):
            gevent.setswitchinterval(interval)
        assert gevent.getswitchinterval() == before
