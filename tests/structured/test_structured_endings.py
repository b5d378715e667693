"""Task groups: which exception ends the block, and which errors the hub reports besides."""

# The block of a group or a scope, as a whole, is what raises.
# ruff: noqa: PT012

import contextlib

import pytest
from structured_support import FOR_EVER, Patient, failing, kinds

import gevent
from gevent import Cancelled, CancelScope, TaskGroup
from gevent.event import Event

pytestmark = pytest.mark.usefixtures("printed")


def test_an_error_that_the_body_got_from_a_child_counts_once():
    with pytest.raises(ExceptionGroup) as caught, TaskGroup() as group:
        child = group.spawn(failing)
        with contextlib.suppress(Cancelled):
            gevent.sleep(FOR_EVER)
        child.get()
    assert kinds(caught.value) == ["ZeroDivisionError"]


def test_an_error_that_a_child_got_from_another_counts_once():
    def second():
        with contextlib.suppress(Cancelled):
            gevent.sleep(FOR_EVER)
        first.get()

    with pytest.raises(ExceptionGroup) as caught, TaskGroup() as group:
        first = group.spawn(failing)
        group.spawn(second)
    assert kinds(caught.value) == ["ZeroDivisionError"]


def in_the_block(end):
    """Have *end* end a block whose child fails as it cleans up; return the error of the block."""
    try:
        with TaskGroup() as group:
            group.spawn(Patient(error=KeyError("hidden")))
            gevent.sleep(0.001)
            end()
            gevent.sleep(FOR_EVER)
    except BaseException as error:
        return error


@pytest.mark.parametrize(
    "silent",
    [
        lambda: gevent.Timeout(0.001, False).start(),
        lambda: gevent.kill(gevent.getcurrent()),
        lambda: failing(SystemExit(3)),
    ],
)
def test_errors_that_a_silent_end_hides_are_reported(printed, silent):
    error = gevent.spawn(in_the_block, silent).get()
    assert kinds(error.__context__) == ["KeyError"]
    assert "KeyError: 'hidden'" in printed.getvalue()


@pytest.mark.parametrize(
    "loud",
    [
        lambda: gevent.Timeout(0.001).start(),
        lambda: failing(KeyboardInterrupt),
    ],
)
def test_errors_that_the_end_of_the_block_shows_are_not_reported(printed, loud):
    error = gevent.spawn(in_the_block, loud).get()
    assert kinds(error.__context__) == ["KeyError"]
    assert printed.getvalue() == ""


def test_errors_that_with_timeout_hides_are_reported(printed):
    def block():
        with TaskGroup() as group:
            group.spawn(Patient(error=KeyError("hidden")))

    assert gevent.with_timeout(0.001, block, timeout_value="late") == "late"
    assert "KeyError: 'hidden'" in printed.getvalue()


INTERRUPTED = """
import gc, random, signal, sys
import gevent
from gevent import TaskGroup

class Alarm(Exception):
    pass

kind = {"KeyboardInterrupt": KeyboardInterrupt, "Alarm": Alarm}[sys.argv[1]]
raised = caught = 0
chance = random.Random(0)

def interrupt(number, frame):
    global raised
    # Elsewhere nothing would catch it.
    if frame.f_code.co_name not in ("once", "<module>"):
        raised += 1
        raise kind

def child():
    try:
        gevent.sleep(3600)
    finally:
        gevent.sleep(chance.choice([0, 0.0005]))

def block(ending):
    with TaskGroup() as group:
        for _ in range(3):
            group.spawn(child)
        gevent.sleep(0)
        if ending == "error":
            raise ZeroDivisionError
        if ending == "cancel":
            group.cancel()
        # An error in the hub may be no more than printed, and then the next signal ends the block.
        signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-6, 1e-4), 0.005)

def once(ending):
    global caught
    try:
        signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-6, 3e-4))
        block(ending)
    except* kind:
        caught += 1
    except* ZeroDivisionError:
        pass
    signal.setitimer(signal.ITIMER_REAL, 0)

gevent.get_hub().exception_stream = None
gevent.sleep(0.001)
signal.signal(signal.SIGALRM, interrupt)
for _ in range(400):
    for ending in "error", "cancel", "none":
        once(ending)
greenlets = [one for one in gc.get_objects() if isinstance(one, gevent.Greenlet)]
print(raised > 100, caught > 100, [one for one in greenlets if not one.dead])
"""


def test_an_error_of_a_signal_while_the_children_clean_up_is_raised_when_they_have(output_of):
    code = """
        import gevent, signal
        from gevent.event import Event

        class Alarm(Exception):
            pass

        interrupted = Event()

        def interrupt(number, frame):
            interrupted.set()
            raise Alarm

        def child():
            try:
                gevent.sleep(10)
            finally:
                interrupted.wait()
                gevent.sleep(0.01)
                print("cleaned")

        gevent.get_hub().exception_stream = None
        signal.signal(signal.SIGALRM, interrupt)
        try:
            with gevent.TaskGroup() as group:
                group.spawn(child)
                gevent.sleep(0)
                group.cancel()
                signal.setitimer(signal.ITIMER_REAL, 0.02)
        except Alarm:
            print("raised")
    """
    assert output_of(code) == "cleaned\nraised\n"


@pytest.mark.parametrize("kind", ["KeyboardInterrupt", "Alarm"])
def test_no_child_is_left_wherever_a_signal_interrupts_the_block(run_python, kind):
    # Error reports that are interrupted are printed, which does not matter here.
    assert run_python(INTERRUPTED, kind).stdout == "True True []\n"


class Watchful(gevent.Greenlet):
    """A greenlet that may be told not to wait."""

    may_wait = True

    def switch_out(self):
        assert self.may_wait


def test_a_greenlet_that_refuses_to_wait_leaves_its_block_with_the_error_of_that():
    children = []

    def block():
        with TaskGroup() as group:
            children.append(group.spawn(gevent.sleep, FOR_EVER))
            gevent.sleep(0)
            gevent.getcurrent().may_wait = False

    watchful = Watchful.spawn(block)
    watchful.join()
    assert type(watchful.exception) is AssertionError
    children[0].join()
    assert type(children[0].value) is Cancelled


def generator(*children):
    with TaskGroup() as group:
        for child in children:
            group.spawn(child)
        yield group


def test_closing_a_generator_ends_the_group_in_it():
    patient = Patient()
    steps = generator(patient)
    next(steps)
    gevent.sleep(0)
    steps.close()
    assert patient.cleaned


def test_closing_a_generator_whose_group_has_errors():
    steps = generator(Patient(error=KeyError()))
    next(steps)
    gevent.sleep(0)
    with pytest.raises(BaseExceptionGroup) as caught:
        steps.close()
    assert kinds(caught.value) == ["GeneratorExit", "KeyError"]


def test_a_child_that_ends_by_generator_exit():
    with pytest.raises(BaseExceptionGroup) as caught, TaskGroup() as group:
        group.spawn(failing, GeneratorExit)
    assert kinds(caught.value) == ["GeneratorExit"]


def test_killing_a_host_in_a_generator_that_it_iterates_over():
    patient = Patient()

    def host():
        for _ in generator(patient):
            gevent.sleep(FOR_EVER)

    greenlet = gevent.spawn(host)
    gevent.sleep(0.001)
    greenlet.kill()
    assert patient.cleaned
    assert type(greenlet.value) is gevent.GreenletExit


@pytest.mark.parametrize(
    "kill",
    [
        lambda: gevent.getcurrent().kill(),
        lambda: gevent.getcurrent().kill(timeout=0.001),
        lambda: gevent.killall([gevent.getcurrent()]),
    ],
)
def test_a_greenlet_that_kills_itself_within_a_shield(kill):
    """The kill is put off, and so it must not wait for the end of the greenlet."""
    order = []

    def victim():
        with CancelScope(shield=True):
            kill()
            gevent.sleep(0)
            order.append("shielded")
        order.append("never")

    greenlet = gevent.spawn(victim)
    greenlet.join(FOR_EVER)
    assert order == ["shielded"]
    assert type(greenlet.value) is gevent.GreenletExit


def test_a_greenlet_that_kills_itself_and_others_within_a_shield():
    begun = Event()

    def victim():
        begun.wait()
        with CancelScope(shield=True):
            gevent.killall([gevent.getcurrent(), patient])
            return patient.dead

    greenlet = gevent.spawn(victim)
    patient = gevent.spawn(Patient())
    gevent.sleep(0)
    begun.set()
    greenlet.join(FOR_EVER)
    assert patient.dead
    assert type(greenlet.value) is gevent.GreenletExit
