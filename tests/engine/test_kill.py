"""kill, killall and throw: greenlets that are asked to end, in every state that they can be in."""

import io
from contextlib import suppress

import pytest

import gevent
from gevent import Greenlet, GreenletExit
from gevent.hub import Waiter, get_hub


@pytest.fixture
def printed():
    """Return where the hub of this thread prints during the test."""
    stream = get_hub().exception_stream = io.StringIO()
    yield stream
    del get_hub().exception_stream


@pytest.fixture(autouse=True)
def nothing_left():
    before = get_hub().loop.activecnt
    yield
    gevent.sleep(0)
    assert get_hub().loop.activecnt <= before


def waiting():
    """A greenlet that waits for what never comes."""
    greenlet = gevent.spawn(Waiter().get)
    gevent.sleep(0)
    return greenlet


class TestStates:
    def test_not_started(self):
        ran = []
        greenlet = Greenlet(ran.append, 1)
        greenlet.kill()
        assert greenlet.ready()
        assert greenlet.dead
        assert greenlet.successful()
        assert isinstance(greenlet.value, GreenletExit)
        greenlet.start()
        gevent.sleep(0.001)
        assert ran == []
        assert not greenlet

    def test_scheduled(self):
        ran = []
        greenlet = gevent.spawn(ran.append, 1)
        greenlet.kill()
        assert greenlet.ready()
        gevent.sleep(0.001)
        assert ran == []

    def test_scheduled_for_later(self):
        ran = []
        greenlet = gevent.spawn_later(0.002, ran.append, 1)
        greenlet.kill()
        assert isinstance(greenlet.get(), GreenletExit)
        gevent.sleep(0.01)
        assert ran == []

    def test_waiting(self):
        greenlet = waiting()
        greenlet.kill()
        assert greenlet.dead
        assert greenlet.successful()
        assert isinstance(greenlet.get(), GreenletExit)

    def test_ready_to_go_on(self):
        """It was woken before: it goes on, and the error comes at its next wait."""
        order = []

        def run():
            order.append(waiter.get())
            try:
                gevent.sleep(10)
            finally:
                order.append("ended")

        waiter = Waiter()
        greenlet = gevent.spawn(run)
        gevent.sleep(0)
        loop = get_hub().loop
        loop.run_callback(waiter.switch, "value")
        greenlet.kill()
        assert order == ["value", "ended"]

    def test_sleeping_zero(self):
        def run():
            while True:
                gevent.sleep(0)

        greenlet = gevent.spawn(run)
        gevent.sleep(0)
        greenlet.kill()
        assert greenlet.ready()

    def test_over(self):
        greenlet = gevent.spawn(lambda: "result")
        greenlet.join()
        greenlet.kill()
        assert greenlet.value == "result"

    def test_failed(self, printed):
        greenlet = gevent.spawn(lambda: 1 / 0)
        greenlet.join()
        greenlet.kill(KeyError)
        assert isinstance(greenlet.exception, ZeroDivisionError)

    def test_running_itself(self):
        def run():
            gevent.getcurrent().kill()

        greenlet = gevent.spawn(run)
        greenlet.join()
        assert isinstance(greenlet.value, GreenletExit)

    def test_running_itself_without_waiting(self):
        order = []

        def run():
            gevent.getcurrent().kill(block=False)
            order.append("went on")
            gevent.sleep(10)

        gevent.spawn(run).join()
        assert order == ["went on"]

    def test_joining_another(self):
        other = waiting()
        joining = gevent.spawn(other.join)
        gevent.sleep(0)
        joining.kill()
        assert not other.ready()
        other.kill()

    def test_each_other(self):
        pair = []

        def run(me):
            gevent.sleep(0)
            pair[1 - me].kill()

        pair.extend(gevent.spawn(run, me) for me in range(2))
        gevent.joinall(pair)
        assert all(greenlet.ready() for greenlet in pair)


class TestException:
    @pytest.mark.parametrize("given", [KeyError, KeyError("x")])
    def test_is_raised_where_it_waits(self, printed, given):
        got = []

        def run():
            try:
                gevent.sleep(10)
            except KeyError as error:
                got.append(error)
                raise

        greenlet = gevent.spawn(run)
        gevent.sleep(0)
        greenlet.kill(given)
        assert got == [greenlet.exception]
        assert not greenlet.successful()

    def test_of_one_that_has_not_begun(self, printed):
        greenlet = gevent.spawn(int)
        greenlet.kill(KeyError("x"))
        assert isinstance(greenlet.exception, KeyError)
        with pytest.raises(KeyError):
            greenlet.get()

    @pytest.mark.parametrize("given", ["text", 5, object(), int, object])
    def test_what_is_none_kills_as_a_type_error(self, printed, given):
        for start in (waiting, lambda: gevent.spawn(int), lambda: Greenlet(int)):
            greenlet = start()
            greenlet.kill(given)
            assert isinstance(greenlet.exception, TypeError)

    def test_class_that_cannot_be_made(self, printed):
        class Unmakeable(Exception):
            def __init__(self):
                raise ZeroDivisionError

        greenlet = waiting()
        greenlet.kill(Unmakeable, timeout=5)
        assert isinstance(greenlet.exception, ZeroDivisionError)

    def test_caught_and_kept_on(self):
        def run():
            try:
                gevent.sleep(10)
            except GreenletExit:
                gevent.sleep(0.001)
            return "kept on"

        greenlet = gevent.spawn(run)
        gevent.sleep(0)
        greenlet.kill()
        assert greenlet.value == "kept on"

    def test_caught_for_ever_ends_the_callers_patience_only(self):
        stop = []

        def run():
            while not stop:
                with suppress(GreenletExit):
                    gevent.sleep(0.001)

        greenlet = gevent.spawn(run)
        gevent.sleep(0)
        greenlet.kill(timeout=0.005)
        assert not greenlet.ready()
        stop.append(True)
        greenlet.join()

    def test_raised_while_ending(self, printed):
        def run():
            try:
                gevent.sleep(10)
            finally:
                raise OSError("while ending")

        greenlet = gevent.spawn(run)
        gevent.sleep(0)
        greenlet.kill()
        assert isinstance(greenlet.exception, OSError)

    def test_wait_in_finally(self):
        order = []

        def run():
            try:
                gevent.sleep(10)
            finally:
                gevent.sleep(0.001)
                order.append("cleaned up")

        greenlet = gevent.spawn(run)
        gevent.sleep(0)
        greenlet.kill()
        assert order == ["cleaned up"]

    def test_kill_in_finally(self):
        other = waiting()

        def run():
            try:
                gevent.sleep(10)
            finally:
                other.kill()

        greenlet = gevent.spawn(run)
        gevent.sleep(0)
        greenlet.kill()
        assert other.ready()

    def test_spawn_in_finally(self):
        spawned = []

        def run():
            try:
                gevent.sleep(10)
            finally:
                spawned.append(gevent.spawn(lambda: "ran"))

        greenlet = gevent.spawn(run)
        gevent.sleep(0)
        greenlet.kill()
        assert spawned[0].get() == "ran"

    def test_twice(self):
        seen = []

        def run():
            for _ in range(2):
                try:
                    gevent.sleep(10)
                except GreenletExit as error:
                    seen.append(error)

        greenlet = gevent.spawn(run)
        gevent.sleep(0)
        greenlet.kill(block=False)
        greenlet.kill(block=False)
        greenlet.join()
        assert len(seen) == 2


class TestWaiters:
    def test_are_told(self):
        greenlet = gevent.spawn(gevent.sleep, 10)
        joining = [gevent.spawn(greenlet.get) for _ in range(3)]
        linked = []
        greenlet.link(linked.append)
        greenlet.rawlink(linked.append)
        gevent.sleep(0)
        greenlet.kill()
        gevent.joinall(joining)
        assert all(isinstance(one.value, GreenletExit) for one in joining)
        gevent.sleep(0.001)
        assert linked == [greenlet, greenlet]

    def test_are_told_of_one_that_never_began(self):
        for greenlet in (Greenlet(int), gevent.spawn(int), gevent.spawn_later(10, int)):
            linked = []
            greenlet.link(linked.append)
            joining = gevent.spawn(greenlet.join)
            greenlet.kill(block=False)
            joining.join()
            gevent.sleep(0.001)
            assert linked == [greenlet]

    def test_killer_that_is_killed(self):
        def run():
            try:
                gevent.sleep(10)
            finally:
                gevent.sleep(0.002)

        greenlet = gevent.spawn(run)
        killer = gevent.spawn(greenlet.kill)
        gevent.sleep(0)
        gevent.sleep(0)
        killer.kill()
        assert killer.ready()
        greenlet.join()


class TestKillall:
    def test_in_every_state(self):
        ended = gevent.spawn(int)
        ended.join()
        greenlets = [waiting(), waiting(), gevent.spawn(int), Greenlet(int), ended]
        gevent.killall(greenlets)
        assert all(greenlet.ready() for greenlet in greenlets)

    def test_raw_ones(self):
        got = []

        def run():
            try:
                Waiter().get()
            except BaseException as error:
                got.append(type(error))

        raw = gevent.spawn_raw(run)
        unstarted = gevent.spawn_raw(got.append, "ran")
        gevent.sleep(0)
        gevent.killall([raw, unstarted, gevent.spawn(int)])
        assert raw.dead
        assert GreenletExit in got

    def test_nothing(self):
        gevent.killall([])
        gevent.killall(iter(()))

    def test_many(self):
        greenlets = [gevent.spawn(gevent.sleep, 10) for _ in range(2000)]
        gevent.sleep(0)
        gevent.killall(greenlets)
        assert all(isinstance(greenlet.value, GreenletExit) for greenlet in greenlets)

    def test_exception(self, printed):
        greenlets = [gevent.spawn(gevent.sleep, 10) for _ in range(3)]
        gevent.sleep(0)
        gevent.killall(greenlets, exception=KeyError, block=False)
        gevent.joinall(greenlets)
        assert all(isinstance(greenlet.exception, KeyError) for greenlet in greenlets)

    def test_what_is_no_greenlet(self):
        for wrong in ([1], ["x"], [None]):
            with pytest.raises((AttributeError, TypeError)):
                gevent.killall(wrong)


class TestThrow:
    def test_is_at_once(self):
        order = []

        def run():
            try:
                Waiter().get()
            except KeyError:
                order.append("thrown")

        greenlet = gevent.spawn(run)
        gevent.sleep(0)
        get_hub().loop.run_callback(lambda: (greenlet.throw(KeyError), order.append("back")))
        gevent.sleep(0.001)
        assert order == ["thrown", "back"]

    def test_into_one_that_has_not_begun(self, printed):
        greenlet = gevent.spawn(int)
        greenlet.throw(KeyError("x"))
        assert isinstance(greenlet.exception, KeyError)
        greenlet = Greenlet(int)
        greenlet.throw()
        assert isinstance(greenlet.value, GreenletExit)

    def test_into_one_that_is_over(self):
        greenlet = gevent.spawn(lambda: 5)
        greenlet.join()
        greenlet.throw(KeyError)
        greenlet.throw()
        assert greenlet.value == 5

    @pytest.mark.parametrize("args", [("x",), (5,), (int,), (KeyError, "x", "no traceback")])
    def test_bad_arguments(self, args):
        greenlet = waiting()
        with pytest.raises(TypeError):
            greenlet.throw(*args)
        greenlet.kill()


class TestModuleKill:
    def test_does_not_wait(self):
        greenlet = waiting()
        gevent.kill(greenlet)
        assert not greenlet.ready()
        gevent.sleep(0)
        gevent.sleep(0)
        assert greenlet.ready()

    def test_raw_greenlet_with_an_error(self, printed):
        raw = gevent.spawn_raw(Waiter().get)
        gevent.sleep(0)
        gevent.kill(raw, KeyError("x"))
        gevent.sleep(0.001)
        assert raw.dead
        assert "KeyError: 'x'" in printed.getvalue()

    def test_what_is_no_greenlet(self):
        for wrong in (None, 1, "x", object()):
            with pytest.raises((AttributeError, TypeError)):
                gevent.kill(wrong)


@pytest.mark.parametrize("all_at_once", [False, True])
def test_whoever_kills_goes_on_ahead_of_those_who_became_ready(all_at_once):
    log = []
    victim = gevent.spawn(gevent.sleep, 10)

    def killer():
        if all_at_once:
            gevent.killall([victim])
        else:
            victim.kill()
        log.append("killer")

    def ready(name):
        gevent.sleep(0)
        log.append(name)

    gevent.sleep(0)
    greenlets = [gevent.spawn(killer), gevent.spawn(ready, "one"), gevent.spawn(ready, "other")]
    gevent.joinall(greenlets)
    assert log == ["killer", "one", "other"]


class NoGreenlet:
    """Looks like a greenlet that is under way."""

    dead = False


@pytest.mark.parametrize("what", [NoGreenlet(), NoGreenlet])
@pytest.mark.parametrize("kill", [gevent.kill, lambda what: gevent.killall([what], block=False)])
def test_what_is_no_greenlet(what, kill):
    with pytest.raises((AttributeError, TypeError)):
        kill(what)
    gevent.sleep(0)
