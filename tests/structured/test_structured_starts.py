"""Task groups: starting children, wrong use, and what a group leaves behind."""

# The block of a group or a scope, as a whole, is what raises.
# ruff: noqa: PT012

import contextlib
import gc
import threading

import pytest
from structured_support import FOR_EVER, Patient, failing, kinds, returning, value_of

import gevent
from gevent import Cancelled, TaskGroup
from gevent.event import Event
from gevent.exceptions import InvalidThreadUseError, LoopExit

pytestmark = pytest.mark.usefixtures("printed")


def test_spawning_into_a_closed_group():
    group = TaskGroup()
    with pytest.raises(RuntimeError, match="has not been entered"):
        group.spawn(int)
    with group:
        pass
    with pytest.raises(RuntimeError, match="is finished"):
        group.spawn(int)
    with TaskGroup() as group:
        group.spawn(Patient())
        group.cancel()
        with pytest.raises(RuntimeError, match="is shutting down"):
            group.spawn(int)
        with pytest.raises(RuntimeError, match="is shutting down"):
            group.start(int)


@pytest.mark.parametrize("function", [None, 3])
def test_spawning_what_cannot_be_called(function):
    with TaskGroup() as group:
        for spawn in (group.spawn, group.start):
            with pytest.raises(TypeError, match="must be callable"):
                spawn(function)
        assert repr(group).endswith(": 0 children>")


def test_spawning_while_the_group_waits():
    values = []

    def child(depth):
        gevent.sleep(0)
        values.append(depth)
        if depth:
            group.spawn(child, depth - 1)

    with TaskGroup() as group:
        group.spawn(child, 3)
    assert values == [3, 2, 1, 0]


def test_entering_a_group_twice():
    group = TaskGroup()
    with group, pytest.raises(RuntimeError, match="was entered already"):
        group.__enter__()
    with pytest.raises(RuntimeError, match="was entered already"):
        group.__enter__()


def test_leaving_a_group_that_is_not_ones_own():
    group = TaskGroup()
    patient = Patient()
    with pytest.raises(RuntimeError, match="no greenlet is in it"):
        group.__exit__(None, None, None)
    with group:
        group.spawn(patient)
        with pytest.raises(RuntimeError, match="is left by"):
            gevent.spawn(group.__exit__, None, None, None).get()
        group.cancel()
    assert patient.cancelled <= 1


def test_leaving_a_group_before_a_scope_inside_it():
    group, scope, patient = TaskGroup(), gevent.CancelScope(), Patient()
    group.__enter__()
    scope.__enter__()
    group.spawn(patient)
    gevent.sleep(0)
    with pytest.raises(RuntimeError, match="is left before"):
        group.cancel()
        group.__exit__(None, None, None)
    assert patient.cleaned


def test_a_group_of_another_thread():
    errors = []

    def other_thread(group):
        for call in (lambda: group.spawn(int), lambda: group.start(int), group.cancel):
            try:
                call()
            except InvalidThreadUseError as error:
                errors.append(str(error))

    with TaskGroup() as group:
        thread = threading.Thread(target=other_thread, args=(group,))
        thread.start()
        thread.join()
    assert len(errors) == 3
    assert all("from another thread" in error for error in errors)


def test_children_that_wait_for_what_never_comes():
    with pytest.raises(LoopExit), TaskGroup() as group:
        child = group.spawn(Event().wait)
    assert value_of(child) is Cancelled


def test_children_that_never_end():
    def stubborn():
        while True:
            with contextlib.suppress(Cancelled):
                Event().wait()

    with pytest.raises(LoopExit), TaskGroup() as group:
        child = group.spawn(stubborn)
    assert repr(group) == f"<TaskGroup at {id(group):#x}: over, cancelled>"
    child.kill()


def test_start_waits_until_the_child_is_ready():
    order = []

    def serve(address, *, task_status):
        gevent.sleep(0.001)
        order.append("ready")
        task_status.started((address, 80))
        gevent.sleep(0.001)
        order.append("over")

    with TaskGroup() as group:
        assert group.start(serve, "localhost") == ("localhost", 80)
        order.append("started")
    assert order == ["ready", "started", "over"]


def test_a_child_that_fails_to_start():
    with TaskGroup() as group:
        other = group.spawn(returning, 1, 0.002)
        with pytest.raises(ZeroDivisionError):
            group.start(lambda task_status: failing())
        with pytest.raises(RuntimeError, match=r"without calling task_status\.started"):
            group.start(lambda task_status: None)
    assert other.value == 1


def test_a_child_that_fails_after_its_start():
    def serve(task_status):
        task_status.started()
        with pytest.raises(RuntimeError, match="was called before"):
            task_status.started()
        failing()

    with pytest.raises(ExceptionGroup) as caught, TaskGroup() as group:
        assert group.start(serve) is None
        gevent.sleep(FOR_EVER)
    assert kinds(caught.value) == ["ZeroDivisionError"]


def test_a_start_that_is_given_up():
    patient = Patient()
    with TaskGroup() as group:
        with gevent.move_on_after(0.002) as scope:
            group.start(lambda task_status: patient())
        assert scope.cancelled_caught
        assert patient.cleaned
        with pytest.raises(gevent.Timeout), gevent.Timeout(0.002):
            group.start(lambda task_status: Patient()())


def test_the_group_is_cancelled_during_a_start():
    patient = Patient()
    with TaskGroup() as group:
        gevent.spawn_later(0.001, group.cancel)
        group.start(lambda task_status: patient())
    assert (patient.cancelled, patient.cleaned) == (1, True)


def no_circles(make):
    """The error that *make* raises is freed without the collector."""

    class Tracked(Exception):
        alive = 0

        def __init__(self):
            Tracked.alive += 1

        def __del__(self):
            Tracked.alive -= 1

    gc.collect()
    gc.disable()
    try:
        with contextlib.suppress(BaseException):
            make(Tracked)
        gevent.sleep(0)
        gevent.sleep(0)
        assert Tracked.alive == 0
    finally:
        gc.enable()


def test_no_circles_through_an_error_of_a_child():
    def make(kind):
        with TaskGroup() as group:
            group.spawn(failing, kind)

    no_circles(make)


def test_no_circles_through_an_error_of_the_body():
    def make(kind):
        with TaskGroup():
            raise kind

    no_circles(make)


def test_no_circles_through_an_error_that_comes_while_the_group_waits():
    def make(kind):
        with gevent.Timeout(0.001, kind), TaskGroup() as group:
            group.spawn(Patient())

    no_circles(make)


def test_no_circles_through_an_error_of_a_start():
    def make(kind):
        with TaskGroup() as group:
            group.start(lambda task_status: failing(kind))

    no_circles(make)


def test_many_children_leave_nothing():
    def host():
        with TaskGroup() as group:
            for _ in range(20_000):
                group.spawn(gevent.sleep, FOR_EVER)

    for killed in (False, True):
        greenlet = gevent.spawn(host)
        gevent.sleep(0)
        if not killed:
            gevent.sleep(0)
        greenlet.kill()
        assert greenlet.dead
        del greenlet
    gc.collect()
    ours = [each for each in gc.get_objects() if isinstance(each, TaskGroup)]
    assert not ours


def test_a_start_that_is_given_up_is_cancelled_once():
    patient = Patient(0.005)
    with TaskGroup() as group:

        def starter():
            with gevent.move_on_after(0.001):
                group.start(lambda task_status: patient())

        group.spawn(starter)
        gevent.sleep(0.003)
        group.cancel()
    assert (patient.cancelled, patient.cleaned) == (1, True)


def test_a_thread_that_ends_in_the_middle_of_a_group(output_of):
    code = """
        import _thread, gevent, time
        from gevent.event import Event
        def host():
            with gevent.TaskGroup() as group:
                group.spawn(Event().wait)
        def thread():
            gevent.spawn(host)
            gevent.sleep(0.01)
        _thread.start_new_thread(thread, ())
        time.sleep(0.1)
        print("over")
        """
    assert output_of(code) == "over\n"
