"""Watchers of descriptors, of time and of files."""

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gevent import core

READ, WRITE = core.READ, core.WRITE


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
    loop.error_handler.seen.clear()
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


def test_stat_tells_changes(
    loop: core.loop, tmp_path: Path, run_until: Callable[..., None]
) -> None:
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
