"""Watchers of signals, of other threads and of child processes."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from gevent import core

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


def test_any_loop_watches_children(loop: core.loop, run_until: Callable[..., None]) -> None:
    assert not loop.default
    process = spawn(3)
    ended = []
    watcher = loop.child(process.pid)
    watcher.start(lambda: ended.append((watcher.rpid, watcher.rstatus)))
    run_until(loop, lambda: ended)
    forget(process)
    assert ended == [(process.pid, 3 << 8)]
    watcher.close()


@pytest.mark.parametrize("delay", [0, 0.1])
def test_child_tells_and_collects(
    default_loop: core.loop, delay: float, run_until: Callable[..., None]
) -> None:
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


def test_every_watcher_of_a_child_is_told(
    default_loop: core.loop, run_until: Callable[..., None]
) -> None:
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
