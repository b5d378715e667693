"""Watchers: what all kinds share, then each kind."""

import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import gevent
from gevent import core

READ, WRITE = core.READ, core.WRITE


class Errors:
    """An error handler that keeps what it gets."""

    def __init__(self) -> None:
        self.seen: list[tuple] = []

    def handle_error(self, *what: object) -> None:
        self.seen.append(what)


@pytest.fixture
def loop() -> Iterator[core.loop]:
    made = core.loop(default=False)
    made.error_handler = Errors()
    yield made
    unexpected = made.error_handler.seen
    made.destroy()
    assert not unexpected


@pytest.fixture
def default_loop() -> Iterator[core.loop]:
    made = core.loop(default=True)
    yield made
    made.destroy()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


def run_until(loop: core.loop, condition: Callable[[], object], seconds: float = 20) -> None:
    """Make turns until the condition holds."""
    end = time.monotonic() + seconds
    ticks = loop.timer(0.005, 0.005)
    ticks.start(lambda: None)
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        loop.run(once=True)
    ticks.close()


# What all kinds share


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
    loop.error_handler = Errors()
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
    timer = loop.timer(0.01, ref=False)
    assert timer.ref is False
    timer.start(calls.append, 1)
    loop.run()
    assert calls == []
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


# io


def test_io_arguments(loop: core.loop) -> None:
    with pytest.raises(ValueError, match="fd must be non-negative: -1"):
        loop.io(-1, READ)
    with pytest.raises(ValueError, match="illegal event mask: 64"):
        loop.io(0, 64)
    with pytest.raises(TypeError):
        loop.io("a", READ)
    with pytest.raises(OSError, match="Bad file descriptor") as caught:
        loop.io(100_000, READ)
    assert caught.value.errno == 9


def test_io_attributes(loop: core.loop, pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    io = loop.io(reader, READ)
    assert (io.fd, io.events, io.events_str) == (reader, READ | 128, "READ|_IOFDSET")
    io.fd = writer
    io.events = WRITE
    assert (io.fd, io.events_str) == (writer, "WRITE|_IOFDSET")
    with pytest.raises(ValueError, match="illegal event mask: 64"):
        io.events = 64
    io.start(print)
    assert io.events_str == "WRITE"
    for name in ("fd", "events"):
        message = f"'io' watcher attribute '{name}' is read-only while watcher is active"
        with pytest.raises(AttributeError, match=message):
            setattr(io, name, 1)
    io.close()


def test_io_is_level_triggered(loop: core.loop, pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    calls: list = []
    io = loop.io(reader, READ)
    io.start(calls.append, 1)
    loop.run(nowait=True)
    assert calls == []
    os.write(writer, b"x")
    loop.run(once=True)
    loop.run(once=True)
    assert calls == [1, 1]
    os.read(reader, 1)
    loop.run(nowait=True)
    assert calls == [1, 1]
    io.close()


def test_io_can_pass_events(loop: core.loop) -> None:
    left, right = socket.socketpair()
    calls: list = []
    io = loop.io(left.fileno(), READ | WRITE)
    io.start(lambda *args: calls.append(args), "a", pass_events=True)
    assert io.args == (core.EVENTS, "a")
    loop.run(nowait=True)
    right.close()
    loop.run(nowait=True)
    io.stop()
    io.start(lambda *args: calls.append(args), core.EVENTS)
    loop.run(nowait=True)
    assert calls == [(WRITE, "a"), (READ | WRITE, "a"), (READ | WRITE,)]
    io.close()
    left.close()


def test_io_on_a_file_is_always_ready(loop: core.loop) -> None:
    with Path(__file__).open("rb") as file:
        calls: list = []
        io = loop.io(file.fileno(), READ)
        io.start(lambda: (calls.append(1), len(calls) == 3 and io.stop()))
        loop.run()
    assert calls == [1, 1, 1]


def test_io_that_asks_for_nothing_waits(loop: core.loop, pipe: tuple[int, int]) -> None:
    io = loop.io(pipe[1], 0)
    io.start(print)
    assert io.active
    loop.run(nowait=True)
    assert not io.pending
    io.close()


def test_an_error_stops_io(loop: core.loop, pipe: tuple[int, int]) -> None:
    io = loop.io(pipe[1], WRITE)
    io.start(lambda: 1 / 0)
    loop.run()
    [(context, kind, *_)] = loop.error_handler.seen
    loop.error_handler = Errors()
    assert (context, kind) == (io, ZeroDivisionError)
    assert not io.active


def test_two_watch_one_descriptor(loop: core.loop) -> None:
    left, right = socket.socketpair()
    calls: list = []
    read, write = loop.io(left.fileno(), READ), loop.io(left.fileno(), WRITE)
    read.start(calls.append, "read")
    write.start(calls.append, "write")
    loop.run(nowait=True)
    assert calls == ["write"]
    write.stop()
    right.send(b"x")
    loop.run(nowait=True)
    assert calls == ["write", "read"]
    read.close()
    left.close()
    right.close()


def test_a_descriptor_closed_behind_the_watcher(loop: core.loop) -> None:
    reader, writer = os.pipe()
    duplicate = os.dup(reader)
    io = loop.io(reader, READ)
    io.start(print)
    os.close(reader)
    io.stop()
    os.write(writer, b"x")
    # The kernel goes on reporting the closed number as long as the duplicate lives.
    calls: list = []
    other = loop.io(duplicate, READ)
    other.start(lambda: (calls.append(1), len(calls) == 3 and other.stop()))
    loop.run()
    assert calls == [1, 1, 1]
    before = loop.iteration
    loop.timer(0.02).start(lambda: None)
    loop.run()
    assert loop.iteration - before < 10
    os.close(duplicate)
    os.close(writer)


# timer


def test_timer_arguments(loop: core.loop) -> None:
    with pytest.raises(ValueError, match=r"repeat must be positive or zero: -1\.0"):
        loop.timer(1, -1)
    with pytest.raises(TypeError):
        loop.timer("x")
    with pytest.raises(TypeError):
        loop.timer(1).start(print, bad=1)
    assert loop.timer(0.5).at == 0.5
    assert loop.timer(1, 2.5).repeat == 2.5


@pytest.mark.parametrize("after", [0, -1, 0.005])
def test_timer_fires_once(loop: core.loop, after: float) -> None:
    states: list = []
    timer = loop.timer(after)
    began = time.monotonic()
    timer.start(lambda: states.append((timer.active, timer.pending, timer.args)), update=True)
    loop.run()
    assert time.monotonic() - began >= after
    assert states == [(False, False, ())]
    assert timer.callback is None
    assert timer.args is None


@pytest.mark.parametrize("after", [float("inf"), 1e300])
def test_timer_that_is_never_due(loop: core.loop, after: float) -> None:
    timer = loop.timer(after)
    timer.start(print)
    assert timer.at == float("inf")
    loop.run(nowait=True)
    assert timer.active
    timer.close()


def test_timer_repeats(loop: core.loop) -> None:
    states: list = []
    timer = loop.timer(0.01, 0.001)

    def callback() -> None:
        states.append(timer.active)
        if len(states) == 3:
            timer.stop()

    timer.start(callback)
    loop.run()
    assert states == [True] * 3


def test_a_tiny_period_lets_others_run(loop: core.loop) -> None:
    fast, slow = loop.timer(0, 1e-12), loop.timer(0.01)
    fast.start(lambda: None)
    slow.start(fast.stop)
    loop.run()
    assert not fast.active


def test_timers_fire_in_the_order_of_their_deadlines(loop: core.loop) -> None:
    calls: list = []
    timers = [loop.timer(after) for after in (0.003, 0.001, 0.002)]
    for number, timer in enumerate(timers):
        timer.start(calls.append, number)
    time.sleep(0.01)
    loop.run()
    assert calls == [1, 2, 0]


def test_update_decides_what_a_delay_is_counted_from(loop: core.loop) -> None:
    loop.update_now()
    time.sleep(0.02)
    before = loop.now()
    noted, present = loop.timer(10), loop.timer(10)
    noted.start(print)
    present.start(print, update=True)
    assert present.at - noted.at >= 0.019
    assert loop.now() - before >= 0.019
    for timer in (noted, present):
        timer.close()


def test_again_counts_from_now(loop: core.loop) -> None:
    calls: list = []
    timer = loop.timer(100, 0.01)
    timer.again(lambda *args: (calls.append(args), timer.stop()), 1)
    assert timer.active
    assert loop.activecnt == 1
    first = timer.at
    time.sleep(0.002)
    timer.again(timer.callback, 2)
    assert timer.at > first
    assert loop.activecnt == 1
    loop.run()
    assert calls == [(2,)]


def test_again_without_a_period_stops(loop: core.loop) -> None:
    timer = loop.timer(100)
    timer.again(print, 2)
    assert not timer.active
    timer.start(print)
    timer.again(print)
    assert not timer.active
    loop.run()


# signal


def test_signal_arguments(loop: core.loop) -> None:
    for wrong in (0, -1, 65, 1000):
        with pytest.raises(ValueError, match=f"illegal signal number: {wrong}"):
            loop.signal(wrong)
    with pytest.raises(OSError, match="Invalid argument"):
        loop.signal(signal.SIGKILL).start(print)
    assert loop.activecnt == 0


def test_signals_reach_every_watcher(loop: core.loop) -> None:
    calls: list = []
    watchers = [loop.signal(signal.SIGUSR1) for _ in range(2)]
    for number, watcher in enumerate(watchers):
        watcher.start(lambda number=number: (calls.append(number), watchers[number].stop()))
    other = loop.signal(signal.SIGUSR2, ref=False)
    other.start(calls.append, "other")
    os.kill(os.getpid(), signal.SIGUSR1)
    loop.run()
    assert sorted(calls) == [0, 1]
    other.close()


def test_signals_reach_the_loop_that_watches(loop: core.loop) -> None:
    calls: list = []
    mine, his = core.loop(default=False), loop
    first, second = mine.signal(signal.SIGUSR1), his.signal(signal.SIGUSR2)
    first.start(lambda: (calls.append("mine"), first.stop()))
    second.start(lambda: (calls.append("his"), second.stop()))
    os.kill(os.getpid(), signal.SIGUSR1)
    his.run(nowait=True)
    mine.run()
    assert calls == ["mine"]
    mine.destroy()
    os.kill(os.getpid(), signal.SIGUSR2)
    his.run()
    assert calls == ["mine", "his"]


def test_a_stopped_signal_watcher_gives_the_handler_back(loop: core.loop) -> None:
    calls: list = []
    before = signal.signal(signal.SIGUSR1, lambda *args: calls.append("python"))
    try:
        watcher = loop.signal(signal.SIGUSR1)
        watcher.start(lambda: (calls.append("watcher"), watcher.stop()))
        os.kill(os.getpid(), signal.SIGUSR1)
        loop.run()
        os.kill(os.getpid(), signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert calls == ["watcher", "python"]


def test_python_signal_handlers_run_while_the_loop_waits(loop: core.loop) -> None:
    calls: list = []
    before = signal.signal(signal.SIGALRM, lambda *args: (calls.append(1), timer.stop()))
    try:
        timer = loop.timer(60)
        timer.start(print)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        loop.run()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert calls == [1]


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


# async


def test_async_wakes_the_loop_from_another_thread(loop: core.loop) -> None:
    calls: list = []
    watcher = loop.async_()
    watcher.start(lambda: (calls.append(threading.get_ident()), watcher.stop()))
    thread = threading.Thread(target=lambda: (time.sleep(0.02), watcher.send()))
    thread.start()
    loop.run()
    thread.join()
    assert calls == [threading.get_ident()]
    assert not watcher.pending


def test_async_is_called_once_for_many_sends(loop: core.loop) -> None:
    calls: list = []
    watcher = getattr(loop, "async")()
    watcher.start(lambda: (calls.append(1), watcher.stop()))
    watcher.send()
    watcher.send_ignoring_arg("ignored")
    assert watcher.pending
    loop.run()
    assert calls == [1]
    watcher.send()
    watcher.start(calls.append, 2)
    loop.run(nowait=True)
    assert calls == [1]
    watcher.close()


def test_many_threads_send(loop: core.loop) -> None:
    watchers = [loop.async_() for _ in range(8)]
    missing = set(range(8))
    for number, watcher in enumerate(watchers):
        watcher.start(lambda number=number: (missing.discard(number), watchers[number].stop()))
    threads = [threading.Thread(target=watcher.send) for watcher in watchers]
    for thread in threads:
        thread.start()
    loop.run()
    for thread in threads:
        thread.join()
    assert not missing


# child


def spawn(code: int, delay: float = 0) -> subprocess.Popen:
    program = f"import time, os; time.sleep({delay}); os._exit({code})"
    return subprocess.Popen([sys.executable, "-S", "-c", program])


def forget(process: subprocess.Popen) -> None:
    """Keep subprocess from waiting for what was collected."""
    process.returncode = 0


def test_children_are_for_the_default_loop(loop: core.loop) -> None:
    with pytest.raises(TypeError, match="child watchers are only available on the default loop"):
        loop.child(1)


@pytest.mark.parametrize("delay", [0, 0.1])
def test_child_tells_and_collects(default_loop: core.loop, delay: float) -> None:
    process = spawn(3, delay)
    seen: list = []
    watcher = default_loop.child(process.pid)
    assert (watcher.pid, watcher.rpid, watcher.rstatus) == (process.pid, 0, 0)
    assert f"pid={process.pid} rstatus=0" in repr(watcher)
    watcher.start(lambda *args: seen.append((args, watcher.active)), 1)
    assert default_loop.activecnt == 1
    run_until(default_loop, lambda: seen)
    forget(process)
    assert seen == [((1,), True)]
    assert watcher.rpid == process.pid
    assert os.waitstatus_to_exitcode(watcher.rstatus) == 3
    with pytest.raises(ChildProcessError):
        os.waitpid(process.pid, 0)
    # It stays active, as a watcher that is ended by its owner, but is quiet.
    assert watcher.active
    for _ in range(3):
        default_loop.run(nowait=True)
    assert len(seen) == 1
    watcher.close()
    assert default_loop.activecnt == 0


def test_every_watcher_of_a_child_is_told(default_loop: core.loop) -> None:
    process = spawn(4, 0.05)
    seen: list = []
    watchers = [default_loop.child(process.pid), default_loop.child(process.pid)]
    watchers.append(default_loop.child(0))

    def tell(watcher: core.child) -> None:
        # Whatever other tests left behind is told to the watcher of all.
        if watcher.rpid == process.pid:
            seen.append((watcher.pid, watcher.rpid))

    for watcher in watchers:
        watcher.start(tell, watcher)
    run_until(default_loop, lambda: len(seen) >= 3)
    forget(process)
    assert seen == [(process.pid, process.pid)] * 2 + [(0, process.pid)]
    for watcher in watchers:
        watcher.close()


def test_a_child_that_another_collected_is_tolerated(default_loop: core.loop) -> None:
    process = spawn(5)
    seen: list = []
    watcher = default_loop.child(process.pid, ref=False)
    watcher.start(seen.append, 1)
    assert process.wait() == 5
    late = default_loop.child(process.pid, ref=False)
    late.start(seen.append, 2)
    for _ in range(3):
        default_loop.run(nowait=True)
    assert watcher.active
    assert late.active
    assert seen == []
    watcher.close()
    late.close()


def test_a_process_that_is_no_child_is_tolerated(default_loop: core.loop) -> None:
    for pid in (os.getppid(), -1):
        watcher = default_loop.child(pid)
        watcher.start(print)
        default_loop.run(nowait=True)
        assert watcher.active
        watcher.close()
    watcher.rpid = 1
    watcher.rstatus = 4
    assert (watcher.rpid, watcher.rstatus) == (1, 4)


# stat


def test_stat_arguments(loop: core.loop, tmp_path: Path) -> None:
    path = str(tmp_path)
    watcher = loop.stat(path, -3)
    assert (watcher.path, watcher._paths, watcher.interval) == (path, path.encode(), -3)
    assert watcher.attr is None
    assert watcher.prev is None
    with pytest.raises(TypeError):
        loop.stat(5)
    with pytest.raises(TypeError):
        loop.stat(b"/tmp")
    watcher.start(print)
    assert watcher.interval == 0.1074891
    watcher.close()
    usual = loop.stat(path)
    usual.start(print)
    assert usual.interval == 0
    usual.close()


def test_stat_tells_changes(loop: core.loop, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"")
    seen: list = []
    watcher = loop.stat(str(path), 0.01)
    watcher.start(lambda: seen.append((watcher.attr, watcher.prev)))
    assert watcher.attr == tuple(path.stat())[:10]
    assert watcher.prev is None
    path.write_bytes(b"x")
    run_until(loop, lambda: seen)
    assert watcher.attr.st_size == 1
    assert watcher.prev.st_size == 0
    seen.clear()
    path.unlink()
    run_until(loop, lambda: seen)
    assert watcher.attr is None
    assert watcher.prev.st_size == 1
    seen.clear()
    path.write_bytes(b"xyz")
    run_until(loop, lambda: seen)
    assert watcher.attr.st_size == 3
    assert watcher.prev is None
    watcher.close()
    assert watcher.attr.st_size == 3
    assert loop.activecnt == 0


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
