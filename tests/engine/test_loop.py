"""The loop: running it, its callbacks, its numbers, and its end."""

import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from descriptors import open_descriptors

import gevent
from gevent import core

DESTROYED = "operation on destroyed loop"


class Errors:
    """An error handler that keeps what it gets."""

    def __init__(self) -> None:
        self.seen: list[tuple] = []

    def handle_error(self, *what: object) -> None:
        self.seen.append(what)


@pytest.fixture
def loop() -> Iterator[core.loop]:
    made = core.loop(default=False)
    yield made
    made.destroy()


@pytest.fixture
def errors(loop: core.loop) -> Errors:
    loop.error_handler = Errors()
    return loop.error_handler


def test_run_returns_when_nothing_is_left(loop: core.loop) -> None:
    assert loop.run() is None
    assert loop.run() is None


def test_callbacks_run_in_order_and_with_arguments(loop: core.loop) -> None:
    calls: list = []
    loop.run_callback(calls.append, 1)
    loop.run_callback(lambda *args: calls.append(args), 2, 3)
    loop.run_callback(lambda: loop.run_callback(calls.append, "last"))
    loop.run()
    assert calls == [1, (2, 3), "last"]


def test_a_stopped_callback_is_not_called(loop: core.loop) -> None:
    calls: list = []
    callback = loop.run_callback(calls.append, 1)
    assert callback
    assert callback.pending
    callback.stop()
    assert not callback
    loop.run()
    assert calls == []


def test_callbacks_from_another_thread_wake_the_loop(loop: core.loop) -> None:
    calls: list = []
    loop.ref()

    def elsewhere() -> None:
        loop.run_callback_threadsafe(lambda: (calls.append(threading.get_ident()), loop.unref()))

    thread = threading.Thread(target=lambda: (time.sleep(0.02), elsewhere()))
    thread.start()
    loop.run()
    thread.join()
    assert calls == [threading.get_ident()]


def test_a_loop_can_be_run_by_another_thread(loop: core.loop) -> None:
    calls: list = []
    loop.timer(0).start(lambda: loop.run_callback(calls.append, 1))
    thread = threading.Thread(target=loop.run)
    thread.start()
    thread.join()
    assert calls == [1]


def test_ref_and_unref_are_counted(loop: core.loop) -> None:
    loop.ref()
    assert loop.activecnt == 1
    loop.unref()
    assert loop.activecnt == 0
    loop.run()


def test_nowait_and_once_make_one_turn(loop: core.loop) -> None:
    calls: list = []
    distant = loop.timer(60)
    distant.start(calls.append, 0)
    loop.run(nowait=True)
    assert calls == []
    distant.close()
    timer = loop.timer(0.01, 0.01)
    timer.start(calls.append, 1)
    loop.run(once=True)
    assert calls == [1]
    loop.run(once=True)
    assert calls == [1, 1]
    timer.close()


def test_break_ends_the_innermost_run(loop: core.loop) -> None:
    depths: list = []

    def inner() -> None:
        depths.append(loop.depth)
        loop.break_()

    def outer() -> None:
        timer.start(lambda: None)
        loop.run_callback(inner)
        loop.run()
        depths.append(loop.depth)
        timer.stop()

    timer = loop.timer(100)
    loop.run_callback(outer)
    loop.run()
    assert depths == [2, 1]
    assert loop.depth == 0


def test_break_all_ends_outer_runs(loop: core.loop) -> None:
    timer = loop.timer(100)
    timer.start(lambda: None)
    loop.run_callback(lambda: (loop.run_callback(loop.break_, 2), loop.run()))
    loop.run()
    assert timer.active
    timer.close()


def test_break_leaves_what_comes_later_to_the_next_run(loop: core.loop) -> None:
    calls: list = []
    loop.run_callback(loop.break_)
    loop.run_callback(lambda: (calls.append("ready"), loop.run_callback(calls.append, "later")))
    loop.run()
    assert calls == ["ready"]
    loop.run()
    assert calls == ["ready", "later"]


def test_break_ends_a_loop_that_never_rests(loop: core.loop) -> None:
    turns: list = []

    def again() -> None:
        turns.append(1)
        if len(turns) == 500:
            loop.break_()
        loop.run_callback(again)

    loop.run_callback(again)
    loop.run()
    assert 500 <= len(turns) < 600


def test_phases_come_in_order(loop: core.loop) -> None:
    calls: list = []
    watchers = [getattr(loop, kind)() for kind in ("idle", "prepare", "check")]
    for kind, watcher in zip(("idle", "prepare", "check"), watchers, strict=True):
        watcher.start(calls.append, kind)
    loop.run_callback(calls.append, "callback")
    loop.run(nowait=True)
    assert calls == ["callback", "prepare", "check", "idle"]
    calls.clear()
    timer = loop.timer(0)
    timer.start(calls.append, "timer")
    while "timer" not in calls:
        calls.clear()
        loop.run(once=True)
    assert calls == ["prepare", "check", "timer"]
    for watcher in watchers:
        watcher.close()


def test_errors_go_to_the_handler(loop: core.loop, errors: Errors) -> None:
    callback = loop.run_callback(lambda: 1 / 0)
    timer = loop.timer(0)
    timer.start(sys.exit, 5)
    loop.run()
    (context, kind, value, traceback), (timer_context, exit_kind, *_) = errors.seen
    assert context is callback
    assert kind is ZeroDivisionError
    assert isinstance(value, ZeroDivisionError)
    assert traceback.tb_frame
    assert timer_context is timer
    assert exit_kind is SystemExit


def test_errors_are_printed_without_a_handler(
    loop: core.loop, capfd: pytest.CaptureFixture[str]
) -> None:
    loop.run_callback(lambda: 1 / 0)
    loop.run()
    loop.handle_error(None, ValueError, ValueError("by hand"), None)
    printed = capfd.readouterr().err
    assert "ZeroDivisionError: division by zero" in printed
    assert "ValueError: by hand" in printed


def test_system_errors_reach_the_handler(loop: core.loop, errors: Errors) -> None:
    loop._handle_syserr("poll", 2)
    [(context, kind, value, _)] = errors.seen
    assert context is None
    assert kind is SystemError
    assert "No such file or directory" in str(value)


@pytest.mark.parametrize(
    ("flags", "backend", "number", "names"),
    [
        (None, "epoll", 4, ["noenv", "forkcheck"]),
        ("", "epoll", 4, ["noenv", "forkcheck"]),
        (2, "poll", 2, ["poll", "noenv", "forkcheck"]),
        ("select", "select", 1, ["select", "noenv", "forkcheck"]),
        ("EPOLL, poll", "epoll", 4, ["epoll", "poll", "noenv", "forkcheck"]),
        (["poll", "select"], "poll", 2, ["poll", "select", "noenv", "forkcheck"]),
        (1 << 30, "epoll", 4, ["noenv", "forkcheck", 1 << 30]),
    ],
)
def test_flags(flags: object, backend: str, number: int, names: list) -> None:
    loop = core.loop(flags, default=False)
    assert (loop.backend, loop.backend_int, loop.origflags) == (backend, number, names)
    assert core._flags_to_list(loop.origflags_int) == names
    loop.destroy()


def test_unknown_flags_are_refused() -> None:
    with pytest.raises(ValueError, match="Invalid backend or flag: 'blabla'\nPossible values: epo"):
        core.loop(["port", "blabla"])
    with pytest.raises(ValueError, match="Unsupported backend: kqueue"):
        core.loop("kqueue")
    with pytest.raises(TypeError):
        core.loop(object())
    assert core._flags_to_int(None) == 0
    assert core._flags_to_int(["kqueue", "SELECT"]) == 9
    with pytest.raises(TypeError):
        core._flags_to_int(2.5)


def test_events_in_words() -> None:
    assert core._events_to_str(3) == "READ|WRITE"
    assert core._events_to_str(255) == "READ|WRITE|_IOFDSET|0x7c"
    assert core._events_to_str(0) == ""
    assert repr(core.EVENTS) == str(core.EVENTS) == "gevent.core.EVENTS"


def test_the_first_loop_asked_for_is_the_default() -> None:
    loop = core.loop()
    assert loop.default
    assert " default " in repr(loop)
    loop.destroy()
    assert not loop.default


def test_repr(loop: core.loop) -> None:
    timer = loop.timer(10)
    timer.start(print)
    text = f"<loop at {id(loop):#x} epoll pending=0 ref=1 fileno={loop.fileno()}>"
    assert repr(loop) == text
    assert loop._format() == text.partition(" epoll")[1][1:] + text.partition(" epoll")[2][:-1]
    timer.close()


@pytest.mark.parametrize("backend", ["poll", "select"])
def test_a_loop_that_is_asked_for_another_backend_tells_no_descriptor(backend: str) -> None:
    loop = core.loop(backend, default=False)
    assert loop.fileno() is None
    assert repr(loop) == f"<loop at {id(loop):#x} {backend} pending=0 ref=0>"
    loop.destroy()


def test_a_loop_outlives_its_descriptor_and_leaves_the_next_owner_his() -> None:
    before = open_descriptors()
    loop = core.loop("epoll", default=False)
    number = loop.fileno()
    os.close(number)
    others = os.open(os.devnull, os.O_RDONLY)
    assert others == number
    seen = []
    timer = loop.timer(0.001)
    timer.start(seen.append, "timer")
    loop.run()
    reader, writer = os.pipe()
    io = loop.io(reader, 1)
    io.start(lambda: (seen.append("io"), io.stop()))
    os.write(writer, b"x")
    loop.run()
    assert seen == ["timer", "io"]
    timer.close()
    io.close()
    loop.destroy()
    os.fstat(others)
    for descriptor in (others, reader, writer):
        os.close(descriptor)
    assert open_descriptors() == before


def test_time(loop: core.loop) -> None:
    loop.update_now()
    noted = loop.now()
    assert abs(noted - time.time()) < 5
    time.sleep(0.02)
    assert loop.now() - noted < 0.01
    loop.update()
    assert loop.now() - noted >= 0.019


def test_numbers(loop: core.loop) -> None:
    assert loop.iteration == 0
    timer = loop.timer(0)
    timer.start(lambda: None)
    before = loop.iteration_activity
    loop.run()
    assert loop.iteration > 0
    assert loop.iteration_activity > before
    assert (loop.MINPRI, loop.MAXPRI) == (-2, 2)
    assert loop.WatcherType is core.watcher
    assert isinstance(timer, loop.WatcherType)
    assert loop.sig_pending == 0
    assert not loop.polling
    assert loop.verify() is None
    assert loop.install_sigchld() is None
    assert loop.reset_sigchld() is None


def test_polling_is_seen_from_another_thread(loop: core.loop) -> None:
    timer = loop.timer(30)
    timer.start(lambda: None)
    seen: list = []

    def watch() -> None:
        while not loop.polling:
            time.sleep(0.001)
        seen.append(True)
        loop.run_callback_threadsafe(timer.close)

    thread = threading.Thread(target=watch)
    thread.start()
    loop.run()
    thread.join()
    assert seen


def test_closing_fd_tells_the_watchers(loop: core.loop) -> None:
    reader, writer = os.pipe()
    calls: list = []
    watcher = loop.io(reader, 1)
    assert loop.closing_fd(reader) is False
    watcher.start(calls.append, core.EVENTS)
    assert loop.closing_fd(reader) is True
    loop.run(nowait=True)
    assert calls == [1]
    watcher.close()
    os.close(reader)
    os.close(writer)


def test_destroy() -> None:
    loop = core.loop(default=False)
    timer = loop.timer(10)
    timer.start(print)
    assert loop.ptr
    assert loop.destroy() is None
    assert loop.destroy() is None
    assert repr(loop) == f"<loop at {id(loop):#x} destroyed>"
    assert loop.ptr == 0
    assert loop.fileno() is None
    for operation in (
        loop.run,
        loop.ref,
        loop.unref,
        loop.now,
        loop.update,
        loop.update_now,
        loop.verify,
        loop.break_,
        lambda: loop.run_callback(print),
        lambda: loop.run_callback_threadsafe(print),
        lambda: loop.closing_fd(0),
        lambda: loop.backend,
        lambda: loop.iteration,
        lambda: loop.depth,
        lambda: loop.activecnt,
        lambda: loop.pendingcnt,
        lambda: loop.origflags,
        timer.stop,
        timer.close,
        lambda: timer.start(print),
        lambda: timer.feed(1, print),
        lambda: setattr(timer, "ref", False),
    ):
        with pytest.raises(ValueError, match=DESTROYED):
            operation()
    assert loop.reinit() is None
    assert repr(loop.timer(1)).startswith("<timer at ")


def test_destroying_a_running_loop_ends_the_run(loop: core.loop) -> None:
    timer = loop.timer(100)
    timer.start(lambda: None)
    loop.run_callback(loop.destroy)
    loop.run()
    assert loop.ptr == 0


def test_a_loop_can_be_subclassed(loop: core.loop) -> None:
    class Loop(core.loop):
        pass

    made = Loop(default=False)
    made.extra = 5
    assert repr(made).startswith("<Loop at ")
    assert made.extra == 5
    made.destroy()


def test_an_unused_loop_goes_with_its_descriptors() -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    gc.collect()
    before = count()
    for _ in range(5):
        core.loop(default=False)
    gc.collect()
    assert count() == before


def test_callbacks_of_the_hubs_loop_run_in_the_hub() -> None:
    seen: list = []
    gevent.get_hub().loop.run_callback(lambda: seen.append(gevent.getcurrent()))
    gevent.sleep(0)
    assert seen == [gevent.get_hub()]


@pytest.mark.parametrize("reinit", ["gevent.reinit()", ""])
def test_fork_gives_the_child_a_loop_of_its_own(run_python: Callable, reinit: str) -> None:
    result = run_python(
        """
        import os, sys, gevent
        def until(condition):
            while not condition():
                gevent.sleep(0.001)
        loop = gevent.get_hub().loop
        calls = []
        watcher = loop.fork(ref=False)
        watcher.start(lambda: calls.append(os.getpid()))
        reader, writer = os.pipe()
        io = loop.io(reader, 1, ref=False)
        io.start(lambda: calls.append(os.read(reader, 1)))
        gevent.sleep(0.01)
        assert calls == []
        pid = os.fork()
        if not pid:
            exec(sys.argv[1])
            os.write(writer, b"x")
            until(lambda: len(calls) > 1)
            assert calls == [os.getpid(), b"x"], calls
            io.stop()
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        gevent.sleep(0.01)
        assert calls == []
        os.write(writer, b"y")
        until(lambda: calls)
        assert calls == [b"y"]
        print("fine")
        """,
        reinit,
    )
    assert result.stdout == "fine\n", result.stderr


def test_an_interrupt_reaches_the_main_greenlet(run_python: Callable) -> None:
    result = run_python(
        """
        import gevent, os, signal, threading
        gevent.spawn(threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start)
        try:
            gevent.sleep(60)
        except KeyboardInterrupt:
            print("interrupted", gevent.getcurrent().parent is None)
        gevent.sleep(0.01)
        """
    )
    assert result.stdout == "interrupted True\n", result.stderr
