"""Timeout objects, with_timeout, and timeouts of waits."""

import math
import time

import pytest

import gevent
from gevent import Timeout, with_timeout
from gevent.event import Event
from gevent.hub import Waiter, get_hub


def pending():
    """Return the number of things that keep the loop running."""
    return get_hub().loop.activecnt


@pytest.fixture(autouse=True)
def nothing_left():
    before = pending()
    yield
    # Objects that other tests left may have ended.
    assert pending() <= before


class TestRaised:
    def test_in_the_greenlet_that_started_it(self):
        timeout = Timeout.start_new(0.001)
        assert timeout.pending
        with pytest.raises(Timeout) as caught:
            gevent.sleep(10)
        assert caught.value is timeout
        assert not timeout.pending

    def test_is_no_exception_that_programs_catch_by_accident(self):
        assert issubclass(Timeout, BaseException)
        assert not issubclass(Timeout, Exception)

    @pytest.mark.parametrize(
        "exception", [ValueError, ValueError("given"), KeyboardInterrupt, gevent.GreenletExit]
    )
    def test_another_exception(self, exception):
        timeout = Timeout.start_new(0.001, exception)
        kind = exception if isinstance(exception, type) else type(exception)
        with pytest.raises(kind):
            gevent.sleep(10)
        assert not timeout.pending

    @pytest.mark.parametrize("exception", [None, False, True, "a word"])
    def test_itself_when_the_exception_is_none(self, exception):
        timeout = Timeout.start_new(0.001, exception)
        with pytest.raises(Timeout) as caught:
            gevent.sleep(10)
        assert caught.value is timeout

    def test_what_cannot_be_raised_does_not_leave_the_greenlet_waiting(self):
        class Unmakeable(Exception):
            def __init__(self):
                raise ZeroDivisionError

        for exception, raised in ((5, TypeError), (Unmakeable, ZeroDivisionError)):
            with pytest.raises(raised), Timeout(0.001, exception):
                gevent.sleep(10)

    def test_in_a_greenlet_that_is_ready_only_at_its_next_wait(self):
        order = []

        def run():
            with Timeout(0.001, False):
                until = time.monotonic() + 0.005
                while time.monotonic() < until:
                    pass
                order.append("ran")
                gevent.sleep(0)
                order.append("waited")
                gevent.sleep(10)
            order.append("over")

        gevent.spawn(run).join()
        assert order[0] == "ran"
        assert order[-1] == "over"

    def test_nested_ones_each_end_their_own_block(self):
        order = []
        # Far apart: the one that is due first must be so however long the machine stalls.
        with Timeout(1) as outer:
            try:
                with Timeout(0.001) as inner:
                    gevent.sleep(10)
            except Timeout as raised:
                order.append(raised is inner)
            try:
                gevent.sleep(10)
            except Timeout as raised:
                order.append(raised is outer)
        assert order == [True, True]

    def test_many_at_the_same_time_come_in_their_order(self):
        order = []

        def run(number, deadline):
            Timeout(max(0, deadline - time.monotonic())).start()
            try:
                gevent.sleep(10)
            except Timeout:
                order.append(number)

        # Nobody looks at the clock between the starts, so the deadlines rise.
        deadline = time.monotonic() + 0.01
        gevent.joinall([gevent.spawn(run, number, deadline) for number in range(50)])
        assert sorted(order) == list(range(50))

    def test_of_zero_seconds_comes_at_the_first_wait(self):
        for seconds in (0, 0.0, -1, -math.inf):
            with pytest.raises(Timeout), Timeout(seconds):
                gevent.sleep(10)


class TestCancelled:
    def test_block_that_ends_in_time(self):
        with Timeout(0.001) as timeout:
            assert timeout.pending
        assert not timeout.pending
        gevent.sleep(0.005)

    def test_while_its_error_is_under_way(self):
        """Another greenlet cancels it after its time was up and before it was raised."""
        timeout = Timeout(0.5)
        ended = []

        def run():
            timeout.start()
            gevent.sleep(0.7)
            ended.append(True)

        greenlet = gevent.spawn(run)
        gevent.sleep(0)
        time.sleep(0.55)
        timeout.cancel()
        greenlet.join()
        assert ended == [True]

    def test_many_times_and_before_start(self):
        timeout = Timeout(10)
        for _ in range(3):
            timeout.cancel()
            timeout.close()
        timeout.start()
        timeout.cancel()
        timeout.start()
        timeout.close()
        assert not timeout.pending

    def test_by_the_exception_that_leaves_the_block(self):
        timeout = Timeout(10)
        with pytest.raises(KeyError), timeout:
            raise KeyError
        assert not timeout.pending

    def test_in_another_greenlet(self):
        timeout = Timeout.start_new(0.001)
        gevent.spawn(timeout.cancel).join()
        gevent.sleep(0.005)


class TestWith:
    def test_false_is_silent(self):
        with Timeout(0.001, False) as timeout:
            gevent.sleep(10)
            pytest.fail("was not interrupted")
        assert not timeout.pending

    def test_false_is_silent_for_itself_only(self):
        inner = Timeout(10, False)
        with pytest.raises(Timeout) as caught, Timeout(0.001), inner:
            gevent.sleep(10)
        assert caught.value is not inner

    def test_none_never_comes(self):
        with Timeout(None) as timeout:
            assert not timeout.pending
            gevent.sleep(0.002)

    def test_may_be_used_again(self):
        timeout = Timeout(0.001)
        for _ in range(3):
            with pytest.raises(Timeout), timeout:
                gevent.sleep(10)

    def test_started_before(self):
        timeout = Timeout.start_new(0.001, False)
        with timeout:
            gevent.sleep(10)

    def test_in_the_hub_is_possible(self):
        got = []

        def callback():
            with Timeout(10) as timeout:
                got.append(timeout.pending)

        get_hub().loop.run_callback(callback)
        gevent.sleep(0.001)
        assert got == [True]


class TestStart:
    def test_twice_is_refused(self):
        timeout = Timeout.start_new(10)
        with pytest.raises(AssertionError, match="already started"):
            timeout.start()
        timeout.cancel()

    @pytest.mark.parametrize("seconds", ["1", object(), [], b"", 1j])
    def test_what_is_no_number(self, seconds):
        with pytest.raises(TypeError):
            Timeout(seconds).start()

    @pytest.mark.parametrize("seconds", [math.inf, 1e300, 1e18, 10**18])
    def test_huge(self, seconds):
        timeout = Timeout.start_new(seconds)
        gevent.sleep(0.001)
        assert timeout.pending
        timeout.cancel()

    def test_new_from_one_that_exists(self):
        timeout = Timeout(10)
        assert Timeout.start_new(timeout) is timeout
        assert timeout.pending
        assert Timeout.start_new(timeout) is timeout
        timeout.cancel()

    def test_uncounted_keeps_nothing_running(self):
        before = pending()
        timeout = Timeout.start_new(10, ref=False)
        assert pending() <= before
        timeout.cancel()

    def test_subclass(self):
        class Own(Timeout):
            """A timeout of a class of its own."""

        with pytest.raises(Own), Own(0.001):
            gevent.sleep(10)
        started = Own.start_new(10)
        assert type(started) is Own
        started.cancel()


class TestText:
    def test_str(self):
        assert str(Timeout()) == ""
        assert str(Timeout(1)) == "1 second"
        assert str(Timeout(2)) == "2 seconds"
        assert str(Timeout(0.5)) == "0.5 seconds"
        assert str(Timeout(1, False)) == "1 second (silent)"
        assert str(Timeout(3, "reason")) == "3 seconds: reason"
        assert str(Timeout(3, ValueError("v"))) == "3 seconds: v"

    def test_repr(self):
        timeout = Timeout(10, "reason")
        assert repr(timeout) == f"<Timeout at {hex(id(timeout))} seconds=10 exception='reason'>"
        timeout.start()
        assert repr(timeout).endswith(" pending>")
        timeout.cancel()

    def test_attributes(self):
        timeout = Timeout(10, ValueError)
        assert timeout.seconds == 10
        assert timeout.exception is ValueError
        assert timeout.args == ()


class TestWithTimeout:
    def test_result_in_time(self):
        assert with_timeout(10, lambda a, b=0: (a, b), 1, b=2) == (1, 2)

    def test_too_late(self):
        with pytest.raises(Timeout):
            with_timeout(0.001, gevent.sleep, 10)
        assert with_timeout(0.001, gevent.sleep, 10, timeout_value="late") == "late"

    def test_other_timeouts_pass(self):
        with pytest.raises(Timeout), Timeout(0.001):
            with_timeout(10, gevent.sleep, 10, timeout_value="late")

    def test_errors_pass(self):
        with pytest.raises(ZeroDivisionError):
            with_timeout(10, lambda: 1 / 0, timeout_value="late")

    def test_of_the_function_itself(self):
        def run():
            raise Timeout(5)

        with pytest.raises(Timeout, match="5 seconds"):
            with_timeout(10, run, timeout_value="late")


class TestOfWaits:
    @pytest.mark.parametrize("seconds", [0, 0.001, -1, math.nan])
    def test_join_returns(self, seconds):
        greenlet = gevent.spawn(Waiter().get)
        greenlet.join(timeout=seconds)
        assert not greenlet.ready()
        greenlet.kill()

    def test_get_raises_one_that_tells_the_seconds(self):
        greenlet = gevent.spawn(Waiter().get)
        with pytest.raises(Timeout) as caught:
            greenlet.get(timeout=0.001)
        assert caught.value.seconds == 0.001
        with pytest.raises(Timeout):
            greenlet.get(block=False)
        greenlet.kill()

    def test_timeout_object(self):
        greenlet = gevent.spawn(Waiter().get)
        timeout = Timeout(0.001)
        with pytest.raises(Timeout) as caught:
            greenlet.get(timeout=timeout)
        assert caught.value is timeout
        greenlet.join(timeout=Timeout(0.001))
        greenlet.kill()

    @pytest.mark.parametrize("seconds", ["1", object(), [], 1j])
    def test_what_is_no_number(self, seconds):
        greenlet = gevent.spawn(Waiter().get)
        gevent.sleep(0)
        for wait in (greenlet.join, greenlet.get):
            with pytest.raises(TypeError):
                wait(timeout=seconds)
        greenlet.kill()

    def test_outer_one_is_not_taken_for_the_waits_own(self):
        greenlet = gevent.spawn(Waiter().get)
        with pytest.raises(Timeout) as caught, Timeout(0.001) as outer:
            greenlet.join(timeout=10)
        assert caught.value is outer
        greenlet.kill()

    def test_joinall(self):
        stuck = [gevent.spawn(Waiter().get) for _ in range(3)]
        ended = gevent.spawn(int)
        assert gevent.joinall([*stuck, ended], timeout=0.001) == [ended]
        released = Event()
        holding_on = [gevent.spawn(hold_on, released) for _ in range(2)]
        gevent.sleep(0)
        with pytest.raises(Timeout):
            gevent.killall(holding_on, timeout=0.001)
        released.set()
        gevent.killall([*stuck, *holding_on])


def hold_on(released):
    try:
        gevent.sleep(10)
    except gevent.GreenletExit:
        released.wait()
