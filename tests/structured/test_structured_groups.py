"""Task groups: what a block with children does when they end, fail, or are cancelled with it."""

# The block of a group or a scope, as a whole, is what raises.
# ruff: noqa: PT012, SIM117

import contextlib

import pytest
from structured_support import FOR_EVER, Patient, failing, kinds, returning, value_of

import gevent
from gevent import Cancelled, TaskGroup
from gevent.event import AsyncResult
from gevent.queue import Queue

pytestmark = pytest.mark.usefixtures("printed")


def test_waits_for_all_children_and_has_their_values():
    with TaskGroup() as group:
        one, other = group.spawn(returning, 42, 0.002), group.spawn(returning, 11, after=0.001)
    assert (one.value, other.value) == (42, 11)


def test_children_that_end_before_the_body():
    with TaskGroup() as group:
        one = group.spawn(returning, 42)
        gevent.sleep(0.002)
        other = group.spawn(returning, 11)
    assert (one.value, other.value) == (42, 11)


def test_the_body_waits_for_a_child():
    with TaskGroup() as group:
        assert group.spawn(returning, 42, 0.001).get() == 42
        assert group.spawn(returning, 11, 0.001).get() == 11


def test_a_group_without_children():
    with TaskGroup():
        pass


def test_a_failing_child_cancels_body_and_siblings():
    patient = Patient()
    with pytest.raises(ExceptionGroup) as caught, TaskGroup() as group:
        child = group.spawn(patient)
        group.spawn(failing)
        gevent.sleep(FOR_EVER)
    assert kinds(caught.value) == ["ZeroDivisionError"]
    assert patient.cancelled == 1
    assert patient.cleaned
    assert value_of(child) is Cancelled


def test_a_child_fails_while_the_group_waits():
    patients = [Patient(0.001 * count) for count in range(5)]
    with pytest.raises(ExceptionGroup) as caught, TaskGroup() as group:
        for patient in patients:
            group.spawn(patient)
        group.spawn(failing)
    assert kinds(caught.value) == ["ZeroDivisionError"]
    assert [(patient.cancelled, patient.cleaned) for patient in patients] == [(1, True)] * 5


def test_a_child_fails_after_the_body_and_before_it_waits():
    """A cancellation of the body that is still queued at its end is taken back."""
    with pytest.raises(ExceptionGroup), TaskGroup() as group:
        group.spawn(failing, after=0)
        while not group._is_cancelling:
            gevent.sleep(0)
    gevent.sleep(0.001)


def test_killing_the_host_in_the_body():
    patients = [Patient(), Patient()]

    def host():
        with TaskGroup() as group:
            for patient in patients:
                group.spawn(patient)
            gevent.sleep(FOR_EVER)

    greenlet = gevent.spawn(host)
    gevent.sleep(0.001)
    greenlet.kill()
    assert type(greenlet.value) is gevent.GreenletExit
    assert [(patient.cancelled, patient.cleaned) for patient in patients] == [(1, True)] * 2


def test_killing_the_host_while_it_waits():
    patients = [Patient(), Patient()]

    def host():
        with TaskGroup() as group:
            for patient in patients:
                group.spawn(patient)

    greenlet = gevent.spawn(host)
    gevent.sleep(0.001)
    greenlet.kill()
    assert type(greenlet.value) is gevent.GreenletExit
    assert [(patient.cancelled, patient.cleaned) for patient in patients] == [(1, True)] * 2


def test_killing_the_host_again_breaks_off_no_clean_up():
    patient = Patient(0.005)

    def host():
        with TaskGroup() as group:
            group.spawn(patient)

    greenlet = gevent.spawn(host)
    gevent.sleep(0.001)
    greenlet.kill(block=False)
    gevent.sleep(0.001)
    greenlet.kill()
    assert (patient.cancelled, patient.cleaned) == (1, True)


def test_errors_of_the_children_of_a_killed_host(printed):
    """They are the context of what goes on, and reported, as nobody sees a kill."""

    def host():
        with TaskGroup("crawl") as group:
            group.spawn(Patient(error=KeyError("lost")))
            group.spawn(Patient(error=ValueError("lost")))

    greenlet = gevent.spawn(host)
    gevent.sleep(0.001)
    greenlet.kill()
    assert type(greenlet.value) is gevent.GreenletExit
    assert kinds(greenlet.value.__context__) == ["KeyError", "ValueError"]
    text = printed.getvalue()
    assert "KeyError: 'lost'" in text
    assert "<TaskGroup 'crawl'" in text


def test_timing_the_host_out():
    for in_body in (True, False):
        patient = Patient(error=KeyError())
        with pytest.raises(gevent.Timeout) as caught, gevent.Timeout(0.002) as timeout:
            with TaskGroup() as group:
                group.spawn(patient)
                if in_body:
                    gevent.sleep(FOR_EVER)
        assert caught.value is timeout
        assert patient.cleaned
        assert kinds(timeout.__context__) == ["KeyError"]


def test_timing_the_host_out_with_an_error_of_another_kind():
    for in_body in (True, False):
        with pytest.raises(LookupError), gevent.Timeout(0.002, LookupError):
            with TaskGroup() as group:
                group.spawn(Patient())
                if in_body:
                    gevent.sleep(FOR_EVER)


def test_a_silent_timeout_around_a_group():
    patient = Patient()
    with gevent.Timeout(0.002, False), TaskGroup() as group:
        group.spawn(patient)
    assert patient.cleaned


def test_a_scope_around_a_group():
    patient = Patient()
    with gevent.move_on_after(0.002) as scope, TaskGroup() as group:
        child = group.spawn(patient)
    assert scope.cancelled_caught
    assert patient.cleaned
    assert isinstance(child.value, Cancelled)
    assert child.value.scope is not scope


def test_an_error_of_the_body_joins_those_of_the_children():
    with pytest.raises(ExceptionGroup) as caught, TaskGroup() as group:
        group.spawn(Patient(error=KeyError()))
        gevent.sleep(0.001)
        raise ValueError
    assert kinds(caught.value) == ["KeyError", "ValueError"]


def test_an_error_of_the_body_alone():
    patient = Patient()
    with pytest.raises(ExceptionGroup) as caught, TaskGroup() as group:
        group.spawn(patient)
        gevent.sleep(0.001)
        raise ValueError
    assert kinds(caught.value) == ["ValueError"]
    assert patient.cleaned


def test_a_timeout_that_the_body_got_from_a_call_goes_on():
    with pytest.raises(gevent.Timeout), TaskGroup() as group:
        group.spawn(Patient())
        AsyncResult().get(timeout=0.001)


def test_the_body_turns_its_cancellation_into_an_error():
    with pytest.raises(ExceptionGroup) as caught, TaskGroup() as group:
        group.spawn(failing)
        try:
            gevent.sleep(FOR_EVER)
        except Cancelled:
            raise ValueError from None
    assert kinds(caught.value) == ["ValueError", "ZeroDivisionError"]


def test_the_body_swallows_its_cancellation():
    went_on = []
    with pytest.raises(ExceptionGroup) as caught, TaskGroup() as group:
        group.spawn(failing)
        with contextlib.suppress(Cancelled):
            gevent.sleep(FOR_EVER)
        gevent.sleep(0.001)
        went_on.append(1)
    assert kinds(caught.value) == ["ZeroDivisionError"]
    assert went_on == [1]


def test_several_children_fail():
    with pytest.raises(ExceptionGroup) as caught, TaskGroup() as group:
        group.spawn(failing, KeyError)
        group.spawn(failing, ValueError)
        group.spawn(Patient(error=TypeError()))
    assert kinds(caught.value) == ["KeyError", "TypeError", "ValueError"]


def test_an_error_that_is_no_exception_makes_a_base_exception_group():
    class Special(BaseException):
        pass

    with pytest.raises(BaseExceptionGroup) as caught, TaskGroup() as group:
        group.spawn(failing, Special)
        group.spawn(failing, ValueError)
    assert kinds(caught.value) == ["Special", "ValueError"]
    assert not isinstance(caught.value, Exception)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("where", ["child", "body"])
def test_what_ends_the_program_is_raised_alone(kind, where):
    patient = Patient(error=KeyError())
    with pytest.raises(kind) as caught, TaskGroup() as group:
        group.spawn(patient)
        if where == "child":
            group.spawn(failing, kind)
        gevent.sleep(0.001)
        if where == "body":
            raise kind
        gevent.sleep(FOR_EVER)
    assert patient.cleaned
    assert kinds(caught.value.__context__) == ["KeyError"]


def test_nested_groups_end_from_the_inside():
    order = []

    def inner(name):
        try:
            with TaskGroup() as group:
                group.spawn(Patient(0.001))
                group.spawn(Patient(0.002))
        finally:
            order.append(name)

    def outer():
        with TaskGroup() as group:
            group.spawn(inner, 1)
            group.spawn(inner, 2)
        order.append("never")

    greenlet = gevent.spawn(outer)
    gevent.sleep(0.001)
    greenlet.kill()
    assert sorted(order) == [1, 2]
    assert type(greenlet.value) is gevent.GreenletExit


def test_an_inner_group_fails():
    with pytest.raises(ExceptionGroup) as caught, TaskGroup() as outer:

        def inner():
            with TaskGroup() as group:
                group.spawn(failing)

        outer.spawn(inner)
        outer.spawn(Patient())
    assert kinds(caught.value) == ["ExceptionGroup"]
    assert kinds(caught.value.exceptions[0]) == ["ZeroDivisionError"]


def test_an_inner_group_of_the_same_greenlet_is_cancelled_with_the_outer_one():
    patient = Patient()
    with pytest.raises(ExceptionGroup) as caught, TaskGroup() as outer:
        outer.spawn(failing)
        with TaskGroup() as inner:
            inner.spawn(patient)
    assert kinds(caught.value) == ["ZeroDivisionError"]
    assert patient.cleaned


def test_an_inner_group_fails_while_the_outer_one_is_cancelled():
    with pytest.raises(ExceptionGroup) as caught, TaskGroup() as outer:
        outer.spawn(failing)
        with TaskGroup() as inner:
            inner.spawn(Patient(error=KeyError()))
    assert kinds(caught.value) == ["ZeroDivisionError"]


def test_a_killed_child_has_not_failed():
    with TaskGroup() as group:
        patient = group.spawn(gevent.sleep, FOR_EVER)
        unbegun = group.spawn(gevent.sleep, FOR_EVER)
        unbegun.kill()
        gevent.sleep(0)
        patient.kill()
        other = group.spawn(returning, 1)
    assert other.value == 1


def test_a_child_that_has_not_begun_never_does():
    ran = []
    with pytest.raises(ExceptionGroup), TaskGroup() as group:
        child = group.spawn(ran.append, 1)
        raise ValueError
    assert not ran
    assert value_of(child) is Cancelled


def test_cancel_is_no_error_and_idempotent():
    patient = Patient()
    with TaskGroup() as group:
        group.spawn(patient)
        gevent.sleep(0.001)
        group.cancel()
        group.cancel()
        gevent.sleep(FOR_EVER)
    assert (patient.cancelled, patient.cleaned) == (1, True)
    group.cancel()


def test_a_child_cancels_the_group():
    with TaskGroup() as group:
        group.spawn(Patient())
        group.spawn(group.cancel)
        gevent.sleep(FOR_EVER)


def test_cancel_while_the_group_waits():
    with TaskGroup() as group:
        group.spawn(Patient())
        gevent.spawn_later(0.001, group.cancel)


def test_cancel_before_the_block():
    group = TaskGroup()
    group.cancel()
    ran = []
    with group:
        ran.append("begun")
        gevent.sleep(FOR_EVER)
        ran.append("never")
    assert ran == ["begun"]


def test_cancel_and_errors():
    with pytest.raises(ExceptionGroup) as caught, TaskGroup() as group:
        group.spawn(Patient(error=KeyError()))
        gevent.sleep(0.001)
        group.cancel()
        raise ValueError
    assert kinds(caught.value) == ["KeyError", "ValueError"]


def test_the_scope_of_a_cancelled_child_cancels_its_group():
    scopes = []

    def child():
        try:
            gevent.sleep(FOR_EVER)
        except Cancelled as error:
            scopes.append(error.scope)
            raise

    with TaskGroup("one") as group:
        group.spawn(child)
        gevent.sleep(0)
        group.cancel()
    assert repr(scopes[0]) == "<scope of <TaskGroup 'one': over, cancelled>>"
    with TaskGroup() as other:
        other.spawn(Patient())
        gevent.sleep(0)
        other._scope.cancel()


def test_nothing_is_reported_of_errors_that_the_group_raises(printed):
    with pytest.raises(ExceptionGroup), TaskGroup() as group:
        group.spawn(failing)
        group.spawn(Patient(error=KeyError()))
    assert printed.getvalue() == ""


def test_links_of_children_are_told():
    ended = []
    with pytest.raises(ExceptionGroup), TaskGroup() as group:
        group.spawn(failing).rawlink(lambda child: ended.append(type(child.exception)))
        group.spawn(Patient()).rawlink(lambda child: ended.append(type(child.value)))
        gevent.sleep(FOR_EVER)
    gevent.sleep(0)
    assert set(ended) == {ZeroDivisionError, Cancelled}


def test_queues_keep_what_a_cancelled_child_did_not_get():
    queue = Queue()
    with TaskGroup() as group:
        group.spawn(queue.get)
        gevent.sleep(0)
        queue.put(1)
        group.cancel()
        gevent.sleep(FOR_EVER)
    left = [] if queue.empty() else [queue.get()]
    assert left in ([], [1])
