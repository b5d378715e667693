"""Cancel scopes: what ends their block, what passes through them, and what shields put off."""

# The block of a group or a scope, as a whole, is what raises.
# ruff: noqa: PT012, SIM117

import contextlib
import math
import threading
import time

import pytest
from conditions import until

import gevent
from gevent import Cancelled, CancelScope, TaskGroup, fail_after, move_on_after
from gevent.event import Event

#: Longer than any test may take.
FOR_EVER = 30


def test_a_deadline_ends_the_block():
    with move_on_after(0.001) as scope:
        gevent.sleep(FOR_EVER)
    assert scope.cancel_called
    assert scope.cancelled_caught


def test_a_block_that_ends_in_time():
    with move_on_after(FOR_EVER) as scope:
        gevent.sleep(0)
    assert not scope.cancel_called
    assert not scope.cancelled_caught


@pytest.mark.parametrize("seconds", [0, -1, 0.0])
def test_a_deadline_that_has_passed_ends_the_first_wait(seconds):
    ran = []
    with move_on_after(seconds) as scope:
        ran.append("begun")
        gevent.sleep(0)
        ran.append("never")
    assert ran == ["begun"]
    assert scope.cancelled_caught


@pytest.mark.parametrize("seconds", [None, math.inf])
def test_no_deadline(seconds):
    with move_on_after(seconds) as scope:
        gevent.sleep(0.001)
    assert scope.deadline is None
    assert not scope.cancelled_caught


def test_what_is_no_time():
    for make in (move_on_after, fail_after, CancelScope):
        with pytest.raises(ValueError, match="a deadline must not be nan"):
            make(math.nan)
        with pytest.raises(TypeError):
            make("1")


def test_a_subclass_with_arguments_of_its_own():
    class Limit(CancelScope):
        def __init__(self, name, *, seconds):
            super().__init__(time.monotonic() + seconds, shield=True)
            self.name = name

    with Limit("fetch", seconds=0.001) as scope:
        with pytest.raises(RuntimeError, match="was entered already"):
            scope.__init__("fetch", seconds=1)
        gevent.sleep(FOR_EVER)
    assert scope.cancelled_caught
    assert (scope.name, scope.shield) == ("fetch", True)


def test_fail_after():
    with pytest.raises(TimeoutError, match=r"within 0\.001 s") as caught, fail_after(0.001):
        gevent.sleep(FOR_EVER)
    assert isinstance(caught.value.__cause__, Cancelled)


def test_fail_after_that_is_cancelled_otherwise():
    with fail_after(FOR_EVER) as scope:
        gevent.spawn(scope.cancel)
        gevent.sleep(FOR_EVER)
    assert scope.cancelled_caught


def test_cancelled_names_its_scope():
    with move_on_after(0.001) as scope:
        with pytest.raises(Cancelled) as caught:
            gevent.sleep(FOR_EVER)
        assert caught.value.scope is scope
        assert "CancelScope" in str(caught.value)
    assert not scope.cancelled_caught


def test_it_comes_once():
    """A greenlet that swallows it goes on, as with a kill."""
    with move_on_after(0.001) as scope:
        with pytest.raises(Cancelled):
            gevent.sleep(FOR_EVER)
        scope.cancel()
        gevent.sleep(0.001)
        went_on = True
    assert went_on
    assert not scope.cancelled_caught


def test_nothing_comes_late():
    with move_on_after(0.001) as scope:
        time.sleep(0.005)
    gevent.sleep(0.002)
    assert not scope.cancelled_caught
    with CancelScope() as scope:
        scope.cancel()
    gevent.sleep(0.001)
    assert scope.cancel_called
    assert not scope.cancelled_caught


def test_cancel_before_the_block():
    scope = CancelScope()
    scope.cancel()
    with scope:
        gevent.sleep(FOR_EVER)
    assert scope.cancelled_caught


def test_cancel_from_another_thread():
    with CancelScope() as scope:
        timer = threading.Timer(0.005, scope.cancel)
        timer.start()
        gevent.sleep(FOR_EVER)
    assert scope.cancelled_caught
    timer.join()


def test_the_deadline_is_a_time_of_the_monotonic_clock():
    begun = time.monotonic()
    with CancelScope(begun + 0.002) as scope:
        gevent.sleep(FOR_EVER)
    assert scope.cancelled_caught
    assert scope.deadline == pytest.approx(begun + 0.002)
    assert time.monotonic() >= begun + 0.002


def test_the_deadline_as_a_time_of_the_loop():
    with CancelScope(gevent.get_hub().loop.now() + 0.01) as scope:
        assert scope.deadline == pytest.approx(time.monotonic() + 0.01, abs=1)
        gevent.sleep(FOR_EVER)
    assert scope.cancelled_caught
    with CancelScope(time.time() - 1) as scope:
        gevent.sleep(FOR_EVER)
    assert scope.cancelled_caught


def test_the_deadline_may_be_moved():
    with move_on_after(0.001) as scope:
        scope.deadline += FOR_EVER
        gevent.sleep(0.003)
        scope.deadline = None
        gevent.sleep(0.001)
        scope.deadline = time.monotonic() + 0.001
        gevent.sleep(FOR_EVER)
    assert scope.cancelled_caught
    with CancelScope() as scope:
        scope.deadline = time.monotonic() - 1
        gevent.sleep(FOR_EVER)
    assert scope.cancelled_caught


def test_the_time_of_move_on_after_begins_with_the_block():
    scope = move_on_after(0.5)
    gevent.sleep(0.55)
    with scope:
        gevent.sleep(0)
        assert not scope.cancel_called
        gevent.sleep(FOR_EVER)
    assert scope.cancelled_caught


def test_an_outer_deadline_passes_inner_scopes():
    with move_on_after(0.001) as outer, move_on_after(FOR_EVER) as inner:
        gevent.sleep(FOR_EVER)
    assert outer.cancelled_caught
    assert not inner.cancelled_caught


def test_an_inner_deadline_ends_the_inner_block_alone():
    with move_on_after(FOR_EVER) as outer:
        with move_on_after(0.001) as inner:
            gevent.sleep(FOR_EVER)
        gevent.sleep(0)
    assert inner.cancelled_caught
    assert not outer.cancelled_caught


def test_both_deadlines_pass_at_once():
    with move_on_after(0.001) as outer:
        with move_on_after(0.001) as inner:
            time.sleep(0.003)
            gevent.sleep(FOR_EVER)
        gevent.sleep(FOR_EVER)
    gevent.sleep(0)
    assert outer.cancelled_caught
    assert not inner.cancelled_caught


def test_an_inner_deadline_ends_the_clean_up_of_an_outer_cancellation():
    """The outer one goes on: it comes only once."""
    with move_on_after(0.001) as outer:
        # Far apart: they must not pass at once, however long the machine stalls.
        with move_on_after(0.5) as inner:
            try:
                gevent.sleep(FOR_EVER)
            finally:
                gevent.sleep(FOR_EVER)
        pytest.fail("the outer cancellation is lost")
    assert outer.cancelled_caught
    assert inner.cancelled_caught


@pytest.mark.parametrize("interruption", [gevent.GreenletExit, gevent.Timeout, SystemExit])
def test_a_deadline_ends_the_clean_up_of_a_kill(interruption):
    went_on = []

    def victim():
        try:
            with move_on_after(0.5):
                try:
                    gevent.sleep(FOR_EVER)
                finally:
                    gevent.sleep(FOR_EVER)
            went_on.append(1)
        except interruption as error:
            return error

    greenlet = gevent.spawn(victim)
    gevent.sleep(0.001)
    greenlet.kill(interruption())
    assert type(greenlet.get()) is interruption
    assert not went_on


def test_a_scope_within_the_clean_up_of_a_kill():
    cleaned = []

    def victim():
        try:
            gevent.sleep(FOR_EVER)
        finally:
            with move_on_after(0.001) as scope:
                gevent.sleep(FOR_EVER)
            cleaned.append(scope.cancelled_caught)

    greenlet = gevent.spawn(victim)
    gevent.sleep(0)
    greenlet.kill()
    assert cleaned == [True]
    assert type(greenlet.value) is gevent.GreenletExit


def test_timeouts_compose():
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.001):
        with move_on_after(FOR_EVER) as scope:
            gevent.sleep(FOR_EVER)
    assert not scope.cancelled_caught
    with move_on_after(0.001) as scope, gevent.Timeout(FOR_EVER):
        gevent.sleep(FOR_EVER)
    assert scope.cancelled_caught


def test_errors_and_kills_pass_through():
    with pytest.raises(ZeroDivisionError), move_on_after(FOR_EVER):
        raise ZeroDivisionError

    def victim():
        with move_on_after(FOR_EVER):
            gevent.sleep(FOR_EVER)

    greenlet = gevent.spawn(victim)
    gevent.sleep(0)
    greenlet.kill()
    assert type(greenlet.value) is gevent.GreenletExit


@pytest.mark.parametrize("raw", [False, True])
def test_a_shield_puts_kills_off(raw):
    order = []
    begun, gate = Event(), Event()

    def victim():
        try:
            with CancelScope(shield=True):
                begun.set()
                gate.wait()
                order.append("shielded")
            order.append("never")
        except gevent.GreenletExit:
            order.append("killed")

    greenlet = (gevent.spawn_raw if raw else gevent.spawn)(victim)
    begun.wait()
    gevent.kill(greenlet)
    gevent.sleep(0.001)
    assert not order
    gate.set()
    while not greenlet.dead:
        gevent.sleep(0.001)
    assert order == ["shielded", "killed"]


def test_a_kill_that_was_on_its_way_as_the_shield_began():
    order = []
    event = Event()

    def victim():
        event.wait()
        with CancelScope(shield=True):
            gevent.sleep(0.001)
            order.append("shielded")
        order.append("never")

    greenlet = gevent.spawn(victim)
    gevent.sleep(0)
    event.set()
    greenlet.kill(block=False)
    greenlet.join()
    assert order in (["shielded"], [])
    assert isinstance(greenlet.value, gevent.GreenletExit)


def test_a_shield_puts_cancellations_from_outside_off():
    with move_on_after(0.001) as outer:
        with CancelScope(shield=True) as inner:
            until(lambda: outer.cancel_called)
            shielded = True
        pytest.fail("the cancellation is lost")
    assert shielded
    assert outer.cancelled_caught
    assert not inner.cancelled_caught


def test_a_shield_is_cancelled_itself():
    with move_on_after(FOR_EVER) as outer:
        with move_on_after(0.001, shield=True) as inner:
            gevent.sleep(FOR_EVER)
        with move_on_after(FOR_EVER, shield=True), move_on_after(0.001) as innermost:
            gevent.sleep(FOR_EVER)
    assert not outer.cancel_called
    assert inner.cancelled_caught
    assert innermost.cancelled_caught


def test_nested_shields():
    order = []

    def victim():
        with CancelScope(shield=True):
            with CancelScope(shield=True):
                gevent.sleep(0.002)
                order.append("inner")
            gevent.sleep(0.001)
            order.append("outer")
        order.append("never")

    greenlet = gevent.spawn(victim)
    gevent.sleep(0)
    greenlet.kill()
    assert order == ["inner", "outer"]


def test_an_error_of_a_shielded_block_comes_before_the_kill():
    order = []

    def victim():
        try:
            with CancelScope(shield=True):
                gevent.sleep(0.001)
                raise ZeroDivisionError
        except ZeroDivisionError:
            order.append("error")
        gevent.sleep(FOR_EVER)

    greenlet = gevent.spawn(victim)
    gevent.sleep(0)
    greenlet.kill()
    assert order == ["error"]
    assert type(greenlet.value) is gevent.GreenletExit


def test_every_kill_that_was_put_off_comes():
    order = []

    def victim():
        try:
            with CancelScope(shield=True):
                gevent.sleep(0.001)
        except KeyError:
            order.append("first")
        try:
            gevent.sleep(FOR_EVER)
        except ValueError:
            order.append("second")

    greenlet = gevent.spawn(victim)
    gevent.sleep(0)
    greenlet.kill(KeyError, block=False)
    greenlet.kill(ValueError)
    assert order == ["first", "second"]


def test_a_shield_that_is_lowered():
    order = []

    def victim():
        with CancelScope(shield=True) as scope:
            gevent.sleep(0.001)
            order.append("shielded")
            scope.shield = False
            gevent.sleep(FOR_EVER)

    greenlet = gevent.spawn(victim)
    gevent.sleep(0)
    greenlet.kill()
    assert order == ["shielded"]
    assert type(greenlet.value) is gevent.GreenletExit


def test_a_timeout_is_not_put_off():
    with gevent.Timeout(0.001, False):
        with CancelScope(shield=True):
            gevent.sleep(FOR_EVER)
        pytest.fail("put off")


@pytest.mark.parametrize("killall", [False, True])
def test_a_kill_with_a_timeout_names_the_shields(killall):
    def victim():
        with CancelScope(shield=True), CancelScope(shield=True):
            may_end.wait()

    may_end = Event()
    greenlet = gevent.spawn(victim)
    gevent.sleep(0)
    with pytest.raises(
        gevent.Timeout, match=r"puts its kill off .*shield>, in .*shield>"
    ) as caught:
        if killall:
            gevent.killall([greenlet], timeout=0.001)
        else:
            greenlet.kill(timeout=0.001)
    assert caught.value.seconds == 0.001
    may_end.set()
    greenlet.join()


def test_a_kill_with_a_timeout_of_what_is_no_shield_is_as_ever():
    def victim():
        with contextlib.suppress(gevent.GreenletExit):
            gevent.sleep(FOR_EVER)
        may_end.wait()

    may_end = Event()
    greenlet = gevent.spawn(victim)
    gevent.sleep(0)
    greenlet.kill(timeout=0.001)
    assert not greenlet.dead
    may_end.set()
    greenlet.join()


def test_entering_a_scope_twice():
    scope = CancelScope()
    with scope, pytest.raises(RuntimeError, match="was entered already"), scope:
        pass
    with pytest.raises(RuntimeError, match="was entered already"), scope:
        pass


def test_leaving_a_scope_from_another_greenlet():
    with CancelScope() as scope:
        greenlet = gevent.spawn(scope.__exit__, None, None, None)
        with pytest.raises(RuntimeError, match=r"is left by <Greenlet .* but was entered by"):
            greenlet.get()
        gevent.spawn(scope.cancel)
        gevent.sleep(FOR_EVER)
    assert scope.cancelled_caught


@pytest.mark.parametrize("block", [CancelScope, TaskGroup])
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_program_goes_on_though_a_scope_inside_was_not_left(block, kind):
    # It may come between the beginning of the scope and that of its block.
    inner = CancelScope()
    with pytest.raises(kind), block():
        inner.__enter__()
        raise kind
    assert "left" in repr(inner)


def test_the_end_of_a_block_calls_no_function_that_a_signal_could_interrupt(monkeypatch):
    def interrupted(error):
        raise KeyboardInterrupt

    monkeypatch.setattr(Cancelled, "scope", property(interrupted))
    with move_on_after(0.001) as scope:
        gevent.sleep(FOR_EVER)
    assert scope.cancelled_caught


def test_leaving_scopes_in_the_wrong_order():
    outer, inner = CancelScope(), CancelScope(shield=True)
    outer.__enter__()
    inner.__enter__()
    with pytest.raises(RuntimeError, match=r"is left before .*, entered inside it"):
        outer.__exit__(None, None, None)
    with pytest.raises(RuntimeError, match="no greenlet is in it"):
        inner.__exit__(None, None, None)
    with move_on_after(0.001) as scope:
        gevent.sleep(FOR_EVER)
    assert scope.cancelled_caught


def test_a_scope_in_the_hub():
    errors = []

    def callback():
        try:
            CancelScope().__enter__()
        except RuntimeError as error:
            errors.append(str(error))

    gevent.get_hub().loop.run_callback(callback)
    gevent.sleep(0.001)
    assert "cannot be entered in the hub" in errors[0]


def test_representations():
    scope = CancelScope(time.monotonic() + 100, shield=True)
    assert "not entered, shield, deadline in " in repr(scope)
    with scope:
        assert ": active, shield" in repr(scope)
        scope.cancel()
    assert ": left, shield, cancelled>" in repr(scope)


def test_deadlines_leave_nothing_behind():
    loop = gevent.get_hub().loop
    gevent.sleep(0)
    before = loop.activecnt
    for _ in range(100):
        with move_on_after(FOR_EVER):
            pass
    assert loop.activecnt == before
