"""gevent.event.Event."""

import gc
import threading
import weakref

import pytest

import gevent
from gevent.event import Event
from gevent.exceptions import BlockingSwitchOutError, LoopExit
from gevent.lock import Semaphore


def run_in_hub(function):
    """Call the function in the hub and return what it returned or raised."""
    outcome = []

    def call():
        try:
            outcome.append(function())
        except BaseException as error:
            outcome.append(error)

    gevent.get_hub().loop.run_callback(call)
    while not outcome:
        gevent.sleep(0)
    return outcome[0]


class Reported:
    """Collects what the hub would report, in the place of its report."""

    def __init__(self, monkeypatch):
        self.errors = []
        monkeypatch.setitem(vars(gevent.get_hub()), "handle_error", self)

    def __call__(self, context, kind, value, traceback):
        self.errors.append((context, value))


@pytest.fixture
def reported(monkeypatch):
    return Reported(monkeypatch)


class TestFlag:
    def test_names(self):
        event = Event()
        assert (event.is_set(), event.isSet(), event.ready()) == (False, False, False)
        assert event.set() is None
        assert (event.is_set(), event.isSet(), event.ready()) == (True, True, True)
        assert event.clear() is None
        assert not event.is_set()

    def test_str(self):
        event = Event()
        assert str(event) == f"<gevent.event.Event at {id(event):#x} clear _links[0]>"
        event.set()
        event.rawlink(print)
        assert str(event) == f"<gevent.event.Event at {id(event):#x} set _links[1]>"
        event.unlink(print)

    def test_no_arguments(self):
        with pytest.raises(TypeError, match=r"Event\(\) takes no arguments"):
            Event(1)
        with pytest.raises(TypeError):
            Event(hub=None)

    def test_subclass_with_arguments(self):
        class Named(Event):
            def __init__(self, name):
                super().__init__()
                self.name = name

        event = Named("door")
        assert event.name == "door"
        assert not event.is_set()

    def test_no_attributes_of_its_own(self):
        with pytest.raises(AttributeError):
            Event().name = "door"

    def test_weakref(self):
        event = Event()
        reference = weakref.ref(event)
        assert reference() is event
        del event
        assert reference() is None


class TestWait:
    def test_already_set(self):
        event = Event()
        event.set()
        assert event.wait() is True
        assert event.wait(timeout=0) is True

    @pytest.mark.parametrize("timeout", [0, -1, 0.001])
    def test_time_is_up(self, timeout):
        event = Event()
        assert event.wait(timeout) is False
        assert event.linkcount() == 0

    def test_limit_of_nothing_lets_others_run(self):
        event = Event()
        gevent.spawn(event.set)
        tries = 0
        while not event.wait(0):
            tries += 1
            assert tries < 1000

    def test_timeout_object(self):
        timeout = gevent.Timeout(0.001)
        assert Event().wait(timeout) is False
        assert not timeout.pending

    def test_timeout_object_with_an_exception(self):
        with pytest.raises(KeyError):
            Event().wait(gevent.Timeout(0.001, KeyError))

    def test_timeout_around(self):
        event = Event()
        with pytest.raises(gevent.Timeout), gevent.Timeout(0.001):
            event.wait()
        assert event.linkcount() == 0

    @pytest.mark.parametrize("timeout", ["1", object()])
    def test_wrong_timeout(self, timeout):
        event = Event()
        with pytest.raises(TypeError, match="must be real number"):
            event.wait(timeout)
        assert event.linkcount() == 0

    def test_in_the_order_of_arrival(self):
        event, order = Event(), []

        def wait(name):
            assert event.wait() is True
            order.append(name)

        greenlets = [gevent.spawn(wait, name) for name in "abcde"]
        gevent.sleep(0)
        assert event.linkcount() == 5
        event.set()
        assert order == []
        gevent.joinall(greenlets)
        assert order == list("abcde")
        assert event.linkcount() == 0

    def test_late_comers_run_last(self):
        event, order = Event(), []

        def wait(name):
            event.wait()
            order.append(name)

        greenlets = [gevent.spawn(wait, name) for name in "ab"]
        gevent.sleep(0)
        event.set()
        wait("late")
        assert order == ["a", "b", "late"]
        gevent.joinall(greenlets)

    def test_cleared_before_the_waiter_runs(self):
        event = Event()
        waiter = gevent.spawn(event.wait)
        gevent.sleep(0)
        event.set()
        event.clear()
        assert waiter.get() is True
        assert not event.is_set()

    def test_after_clear_waits_for_the_next_set(self):
        event = Event()
        event.set()
        event.clear()
        assert event.wait(0.001) is False

    def test_killed(self):
        event = Event()
        waiter = gevent.spawn(event.wait)
        gevent.sleep(0)
        waiter.kill()
        assert isinstance(waiter.value, gevent.GreenletExit)
        assert event.linkcount() == 0

    def test_killed_after_set(self):
        event = Event()
        killed, other = gevent.spawn(event.wait), gevent.spawn(event.wait)
        gevent.sleep(0)
        killed.kill(block=False)
        event.set()
        assert other.get() is True
        assert isinstance(killed.value, gevent.GreenletExit)
        assert event.linkcount() == 0

    def test_forever(self):
        with pytest.raises(LoopExit, match="This operation would block forever"):
            Event().wait()

    def test_in_the_hub(self):
        event = Event()
        assert isinstance(run_in_hub(event.wait), BlockingSwitchOutError)
        assert event.linkcount() == 0
        event.set()
        assert run_in_hub(event.wait) is True

    def test_several_at_once(self):
        events = [Event() for _ in range(3)]
        gevent.spawn_later(0.001, events[1].set)
        assert gevent.wait(events, count=1) == [events[1]]
        assert [event.linkcount() for event in events] == [0, 0, 0]


class TestLinks:
    def test_called_in_the_hub_once(self):
        event, calls = Event(), []
        event.rawlink(lambda source: calls.append((source, gevent.getcurrent())))
        event.set()
        assert calls == []
        gevent.sleep(0)
        assert calls == [(event, gevent.get_hub())]
        event.set()
        gevent.sleep(0)
        assert len(calls) == 1
        assert event.linkcount() == 0

    def test_as_often_as_linked(self):
        event, calls = Event(), []
        event.rawlink(calls.append)
        event.rawlink(calls.append)
        assert event.linkcount() == 2
        event.set()
        gevent.sleep(0)
        assert calls == [event, event]

    def test_order_with_waiters(self):
        event, order = Event(), []
        event.rawlink(lambda _: order.append("first"))
        waiter = gevent.spawn(lambda: event.wait() and order.append("second"))
        gevent.sleep(0)
        event.rawlink(lambda _: order.append("third"))
        event.set()
        waiter.join()
        gevent.sleep(0)
        assert order == ["first", "second", "third"]

    def test_already_set(self):
        event, calls = Event(), []
        event.set()
        event.rawlink(calls.append)
        assert event.linkcount() == 1
        gevent.sleep(0)
        assert calls == [event]

    def test_unlinked_in_time(self):
        event, calls = Event(), []
        event.rawlink(calls.append)
        event.set()
        event.unlink(calls.append)
        event.unlink(calls.append)
        gevent.sleep(0)
        assert calls == []

    def test_linked_again_is_another_link(self):
        event, calls = Event(), []
        event.rawlink(calls.append)
        event.set()
        event.clear()
        event.unlink(calls.append)
        event.rawlink(calls.append)
        gevent.sleep(0)
        assert calls == []
        assert event.linkcount() == 1

    @pytest.mark.parametrize("callback", [None, 5])
    def test_not_callable(self, callback):
        with pytest.raises(TypeError, match=f"Expected callable: {callback}"):
            Event().rawlink(callback)

    def test_error_is_reported_and_others_are_called(self, reported):
        event, calls = Event(), []

        def fail(source):
            raise ValueError("in a link")

        event.rawlink(fail)
        event.rawlink(calls.append)
        event.set()
        gevent.sleep(0)
        assert calls == [event]
        [(context, error)] = reported.errors
        assert context == (fail, event)
        assert str(error) == "in a link"

    def test_cycle_is_collected(self):
        event = Event()
        event.rawlink(lambda _, keep=event: None)
        reference = weakref.ref(event)
        del event
        gc.collect()
        assert reference() is None


class TestThreads:
    def test_hub_of_the_first_who_waits(self):
        event = Event()
        assert event.hub is None
        event.wait(0)
        assert event.hub is gevent.get_hub()

    def test_set_by_a_thread(self):
        event = Event()
        thread = threading.Thread(target=event.set)
        gevent.spawn(thread.start)
        assert event.wait(10) is True
        thread.join()

    def test_waiters_in_several_threads(self):
        event, ready, results = Event(), Semaphore(0), []

        def wait():
            ready.release()
            results.append(event.wait(10))
            gevent.get_hub().destroy(destroy_loop=True)

        threads = [threading.Thread(target=wait) for _ in range(3)]
        for thread in threads:
            thread.start()
        for _ in threads:
            assert ready.acquire(timeout=10)
        while event.linkcount() < 3:
            gevent.sleep(0.001)
        event.set()
        for thread in threads:
            thread.join()
        assert results == [True] * 3

    def test_link_is_called_in_the_thread_that_linked(self):
        event, called = Event(), []
        gevent.get_hub()
        event.rawlink(lambda _: called.append(threading.get_ident()))
        thread = threading.Thread(target=event.set)
        thread.start()
        thread.join()
        while not called:
            gevent.sleep(0.001)
        assert called == [threading.get_ident()]
