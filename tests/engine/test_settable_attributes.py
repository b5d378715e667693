"""Attributes of the engine's objects that programs read or set, and this package does not."""

import pytest

import gevent
from gevent.event import AsyncResult, Event
from gevent.greenlet import SpawnedLink
from gevent.lock import BoundedSemaphore, Semaphore
from gevent.queue import Channel


def test_seconds_and_exception_of_a_timeout():
    timeout = gevent.Timeout(5)
    timeout.seconds = 0.001
    timeout.exception = KeyError("late")
    assert (timeout.seconds, str(timeout.exception)) == (0.001, "'late'")
    with pytest.raises(KeyError, match="late"), timeout:
        gevent.sleep(1)


def test_repeat_of_a_timer(loop, run_until):
    calls = []
    timer = loop.timer(0.001, 0)
    timer.repeat = 0.001
    assert timer.repeat == 0.001
    timer.start(calls.append, 1)
    run_until(loop, lambda: len(calls) > 2)
    timer.close()
    with pytest.raises(ValueError, match="repeat"):
        loop.timer(1).repeat = -1


def test_callback_and_arguments_of_a_scheduled_call(loop):
    calls = []
    call = loop.run_callback(calls.append, 1)
    call.args = (2,)
    closed = loop.run_callback(calls.append, 3)
    closed.close()
    loop.run(once=True)
    assert calls == [2]
    assert not closed.pending


def test_a_link_stands_for_its_callback():
    def callback(greenlet):
        pass

    callback.mark = "found"
    link = SpawnedLink(callback)
    assert link.callback is callback
    assert (str(link), repr(link)) == (str(callback), repr(callback))
    assert link.mark == "found"
    with pytest.raises(AttributeError):
        _ = link.missing


def test_locks_and_events_are_fit_for_a_forked_child():
    semaphore, bounded = Semaphore(2), BoundedSemaphore(3)
    bounded.acquire()
    assert bounded._initial_value == 3
    semaphore._at_fork_reinit()
    bounded._at_fork_reinit()
    assert (semaphore.counter, bounded.counter) == (2, 3)
    for waited_for in (Event(), AsyncResult()):
        waited_for._at_fork_reinit()
        waited_for.set()
        assert waited_for.ready()


def test_a_channel_is_an_iterator_with_a_name():
    channel = Channel()
    gevent.spawn(channel.put, "item")
    assert channel.next() == "item"
    assert repr(channel).startswith("<Channel at 0x")


def test_the_locals_of_a_spawn_tree_can_be_set():
    greenlet = gevent.spawn(int)
    greenlet.spawn_tree_locals = {"key": "value"}
    assert greenlet.spawn_tree_locals == {"key": "value"}
    greenlet.join()
