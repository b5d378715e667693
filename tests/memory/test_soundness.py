"""Whatever a program does, the process does not crash or hang, and nothing is left behind."""

import contextvars
import gc
import sys
import traceback
import weakref
from contextlib import suppress
from itertools import pairwise

import greenlet
import pytest
from conditions import until

import gevent
from gevent import Greenlet
from gevent.exceptions import InvalidSwitchError
from gevent.hub import Waiter, get_hub

EXITS = {
    "sleeping": "gevent.spawn(gevent.sleep, 60)",
    "raw": "gevent.spawn_raw(gevent.sleep, 60)",
    "waiting": "gevent.spawn(Waiter().get)",
    "not begun": "gevent.spawn(print, 'never')",
    "later": "gevent.spawn_later(60, print, 'never')",
    "busy": "gevent.spawn(spin)",
    "holding on": "gevent.spawn(hold_on)",
    "timeout": "gevent.Timeout.start_new(60)",
    "linked": "gevent.spawn(gevent.sleep, 60).link(print)",
    "joined": "gevent.spawn(gevent.spawn(gevent.sleep, 60).join)",
    "watcher": "loop.timer(60).start(print)",
    "io": "loop.io(0, 1).start(print)",
    "idle": "loop.idle().start(int)",
    "prepare": "loop.prepare().start(int)",
    "signal": "gevent.signal_handler(10, print)",
    "async": "loop.async_().start(print)",
    "callback": "loop.run_callback(print, 'never')",
    "loop": "type(loop)(default=False)",
    "thread": "threading.Thread(target=gevent.sleep, args=(60,), daemon=True).start()",
}

PRELUDE = """
import gc, sys, threading
import gevent
from gevent.hub import Waiter, get_hub

loop = get_hub().loop
kept = []

def spin():
    while True:
        gevent.sleep(0)

def hold_on():
    try:
        gevent.sleep(60)
    finally:
        gevent.sleep(60)
"""


@pytest.fixture
def unraisable(monkeypatch):
    """The errors that were raised where no caller could catch them."""
    raised = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: raised.append(args.exc_value))
    return raised


class TestInterpreterExit:
    @pytest.mark.parametrize("run", ["gevent.sleep(0.01)", "gevent.sleep(0)", "pass"])
    @pytest.mark.parametrize("what", EXITS)
    def test_with_something_left(self, run_python, what, run):
        done = run_python(f"{PRELUDE}\nkept.append({EXITS[what]})\n{run}\nprint('end')")
        assert (done.stdout.split("\n")[-2], done.stderr, done.returncode) == ("end", "", 0)

    def test_with_everything_left_in_development_mode(self, run_python):
        program = PRELUDE + "".join(f"\nkept.append({code})" for code in EXITS.values())
        program += "\ngevent.sleep(0.01)\nprint('end')"
        done = run_python(program, PYTHONDEVMODE="1", PYTHONWARNINGS="error", PYTHONMALLOC="debug")
        assert (done.stdout.split("\n")[-2], done.stderr, done.returncode) == ("end", "", 0)

    @pytest.mark.parametrize("where", ["gevent.spawn(leave).join()", "loop.run_callback(leave)"])
    def test_in_the_middle(self, run_python, where):
        done = run_python(
            f"{PRELUDE}\ndef leave():\n    sys.exit(4)\ngevent.spawn(gevent.sleep, 60)\n"
            f"{where}\ngevent.sleep(60)"
        )
        assert (done.stdout, done.stderr, done.returncode) == ("", "", 4)

    def test_finalizers_that_use_gevent(self, run_python):
        done = run_python(
            PRELUDE
            + """
class Late:
    def __init__(self, use):
        self.use = use

    def __del__(self):
        try:
            self.use()
        except BaseException as error:
            print(type(error).__name__)

for use in (
    lambda: gevent.sleep(0.001), gevent.sleep, gevent.getcurrent, lambda: gevent.spawn(int),
    lambda: gevent.spawn(int).join(), lambda: gevent.spawn_raw(int), get_hub, Waiter().get,
    lambda: gevent.Timeout(1).start(), lambda: loop.timer(1).start(int), gevent.idle,
):
    late = Late(use)
    late.itself = late
    kept.append(late)
    setattr(sys, f"late{len(kept)}", Late(use))
gevent.sleep(0.001)
print("end")
"""
        )
        assert "Panic" not in done.stdout + done.stderr
        assert done.returncode == 0


class TestDropped:
    """Objects that nobody holds any more, and finalizers that do what they please."""

    def test_ended_greenlets_go_at_once(self):
        one = gevent.spawn(lambda: 1)
        ref = weakref.ref(one)
        one.join()
        del one
        assert ref() is None

    @pytest.mark.parametrize("make", [lambda: Greenlet(int), lambda: Greenlet(int, [1])])
    def test_greenlets_that_were_never_started(self, make):
        ref = weakref.ref(make())
        assert ref() is None

    def test_greenlets_in_a_cycle(self):
        class Box:
            """Refers to what refers to it."""

        box = Box()
        box.greenlet = gevent.spawn(lambda box: box, box)
        box.greenlet.join()
        box.greenlet.box = box
        ref = weakref.ref(box.greenlet)
        del box
        gc.collect()
        assert ref() is None

    def test_greenlets_that_link_to_each_other(self):
        first, second = Greenlet(int), Greenlet(int)
        first.rawlink(second.start)
        second.rawlink(first.start)
        refs = [weakref.ref(first), weakref.ref(second)]
        del first, second
        gc.collect()
        assert [ref() for ref in refs] == [None, None]

    def test_watchers_and_waiters_in_cycles(self):
        timer = get_hub().loop.timer(10)
        timer.callback = lambda keep=timer: None
        waiter = Waiter()
        waiter.switch([waiter])
        ref = weakref.ref(timer)
        del timer, waiter
        gc.collect()
        assert ref() is None

    def test_raw_greenlets_that_are_suspended_are_unwound(self):
        seen = []

        def run():
            try:
                greenlet.getcurrent().parent.switch()
            except BaseException as error:
                seen.append(type(error))
                raise

        raw = greenlet.greenlet(run)
        raw.switch()
        del raw
        assert seen == [gevent.GreenletExit]

    @pytest.mark.parametrize(
        "act", ["sleep", "yield", "spawn", "join", "kill", "collect", "switch"]
    )
    def test_finalizers_of_results(self, act, unraisable):
        acts = {
            "sleep": lambda: gevent.sleep(0.0001),
            "yield": lambda: gevent.sleep(0),
            "spawn": lambda: gevent.spawn(int),
            "join": lambda: gevent.spawn(int).join(),
            "kill": lambda: gevent.killall([gevent.spawn(gevent.sleep, 9)]),
            "collect": gc.collect,
            "switch": lambda: greenlet.greenlet(int).switch(),
        }
        done = []

        class Result:
            def __del__(self):
                acts[act]()
                done.append(True)

        def run():
            kept = Result()
            gevent.sleep(0)
            return kept

        for _ in range(20):
            gevent.spawn(run).join()
            gevent.spawn(Result)
            gevent.spawn(int, *()).join()
        until(lambda: len(done) + len(unraisable) >= 40)
        assert len(done) + len(unraisable) == 40
        assert not any("anic" in repr(error) for error in unraisable)

    def test_finalizers_of_exceptions(self, printed, unraisable):
        done = []

        class Failure(Exception):
            def __del__(self):
                gevent.sleep(0.0001)
                done.append(True)

        def run():
            gevent.sleep(0)
            raise Failure

        for _ in range(20):
            gevent.spawn(run).join()
            gevent.spawn(gevent.sleep, 9).kill(Failure)
        until(lambda: gc.collect() >= 0 and len(done) + len(unraisable) >= 39)

    def test_finalizers_in_the_way_of_a_wake_up(self, printed):
        """A waiting greenlet is dropped while another one chooses where to switch."""
        done = []

        class Slow:
            def __del__(self):
                gevent.sleep(0.0005)
                done.append(True)

        class Cut(Exception):
            """Ends a greenlet whose wake-up is already queued."""

        def run():
            gevent.sleep(0)

        for _ in range(20):
            raw = gevent.spawn_raw(run)
            raw.slow = Slow()
            gevent.sleep(0)
            get_hub().loop.run_callback(raw.throw, Cut)
            del raw
            sleepers = [gevent.spawn(gevent.sleep, delay) for delay in (0, 0.0002, 0.0005)]
            gevent.joinall(sleepers)
        until(lambda: len(done) == 20)

    def test_collections_while_switching(self):
        before = gc.get_threshold()
        gc.set_threshold(1, 1, 1)
        try:

            def run(number):
                box = [number]
                box.append(box)
                for _ in range(20):
                    gevent.sleep(0 if number % 2 else 0.0001)
                    [].append([])
                return box[0]

            greenlets = [gevent.spawn(run, number) for number in range(30)]
            gevent.joinall(greenlets)
            assert [one.value for one in greenlets] == list(range(30))
        finally:
            gc.set_threshold(*before)


class TestDepth:
    def test_a_chain_of_starts(self):
        def run(left):
            return gevent.spawn(run, left - 1).get() + 1 if left else 0

        assert gevent.spawn(run, 10_000).get() == 10_000

    def test_a_chain_of_starts_that_do_not_wait(self):
        ends = []

        def run(left):
            if left:
                gevent.spawn(run, left - 1)
            else:
                ends.append(True)

        gevent.spawn(run, 10_000)
        gevent.wait()
        assert ends == [True]

    def test_a_chain_of_raw_starts(self):
        ends = []

        def run(left):
            if left:
                gevent.spawn_raw(run, left - 1)
                gevent.sleep(0)
            else:
                ends.append(True)

        gevent.spawn_raw(run, 10_000)
        gevent.wait()
        assert ends == [True]

    def test_a_chain_of_links(self):
        ends = []

        def run(left):
            def then(_):
                if left:
                    gevent.spawn(run, left - 1)
                else:
                    ends.append(True)

            gevent.getcurrent().link(then)

        gevent.spawn(run, 2000)
        gevent.wait()
        assert ends == [True]

    def test_recursion_in_greenlets(self):
        def run(left):
            if left:
                return run(left - 1) + 1
            gevent.sleep(0)
            return 0

        greenlets = [gevent.spawn(run, 500) for _ in range(20)]
        assert [one.get() for one in greenlets] == [500] * 20

    def test_recursion_without_end(self, printed):
        def run():
            return run()

        one = gevent.spawn(run)
        one.join()
        assert isinstance(one.exception, RecursionError)
        assert gevent.spawn(int).get() == 0

    def test_recursion_without_end_over_waits(self, printed):
        def run():
            gevent.sleep(0)
            return run()

        one = gevent.spawn(run)
        one.join()
        assert isinstance(one.exception, RecursionError)
        assert gevent.spawn(int).get() == 0


class TestIntrospection:
    def test_trace_sees_each_switch(self):
        seen = []
        before = greenlet.settrace(lambda event, args: seen.append((event, *args)))
        try:
            one = gevent.spawn(gevent.sleep, 0.0001)
            one.join()
        finally:
            greenlet.settrace(before)
        assert {event for event, *_ in seen} == {"switch"}
        assert all(old is not new for _, old, new in seen)
        # Each switch starts where the one before led.
        assert all(one[2] is other[1] for one, other in pairwise(seen))
        assert any(new is one for _, _, new in seen)

    def test_trace_that_fails(self, printed, unraisable):
        def fail(event, args):
            raise ZeroDivisionError

        before = greenlet.settrace(fail)
        try:
            for _ in range(3):
                with suppress(ZeroDivisionError):
                    gevent.spawn(int).join()
        finally:
            greenlet.settrace(before)
        assert gevent.spawn(int).get() == 0

    def test_frames_of_suspended_greenlets(self):
        def inner():
            gevent.sleep(9)

        def outer():
            inner()

        one = gevent.spawn(outer)
        gevent.sleep(0)
        names = [frame.f_code.co_name for frame, _ in traceback.walk_stack(one.gr_frame)]
        assert names[:2] == ["inner", "outer"]
        one.kill()
        assert one.gr_frame is None

    def test_context_variables_are_each_greenlets_own(self):
        variable = contextvars.ContextVar("variable", default="default")
        variable.set("main")

        def run(number):
            first = variable.get()
            variable.set(number)
            for _ in range(3):
                gevent.sleep(0)
                gevent.sleep(0.0001)
                assert variable.get() == number
            return first

        greenlets = [gevent.spawn(run, number) for number in range(10)]
        assert {one.get() for one in greenlets} == {"default"}
        assert variable.get() == "main"

    def test_context_can_be_given(self):
        variable = contextvars.ContextVar("variable")
        context = contextvars.copy_context()
        context.run(variable.set, "given")
        one = Greenlet(variable.get)
        one.gr_context = context
        one.start()
        assert one.get() == "given"

    def test_exceptions_being_handled_are_each_greenlets_own(self):
        def run(number):
            try:
                raise KeyError(number)
            except KeyError:
                for _ in range(3):
                    gevent.sleep(0)
                    assert sys.exc_info()[1].args == (number,)
            assert sys.exc_info()[1] is None

        try:
            raise ValueError
        except ValueError:
            gevent.joinall([gevent.spawn(run, number) for number in range(10)], raise_error=True)
            assert isinstance(sys.exc_info()[1], ValueError)

    def test_generators_over_waits(self):
        def numbers():
            for number in range(5):
                gevent.sleep(0)
                yield number

        greenlets = [gevent.spawn(lambda: list(numbers())) for _ in range(5)]
        assert [one.get() for one in greenlets] == [list(range(5))] * 5

    def test_a_generator_that_two_greenlets_enter(self, printed):
        def numbers():
            gevent.sleep(0.0001)
            yield 1

        shared = numbers()
        greenlets = [gevent.spawn(next, shared) for _ in range(2)]
        gevent.joinall(greenlets)
        assert sorted(type(one.exception) for one in greenlets if one.exception) == [ValueError]


class TestMisuse:
    def test_without_init(self):
        class Careless(Greenlet):
            def __init__(self):
                """Does not call that of its base."""

        one = Careless()
        assert repr(one).startswith("<Careless")
        for start in (one.start, lambda: one.start_later(0)):
            with pytest.raises(AssertionError):
                start()
        assert (one.args, one.kwargs, one.value, one.exception) == ((), {}, None, None)
        one.kill(timeout=0.001)

    def test_init_twice(self):
        one = Greenlet(int)
        one.__init__(str)
        assert one.__init__(lambda: 5) is None
        one.start()
        assert one.get() == 5

    def test_init_while_running(self):
        def run():
            gevent.getcurrent().__init__(int)
            gevent.sleep(0)
            return "went on"

        assert gevent.spawn(run).get() == "went on"

    def test_run_by_hand(self, printed):
        one = Greenlet(lambda: 5)
        one.run()
        assert one.value == 5
        one.run()
        one.start()
        gevent.sleep(0)

    def test_switched_to_before_its_turn(self):
        gevent.sleep(0.0001)
        one = gevent.spawn(lambda: "early")
        raw = greenlet.greenlet(one.switch)
        get_hub().loop.run_callback(raw.switch)
        assert one.get() == "early"

    def test_spawn_callback_that_fails(self):
        started = []

        def fail(one):
            started.append(one)
            raise ZeroDivisionError

        Greenlet.add_spawn_callback(fail)
        try:
            with pytest.raises(ZeroDivisionError):
                gevent.spawn(int)
        finally:
            Greenlet.remove_spawn_callback(fail)
        assert not started[0]
        started[0].start()
        assert started[0].get() == 0

    def test_class_of_a_greenlet_cannot_be_broken(self):
        one = gevent.spawn(gevent.sleep, 9)
        gevent.sleep(0)
        for wrong in (object, int, greenlet.greenlet):
            with pytest.raises(TypeError):
                one.__class__ = wrong
        one.kill()

    def test_parent_that_is_no_hub(self):
        one = Greenlet(gevent.sleep, 0.0001)
        one.parent = gevent.getcurrent()
        one.start()
        with pytest.raises(InvalidSwitchError):
            gevent.sleep(5)
        assert one.ready()
