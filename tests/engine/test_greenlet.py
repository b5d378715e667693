"""gevent.Greenlet: starting, ending, waiting, links, repr. test_kill.py has killing."""

import gc
import traceback
import weakref

import greenlet as plain
import pytest

import gevent
from gevent.event import AsyncResult
from gevent.exceptions import BlockingSwitchOutError, LoopExit
from gevent.greenlet import FailureSpawnedLink, Greenlet, SpawnedLink, SuccessSpawnedLink


class Failure(Exception):
    pass


def fail(*_args):
    raise Failure


class TestStart:
    def test_spawn_passes_arguments(self):
        assert gevent.spawn(dict, [("a", 1)], b=2).get() == {"a": 1, "b": 2}
        assert Greenlet.spawn(int, "3").get() == 3

    def test_runs_when_the_spawner_lets_it(self):
        order = []
        greenlet = gevent.spawn(order.append, 1)
        assert order == []
        greenlet.join()
        assert order == [1]

    def test_order_of_spawning(self):
        order = []
        gevent.joinall([gevent.spawn(order.append, number) for number in range(10)])
        assert order == list(range(10))

    def test_init_again_lets_go_of_the_former_call(self):
        """The former arguments are dropped when the greenlet is whole again: they may use it."""
        seen = []

        class Argument:
            def __del__(self):
                seen.append((greenlet.args, greenlet.kwargs, greenlet.dead))

        greenlet = gevent.Greenlet(print, Argument(), end=Argument())
        greenlet.__init__(print, 1, sep="")
        assert seen == [((1,), {"sep": ""}, False)] * 2

    def test_start_once(self):
        order = []
        greenlet = Greenlet(order.append, 1)
        gevent.sleep(0)
        assert (order, bool(greenlet), greenlet.started) == ([], False, False)
        greenlet.start()
        greenlet.start()
        assert (bool(greenlet), greenlet.started) == (True, True)
        greenlet.join()
        assert order == [1]

    def test_later(self):
        order = []
        late = gevent.spawn_later(1, order.append, "late")
        soon = Greenlet(order.append, "soon")
        soon.start_later(0.001)
        gevent.joinall([late, soon])
        assert order == ["soon", "late"]

    def test_nothing_to_call(self):
        for wrong in (3, "x"):
            with pytest.raises(TypeError, match="must be callable"):
                gevent.spawn(wrong)
        with pytest.raises(TypeError):
            gevent.spawn_later(0)

    def test_subclass_with_own_run(self):
        class Own(Greenlet):
            def __init__(self, value):
                super().__init__()
                self.given = value

            def _run(self):
                return self.given * 2

        assert Own.spawn(3).get() == 6

    def test_spawn_callbacks(self):
        started = []
        Greenlet.add_spawn_callback(started.append)
        try:
            greenlets = [gevent.spawn(int), gevent.spawn_later(0, int)]
        finally:
            Greenlet.remove_spawn_callback(started.append)
        unseen = gevent.spawn(int)
        gevent.joinall([*greenlets, unseen])
        assert started == greenlets

    def test_is_a_greenlet(self):
        greenlet = gevent.spawn(gevent.getcurrent)
        assert isinstance(greenlet, plain.greenlet)
        assert greenlet.parent is gevent.get_hub()
        assert greenlet.loop is gevent.get_hub().loop
        assert greenlet.get() is greenlet

    def test_context_manager_waits(self):
        done = []
        with gevent.spawn(done.append, 1):
            pass
        assert done == [1]

    def test_context_manager_kills_after_an_error(self):
        with pytest.raises(Failure), gevent.spawn(gevent.sleep, 10) as greenlet:
            raise Failure
        assert greenlet.dead


class TestEnd:
    def test_value(self):
        greenlet = gevent.spawn(int, "3")
        before = (greenlet.ready(), greenlet.successful(), greenlet.value, greenlet.dead)
        assert before == (False, False, None, False)
        assert greenlet.join() is None
        after = (greenlet.ready(), greenlet.successful(), greenlet.value, greenlet.dead)
        assert after == (True, True, 3, True)
        assert (greenlet.exception, greenlet.exc_info) == (None, None)
        assert not greenlet

    def test_error(self, printed):
        greenlet = gevent.spawn(fail)
        greenlet.join()
        assert (greenlet.ready(), greenlet.successful(), greenlet.value) == (True, False, None)
        kind, value, trace = greenlet.exc_info
        assert kind is Failure
        assert value is greenlet.exception
        assert traceback.extract_tb(trace)[-1].name == "fail"
        for _ in range(2):
            with pytest.raises(Failure) as caught:
                greenlet.get()
            assert caught.value is value
            assert traceback.extract_tb(caught.tb)[-1].name == "fail"

    def test_greenlet_exit_is_a_value(self):
        def leave():
            raise gevent.GreenletExit("bye")

        greenlet = gevent.spawn(leave)
        assert isinstance(greenlet.get(), gevent.GreenletExit)
        assert greenlet.successful()

    def test_lets_go_of_its_call(self):
        class Thing:
            pass

        thing = Thing()
        greenlet = gevent.spawn(id, thing)
        assert greenlet.args == (thing,)
        greenlet.join()
        reference = weakref.ref(thing)
        del thing
        assert (greenlet.args, greenlet.kwargs, reference()) == ((), {}, None)

    def test_lets_go_of_itself(self):
        greenlet = gevent.spawn(int)
        greenlet.join()
        reference = weakref.ref(greenlet)
        del greenlet
        gc.collect()
        assert reference() is None


class TestWait:
    def test_get_does_not_block(self):
        greenlet = gevent.spawn(int)
        with pytest.raises(gevent.Timeout):
            greenlet.get(block=False)
        greenlet.join()
        assert greenlet.get(block=False) == 0

    def test_timeout(self):
        greenlet = gevent.spawn(gevent.sleep, 10)
        with pytest.raises(gevent.Timeout) as caught:
            greenlet.get(timeout=0.001)
        assert caught.value.seconds == 0.001
        assert greenlet.join(timeout=0.001) is None
        assert not greenlet.dead
        assert not greenlet.has_links()
        greenlet.kill()

    def test_own_timeout_passes_through(self):
        greenlet = gevent.spawn(gevent.sleep, 10)
        timeout = gevent.Timeout.start_new(0.001)
        with pytest.raises(gevent.Timeout) as caught:
            greenlet.get(timeout=10)
        assert caught.value is timeout
        greenlet.kill()

    def test_many_wait(self):
        greenlet = gevent.spawn(gevent.sleep, 0.001)
        waiters = [gevent.spawn(greenlet.get) for _ in range(3)]
        assert gevent.joinall(waiters) == waiters

    def test_one_that_never_starts(self):
        with pytest.raises(LoopExit):
            Greenlet(int).get()

    def test_in_the_hub(self):
        caught = []

        def callback():
            try:
                greenlet.join()
            except BlockingSwitchOutError as error:
                caught.append(error)

        greenlet = gevent.spawn(gevent.sleep, 0.001)
        gevent.get_hub().loop.run_callback(callback)
        greenlet.join()
        assert len(caught) == 1


class TestLinks:
    @pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
    def test_rawlink(self, before):
        told = []
        greenlet = gevent.spawn(int)
        if not before:
            greenlet.join()
        greenlet.rawlink(lambda source: told.append((source, gevent.getcurrent())))
        gevent.sleep(0.001)
        assert told == [(greenlet, gevent.get_hub())]

    def test_links_may_block(self):
        told = []

        def callback(source):
            gevent.sleep(0.001)
            told.append(source)

        greenlet = gevent.spawn(int)
        greenlet.link(callback)
        assert gevent.wait() is True
        assert told == [greenlet]

    def test_success_and_failure(self, printed):
        told = []
        for function in (int, fail):
            greenlet = gevent.spawn(function)
            greenlet.link_value(lambda source: told.append(("value", source.value)))
            greenlet.link_exception(lambda source: told.append(("error", source.exception)))
        assert gevent.wait() is True
        assert told == [("value", 0), ("error", greenlet.exception)]

    def test_result_as_target(self, printed):
        for function, outcome in ((int, 0), (fail, Failure)):
            result = AsyncResult()
            gevent.spawn(function).link(result)
            if outcome is Failure:
                with pytest.raises(Failure):
                    result.get()
            else:
                assert result.get() == outcome

    def test_unlink(self):
        told = []
        greenlet = gevent.spawn(int)
        greenlet.rawlink(told.append)
        greenlet.link(print)
        assert greenlet.has_links()
        greenlet.unlink(told.append)
        greenlet.unlink(print)
        greenlet.unlink(print)
        assert not greenlet.has_links()
        greenlet.rawlink(told.append)
        greenlet.unlink_all()
        assert gevent.wait() is True
        assert told == []

    def test_a_failing_link_does_not_stop_the_others(self, printed):
        told = []
        greenlet = gevent.spawn(int)
        greenlet.rawlink(fail)
        greenlet.rawlink(told.append)
        assert gevent.wait() is True
        assert told == [greenlet]

    def test_not_callable(self):
        greenlet = Greenlet(int)
        for link in (greenlet.rawlink, greenlet.link, greenlet.link_value, greenlet.link_exception):
            with pytest.raises(TypeError, match="Expected callable"):
                link(3)

    @pytest.mark.parametrize("kind", [SpawnedLink, SuccessSpawnedLink, FailureSpawnedLink])
    def test_spawned_links_equal_their_callbacks(self, kind):
        link = kind(print)
        assert link == kind(print) == print
        assert hash(link) == hash(print)
        assert link != kind(repr)


class TestDescription:
    def test_repr(self):
        class Own(Greenlet):
            pass

        greenlet = gevent.spawn(gevent.sleep, 0, ref=True)
        assert repr(greenlet) == f"<Greenlet at {hex(id(greenlet))}: sleep(0, ref=True)>"
        greenlet.name = "x"
        assert repr(greenlet) == f'<Greenlet "x" at {hex(id(greenlet))}: sleep(0, ref=True)>'
        own = Own.spawn(int)
        assert repr(own) == f"<Own at {hex(id(own))}: int>"
        gevent.joinall([greenlet, own])

    def test_name(self):
        greenlet = Greenlet(int)
        assert greenlet.name == f"Greenlet-{greenlet.minimal_ident}"
        greenlet.name = "own"
        assert greenlet.name == "own"

    def test_idents_are_small_and_different(self):
        greenlets = [Greenlet(int) for _ in range(5)]
        assert len({greenlet.minimal_ident for greenlet in greenlets}) == 5

    def test_where_it_was_spawned(self):
        greenlet = gevent.spawn(int)
        lines = "".join(traceback.format_stack(greenlet.spawning_stack))
        assert "test_where_it_was_spawned" in lines
        assert greenlet.spawning_greenlet() is gevent.getcurrent()
        greenlet.join()

    def test_where_several_were_spawned(self, monkeypatch):
        def spawn():
            return gevent.spawn(int)

        def one():
            return spawn()

        def other():
            return spawn()

        def stack(greenlet):
            frame, names = greenlet.spawning_stack, []
            while frame is not None:
                names.append((frame.f_code.co_name, frame.f_lineno))
                frame = frame.f_back
            return names

        made = [function() for function in (one, other, one, one, spawn, other)]
        callers = [stack(greenlet)[1][0] for greenlet in made]
        assert callers == ["one", "other", "one", "one", stack(made[0])[2][0], "other"]
        assert stack(made[0]) == stack(made[2])
        for limit in (1, 2, 1):
            monkeypatch.setattr(Greenlet, "spawning_stack_limit", limit)
            assert stack(one()) == stack(made[0])[:limit]
        gevent.joinall(made)

    def test_tree_locals_are_shared(self):
        def parent():
            gevent.getcurrent().spawn_tree_locals["key"] = "value"
            return gevent.spawn(lambda: gevent.getcurrent().spawn_tree_locals).get()

        assert gevent.spawn(parent).get() == {"key": "value"}
        assert gevent.spawn(lambda: gevent.getcurrent().spawn_tree_locals).get() == {}


def test_links_and_joins_are_told_in_turn():
    log = []
    greenlet = gevent.spawn(gevent.sleep, 0.001)

    def join(name):
        greenlet.join()
        log.append(name)
        gevent.sleep(0)
        log.append(name + " later")

    joiners = []
    for name in ("a", "c"):
        joiners.append(gevent.spawn(join, name))
        gevent.sleep(0)
        greenlet.rawlink(lambda _, after=name: log.append("after " + after))
    gevent.joinall(joiners)
    assert log == ["a", "after a", "c", "after c", "a later", "c later"]
