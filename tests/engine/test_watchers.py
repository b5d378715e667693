"""Watchers: what all kinds share, those of the loop's own turns, and the hub."""

import gc
import os
import weakref

import pytest

import gevent
from gevent import core

READ, WRITE = core.READ, core.WRITE


# All kinds


def test_a_watcher_that_does_nothing(loop: core.loop) -> None:
    watcher = loop.timer(1)
    assert watcher.loop is loop
    assert watcher.ref is True
    assert watcher.active is False
    assert watcher.pending is False
    assert watcher.callback is None
    assert watcher.args is None
    assert watcher.priority == 0
    watcher.stop()
    watcher.close()


def test_repr_tells_what_it_does(loop: core.loop, pipe: tuple[int, int]) -> None:
    reader, _ = pipe
    timer = loop.timer(1)
    assert repr(timer) == f"<timer at {id(timer):#x}>"
    timer.start(len, 2)
    assert repr(timer) == f"<timer at {id(timer):#x} active callback={len!r} args=(2,)>"
    timer.close()
    io = loop.io(reader, READ)
    assert repr(io) == f"<io at {id(io):#x} fd={reader} events=READ|_IOFDSET>"
    io.start(len)
    text = f"<io at {id(io):#x} fd={reader} events=READ active callback={len!r} args=()>"
    assert repr(io) == text
    io.close()
    assert repr(loop.async_()).startswith("<async_ at ")


@pytest.mark.parametrize("wrong", [None, 5])
def test_only_callables_are_taken(loop: core.loop, wrong: object) -> None:
    timer = loop.timer(1)
    with pytest.raises(TypeError, match=f"Expected callable, not {wrong}"):
        timer.start(wrong)
    with pytest.raises(TypeError, match=f"Expected callable, not {wrong}"):
        timer.feed(1, wrong)
    assert not timer.active
    timer.start(print)
    if wrong is not None:
        with pytest.raises(TypeError, match=f"Expected callable, not {wrong}"):
            timer.callback = wrong
    timer.close()


def test_callback_and_args_can_be_replaced(loop: core.loop) -> None:
    calls: list = []
    timer = loop.timer(0)
    timer.start(print)
    timer.callback = lambda *args: calls.append(args)
    with pytest.raises(TypeError, match="Expected tuple, got int"):
        timer.args = 5
    with pytest.raises(TypeError, match="Expected tuple, got list"):
        timer.args = [4]
    timer.args = (1, 2)
    loop.run()
    timer.start(print)
    timer.callback = lambda *args: calls.append(args)
    timer.args = None
    assert timer.args is None
    loop.run()
    assert calls == [(1, 2), ()]


def test_a_callback_that_was_removed_is_an_error(loop: core.loop) -> None:
    timer = loop.timer(0)
    timer.start(print)
    timer.callback = None
    loop.run()
    [(context, kind, *_)] = loop.error_handler.seen
    loop.error_handler.seen.clear()
    assert context is timer
    assert kind is TypeError


def test_starting_an_active_watcher_replaces_the_callback(loop: core.loop) -> None:
    calls: list = []
    timer = loop.timer(0.01)
    timer.start(calls.append, 1)
    due = timer.at
    timer.start(calls.append, 2)
    assert timer.at == due
    assert loop.activecnt == 1
    loop.run()
    assert calls == [2]


def test_ref_decides_whether_the_loop_waits(loop: core.loop) -> None:
    calls: list = []
    distant = loop.timer(60, ref=False)
    distant.start(calls.append, 0)
    loop.run()
    assert calls == []
    distant.close()
    timer = loop.timer(0.01, ref=False)
    assert timer.ref is False
    timer.start(calls.append, 1)
    timer.ref = True
    assert loop.activecnt == 1
    timer.ref = False
    timer.ref = 0
    assert loop.activecnt == 0
    timer.ref = 1
    assert timer.ref is True
    loop.run()
    assert calls == [1]
    assert loop.activecnt == 0


def test_ref_false_still_fires_while_others_wait(loop: core.loop) -> None:
    calls: list = []
    quiet = loop.timer(0.001, ref=False)
    quiet.start(calls.append, "quiet")
    other = loop.timer(0.02)
    other.start(calls.append, "other")
    loop.run()
    assert calls == ["quiet", "other"]


def test_priority_is_settled_before_the_start(loop: core.loop) -> None:
    timer = loop.timer(1, priority=2)
    assert timer.priority == 2
    timer.priority = -1
    assert timer.priority == -1
    timer.priority = 9
    assert timer.priority == loop.MAXPRI
    timer.start(print)
    with pytest.raises(AttributeError, match="Cannot set priority of an active watcher"):
        timer.priority = 1
    timer.close()
    with pytest.raises(TypeError):
        timer.priority = "high"


def test_higher_priorities_come_first(loop: core.loop, pipe: tuple[int, int]) -> None:
    _, writer = pipe
    calls: list = []
    watchers = []
    for priority in (-1, 2, 0, 1, 0):
        watcher = loop.io(writer, WRITE, priority=priority)
        watcher.start(calls.append, priority)
        watchers.append(watcher)
    loop.run(nowait=True)
    assert calls == [2, 1, 0, 0, -1]
    for watcher in watchers:
        watcher.close()


def test_one_that_another_stops_is_not_called(loop: core.loop, pipe: tuple[int, int]) -> None:
    _, writer = pipe
    calls: list = []
    watchers = [loop.io(writer, WRITE) for _ in range(2)]
    for watcher in watchers:
        watcher.start(lambda: (calls.append(1), [other.stop() for other in watchers]))
    loop.run()
    assert calls == [1]


def test_feed_calls_once(loop: core.loop, pipe: tuple[int, int]) -> None:
    reader, _ = pipe
    calls: list = []
    watcher = loop.io(reader, READ)
    watcher.feed(3, lambda *args: calls.append(args), core.EVENTS, 5)
    assert watcher.pending
    assert not watcher.active
    assert loop.pendingcnt == 1
    loop.run()
    assert calls == [(3, 5)]
    assert watcher.callback is None
    watcher.feed(1, calls.append, 1)
    watcher.feed(2, calls.append, 2)
    loop.run()
    assert calls == [(3, 5), 2]
    watcher.feed(1, calls.append, 3)
    watcher.stop()
    assert not watcher.pending
    loop.run()
    assert calls == [(3, 5), 2]


def test_a_with_statement_closes(loop: core.loop) -> None:
    with loop.timer(100) as timer:
        timer.start(print)
        assert timer.active
    assert not timer.active


def test_an_active_watcher_lives(loop: core.loop) -> None:
    calls: list = []
    loop.timer(0.01).start(calls.append, 1)
    gc.collect()
    loop.run()
    assert calls == [1]


def test_stopped_watchers_let_go_of_their_callback(loop: core.loop) -> None:
    def make() -> weakref.ref:
        def callback() -> None: ...

        timer.start(callback)
        return weakref.ref(callback)

    timer = loop.timer(100)
    reference = make()
    assert reference()
    timer.stop()
    assert reference() is None


def test_a_cycle_through_the_callback_is_collected(loop: core.loop) -> None:
    def make() -> weakref.ref:
        timer = loop.timer(0)
        timer.callback = lambda: timer
        return weakref.ref(timer)

    reference = make()
    gc.collect()
    assert reference() is None


def test_classes_can_be_subclassed(loop: core.loop) -> None:
    class Timer(core.timer):
        pass

    timer = Timer(loop, 0)
    timer.note = "mine"
    calls: list = []
    timer.start(lambda: calls.append(timer.note))
    loop.run()
    assert calls == ["mine"]
    with pytest.raises(TypeError):
        core.watcher(loop)


# idle, prepare, check


def test_idle_runs_while_there_is_nothing_else(loop: core.loop) -> None:
    calls: list = []
    idle = loop.idle()
    idle.start(lambda: (calls.append(1), len(calls) == 3 and idle.stop()))
    loop.run()
    assert calls == [1, 1, 1]


def test_prepare_and_check_surround_polls_of_waiting_greenlets() -> None:
    calls: list = []
    loop = gevent.get_hub().loop
    prepare, check = loop.prepare(ref=False), loop.check(ref=False)
    prepare.start(calls.append, "prepare")
    check.start(calls.append, "check")
    gevent.sleep(0.01)
    prepare.close()
    check.close()
    assert calls[:2] == ["prepare", "check"]


# in the hub


def test_callbacks_run_in_the_hub_and_may_not_block() -> None:
    seen: list = []

    def callback() -> None:
        seen.append(gevent.getcurrent())
        try:
            gevent.sleep(1)
        except gevent.exceptions.BlockingSwitchOutError as error:
            seen.append(type(error))

    gevent.get_hub().loop.timer(0).start(callback)
    gevent.sleep(0.01)
    assert seen == [gevent.get_hub(), gevent.exceptions.BlockingSwitchOutError]


def test_a_greenlet_waits_for_a_watcher(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    hub = gevent.get_hub()
    watcher = hub.loop.io(reader, READ)
    gevent.spawn_later(0.01, os.write, writer, b"x")
    hub.wait(watcher)
    assert os.read(reader, 1) == b"x"
    assert not watcher.active
