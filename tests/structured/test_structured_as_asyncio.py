"""Task groups: what asyncio's tests of its own groups check, where greenlets can do it too."""

# The block of a group or a scope, as a whole, is what raises.
# ruff: noqa: PT012, SIM117

import contextlib
import gc
import weakref

import pytest
from structured_support import FOR_EVER, Patient, failing, kinds

import gevent
from gevent import Cancelled, GreenletExit, TaskGroup, fail_after
from gevent.event import Event


class Special(BaseException):
    """An exception that is no `Exception`, and does not end the program."""


pytestmark = pytest.mark.usefixtures("printed")


def kill_when_it_waits(host):
    """Run *host* until all greenlets wait, kill it, and return what it ended with."""
    greenlet = gevent.spawn(host)
    gevent.sleep(0.001)
    greenlet.kill()
    return greenlet.value if greenlet.exception is None else greenlet.exception


@pytest.mark.parametrize("outer_has_a_child", [False, True])
def test_killing_a_host_in_nested_groups_whose_children_fail(outer_has_a_child):
    def host():
        with TaskGroup() as outer:
            if outer_has_a_child:
                outer.spawn(gevent.sleep, FOR_EVER)
            with TaskGroup() as inner:
                for _ in range(5):
                    inner.spawn(Patient(error=ZeroDivisionError()))
                gevent.sleep(FOR_EVER)

    ended = kill_when_it_waits(host)
    assert type(ended) is GreenletExit
    assert kinds(ended.__context__) == ["ZeroDivisionError"] * 5


def test_an_inner_group_of_the_same_greenlet_fails():
    patient = Patient()
    with pytest.raises(ExceptionGroup) as caught, TaskGroup() as outer:
        outer.spawn(patient)
        with TaskGroup() as inner:
            inner.spawn(failing)
    assert kinds(caught.value) == ["ExceptionGroup"]
    assert kinds(caught.value.exceptions[0]) == ["ZeroDivisionError"]
    assert patient.cleaned


def test_an_inner_and_an_outer_group_fail():
    with pytest.raises(ExceptionGroup) as caught, TaskGroup() as outer:
        with pytest.raises(ExceptionGroup) as caught_inside, TaskGroup() as inner:
            inner.spawn(failing, RuntimeError)
            outer.spawn(failing, ValueError)
    assert kinds(caught_inside.value) == ["RuntimeError"]
    assert kinds(caught.value) == ["ValueError"]


@pytest.mark.parametrize("nested", [False, True])
def test_a_child_fails_while_the_killed_host_cleans_up(nested):
    cleans_up = Event()

    def child():
        cleans_up.wait()
        raise ZeroDivisionError

    def host():
        with TaskGroup() as group:
            group.spawn(child)
            try:
                gevent.sleep(FOR_EVER)
            except GreenletExit:
                cleans_up.set()
                gevent.sleep(FOR_EVER)

    def around():
        greenlet = gevent.spawn(host)
        try:
            greenlet.join()
        finally:
            greenlet.kill()
        return greenlet

    if not nested:
        ended = kill_when_it_waits(host)
        assert type(ended) is GreenletExit
        errors = [ended.__context__]
        while isinstance(errors[-1], BaseException):
            errors.append(errors[-1].__context__)
        assert ["ZeroDivisionError"] in [kinds(e) for e in errors if isinstance(e, ExceptionGroup)]
    else:
        assert type(kill_when_it_waits(around)) is GreenletExit
    assert cleans_up.is_set()


def test_the_body_turns_a_kill_into_an_error():
    def host():
        with TaskGroup():
            try:
                gevent.sleep(FOR_EVER)
            except GreenletExit:
                raise KeyError from None

    ended = kill_when_it_waits(host)
    assert isinstance(ended, ExceptionGroup)
    assert kinds(ended) == ["KeyError"]


@pytest.mark.parametrize(
    ("of_child", "of_body", "raised"),
    [
        (ZeroDivisionError, KeyError, ["KeyError", "ZeroDivisionError"]),
        (ZeroDivisionError, Special, ["Special", "ZeroDivisionError"]),
        (Special, TypeError, ["Special", "TypeError"]),
        (ZeroDivisionError, KeyboardInterrupt, KeyboardInterrupt),
        (KeyboardInterrupt, TypeError, KeyboardInterrupt),
        (SystemExit, TypeError, SystemExit),
        (SystemExit, KeyboardInterrupt, SystemExit),
    ],
)
def test_the_body_fails_as_it_cleans_up_after_a_child_failed(of_child, of_body, raised):
    with pytest.raises(BaseException) as caught, TaskGroup() as group:  # noqa: PT011
        group.spawn(failing, of_child)
        try:
            gevent.sleep(FOR_EVER)
        finally:
            raise of_body
    if isinstance(raised, list):
        assert kinds(caught.value) == raised
    else:
        assert type(caught.value) is raised


def test_children_that_have_ended_are_forgotten():
    with TaskGroup() as group:
        for _ in range(10):
            group.spawn(int).join()
            assert not group._children
        child = group.spawn(gevent.sleep, 0.001)
        assert repr(group).endswith(": 1 child>")
        reference = weakref.ref(child)
        child.join()
        del child
        gevent.sleep(0)
        assert reference() is None


def test_a_group_that_grows_until_it_fails():
    heads = 0

    def hydra():
        nonlocal heads
        heads += 1
        gevent.sleep(0)
        # A child that was ready as the group failed goes on to its next wait.
        with contextlib.suppress(RuntimeError):
            group.spawn(hydra)
            group.spawn(hydra)

    def hercules():
        while heads < 10:
            gevent.sleep(0)
        raise ZeroDivisionError

    with pytest.raises(ExceptionGroup) as caught, TaskGroup() as group:
        group.spawn(hydra)
        group.spawn(hercules)
    assert kinds(caught.value) == ["ZeroDivisionError"]
    assert heads >= 10


def test_a_cancelled_child_cannot_spawn():
    refused = []

    def child():
        try:
            gevent.sleep(FOR_EVER)
        except Cancelled:
            with pytest.raises(RuntimeError, match="is shutting down"):
                group.spawn(int)
            refused.append(1)

    with pytest.raises(ExceptionGroup) as caught, TaskGroup() as group:
        group.spawn(child)
        group.spawn(failing)
    assert kinds(caught.value) == ["ZeroDivisionError"]
    assert refused == [1]


def test_a_context_manager_in_the_body_fails_too():
    @contextlib.contextmanager
    def database():
        try:
            yield
        finally:
            raise KeyError

    with pytest.raises(ExceptionGroup) as caught, TaskGroup() as group, database():
        group.spawn(failing, KeyError)
        gevent.sleep(FOR_EVER)
    assert kinds(caught.value) == ["KeyError", "KeyError"]


def test_a_group_in_the_hub():
    errors = []

    def callback():
        group = TaskGroup()
        for use in (group.__enter__, lambda: group.spawn(int)):
            try:
                use()
            except RuntimeError as error:
                errors.append(str(error))

    gevent.get_hub().loop.run_callback(callback)
    while len(errors) < 2:
        gevent.sleep(0.001)
    assert "cannot be entered in the hub" in errors[0]
    assert "has not been entered" in errors[1]


def test_a_kill_and_an_error_of_a_child_at_once():
    """The kill goes on, and comes once."""
    begun, order = Event(), []

    def child():
        begun.wait()
        raise ZeroDivisionError

    def host():
        try:
            with TaskGroup() as group:
                group.spawn(child)
                gevent.sleep(FOR_EVER)
        except BaseException as error:
            order.append(type(error))
        gevent.sleep(0.001)
        order.append("went on")

    for kill_first in (False, True):
        order.clear()
        begun.clear()
        greenlet = gevent.spawn(host)
        gevent.sleep(0)
        gevent.sleep(0)
        if kill_first:
            greenlet.kill(block=False)
        begun.set()
        if not kill_first:
            greenlet.kill(block=False)
        greenlet.join()
        assert order == [GreenletExit, "went on"]


def test_a_child_that_is_spawned_by_a_child_fails():
    cancelled = []

    def second():
        group.spawn(failing, KeyError)
        with pytest.raises(Cancelled) as caught:
            gevent.sleep(FOR_EVER)
        cancelled.append(1)
        raise caught.value

    with pytest.raises(ExceptionGroup) as caught, TaskGroup() as group:
        group.spawn(second)
    assert kinds(caught.value) == ["KeyError"]
    assert cancelled == [1]


def test_a_kill_goes_on_after_the_group_was_cancelled():
    def host():
        with TaskGroup() as group:
            group.spawn(patient)
            gevent.sleep(0)
            group.cancel()
            cancelled.set()

    patient, cancelled = Patient(), Event()
    greenlet = gevent.spawn(host)
    cancelled.wait()
    greenlet.kill(GreenletExit("message"))
    assert greenlet.value.args == ("message",)
    assert (patient.cancelled, patient.cleaned) == (1, True)


@pytest.mark.parametrize("before", [False, True])
def test_a_child_that_cancels_the_group_and_fails(before):
    def child():
        try:
            if before:
                group.cancel()
            raise KeyError
        finally:
            group.cancel()

    with pytest.raises(ExceptionGroup) as caught, TaskGroup() as group:
        group.spawn(child)
        gevent.sleep(FOR_EVER)
    assert kinds(caught.value) == ["KeyError"]


def test_a_race_has_one_winner():
    outcome, record, event = [], [], Event()

    def run(name, last):
        record.append(f"{name} begun")
        if last:
            event.set()
            gevent.sleep(FOR_EVER)
        event.wait()
        record.append(f"{name} won")
        outcome.append(name)
        group.cancel()

    with TaskGroup() as group:
        for name, last in (("1", False), ("2", False), ("3", True)):
            group.spawn(run, name, last)
    assert outcome[0] == "1"
    assert record[:4] == ["1 begun", "2 begun", "3 begun", "1 won"]
    assert "3 won" not in record


def referrers(error):
    """Return what refers to *error*, the caller's frame left out."""
    return [each for each in gc.get_referrers(error) if type(each).__name__ != "frame"]


def raised_by(block):
    """Return the exception that *block* raises; nothing else may refer to it."""
    try:
        block()
    except BaseException as error:
        return error


def test_only_the_caller_refers_to_what_a_group_raises():
    class Ended(KeyboardInterrupt):
        pass

    def fails():
        with TaskGroup():
            raise KeyError

    def child_fails():
        with TaskGroup() as group:
            group.spawn(failing, KeyError)

    def ends_program():
        with TaskGroup() as group:
            group.spawn(failing, Ended)

    def nested():
        with TaskGroup() as group:
            group.spawn(fails)

    def late():
        with fail_after(0), TaskGroup():
            gevent.sleep(FOR_EVER)

    def late_at_exit():
        with fail_after(0.001), TaskGroup() as group:
            group.spawn(gevent.sleep, FOR_EVER)

    for block in (fails, child_fails, ends_program, nested, late, late_at_exit):
        error = raised_by(block)
        assert referrers(error) == [], block
        while isinstance(error, BaseExceptionGroup):
            inner = error.exceptions[0]
            # The group has it in its arguments and its attribute, and perhaps as its context.
            assert {type(each) for each in referrers(inner)} <= {tuple, list, ExceptionGroup}, block
            error = inner
        if isinstance(error, TimeoutError):
            assert referrers(error.__cause__) == [error], block


def test_children_are_freed_with_the_errors_caught():
    gc.disable()
    try:
        try:
            with TaskGroup() as group:
                reference = weakref.ref(group.spawn(failing))
        except* ZeroDivisionError as errors:
            error = errors.exceptions[0]
        gevent.sleep(0)
        assert reference() is None
        assert isinstance(error, ZeroDivisionError)
    finally:
        gc.enable()
