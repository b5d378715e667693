"""gevent.os: reading, writing and children that block only a greenlet."""

import os as native
import signal
import sys
import time
from contextlib import suppress

import pytest

import gevent
from gevent import os


@pytest.fixture
def pipe():
    r, w = native.pipe()
    yield r, w
    for fd in (r, w):
        with suppress(OSError):
            native.close(fd)


def transfer(read, write, pipe, size=300_000):
    r, w = pipe
    got = []

    def produce():
        left = memoryview(b"x" * size)
        while left:
            left = left[write(w, left[:65536]) :]
        native.close(w)

    def consume():
        while data := read(r, 50_000):
            got.append(len(data))

    gevent.joinall([gevent.spawn(produce), gevent.spawn(consume)], raise_error=True)
    return sum(got)


def test_nonblocking_read_and_write(pipe):
    for fd in pipe:
        assert os.make_nonblocking(fd)
        assert not os.make_nonblocking(fd)
    assert transfer(os.nb_read, os.nb_write, pipe) == 300_000


def test_threadpool_read_and_write(pipe):
    assert transfer(os.tp_read, os.tp_write, pipe) == 300_000


def test_errors_of_reading_are_those_of_the_system():
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.nb_read(999_999, 1)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.make_nonblocking(999_999)


def test_close_wakes_who_waits(pipe):
    r, _ = pipe
    os.make_nonblocking(r)
    reader = gevent.spawn(os.nb_read, r, 1)
    gevent.sleep(0.001)
    os.close(r)
    with pytest.raises(OSError, match="Bad file descriptor"), gevent.Timeout(10):
        reader.get()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.close(r)


def child(status=0, wait=0.0):
    pid = os.fork_and_watch()
    if not pid:
        try:
            gevent.sleep(wait)
        finally:
            native._exit(status)
    return pid


def test_waitpid_blocks_only_the_greenlet(pipe):
    r, w = pipe
    pid = os.fork_and_watch()
    if not pid:
        native.read(r, 1)
        native._exit(3)

    def end_it():
        for _ in range(3):
            gevent.sleep(0.005)
        native.write(w, b"x")

    gevent.spawn(end_it)
    assert os.waitpid(pid, native.WNOHANG) == (0, 0)
    # Returns because the other greenlet runs while this one waits.
    assert os.waitpid(pid, 0) == (pid, 3 << 8)
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, 0)


def test_polling_waitpid_comes_to_an_end():
    pid = child()
    with gevent.Timeout(10):
        while (result := os.waitpid(pid, native.WNOHANG)) == (0, 0):
            pass
    assert result == (pid, 0)


def test_waitpid_for_any_child(output_of):
    # In a process of its own: children of other tests would count too.
    program = """
        import os as native
        import gevent
        from gevent import os
        def child(wait):
            pid = os.fork_and_watch()
            if not pid:
                gevent.sleep(wait)
                native._exit(0)
            return pid
        pids = {child(0.05), child(0), os.posix_spawn("/bin/true", ["true"], {})}
        print({os.waitpid(-1, 0)[0] for _ in range(3)} == pids)
        for options in (0, native.WNOHANG):
            try:
                os.waitpid(-1, options)
            except ChildProcessError:
                print("none left")
    """
    assert output_of(program) == "True\nnone left\nnone left\n"


def test_only_one_of_two_who_wait_is_told():
    pid = child(wait=0.05)

    def wait():
        try:
            return os.waitpid(pid, 0)
        except ChildProcessError:
            return None

    results = [g.get() for g in [gevent.spawn(wait), gevent.spawn(wait)]]
    assert sorted(results, key=str) == [(pid, 0), None]


def test_waitpid_for_a_child_started_elsewhere():
    pid = native.posix_spawn("/bin/sh", ["sh", "-c", "sleep 0.1; exit 4"], native.environ)
    waiting = gevent.spawn(os.waitpid, pid, 0)
    gevent.sleep(0.01)
    assert waiting.get() == (pid, 4 << 8)


@pytest.mark.parametrize("pid", [1, -2])
def test_waitpid_for_no_child_of_ours(pid):
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, 0)


def test_callback_gets_the_watcher():
    seen = []
    pid = os.fork_and_watch(seen.append)
    if not pid:
        native._exit(5)
    assert os.waitpid(pid, 0) == (pid, 5 << 8)
    assert [(watcher.pid, watcher.rstatus) for watcher in seen] == [(pid, 5 << 8)]


def test_forkpty():
    pid, fd = os.forkpty()
    if not pid:
        native.write(1, b"from the child\n")
        native._exit(0)
    assert native.read(fd, 100).strip() == b"from the child"
    native.close(fd)
    assert os.waitpid(pid, 0)[0] == pid


def test_children_of_the_parent_are_none_of_the_child(run_python):
    result = run_python(
        """
        from gevent import monkey; monkey.patch_all()
        import os, time
        first = os.fork()
        if not first:
            time.sleep(30)
        second = os.fork()
        if not second:
            try:
                os.waitpid(-1, 0)
            except ChildProcessError:
                os._exit(6)
            os._exit(1)
        print(os.waitpid(second, 0)[1] >> 8)
        os.kill(first, 9)
        print(os.waitpid(first, 0)[1])
        """
    )
    assert (result.stdout, result.stderr) == ("6\n9\n", "")


def started_elsewhere(status, wait):
    """A child that no loop watches."""
    pid = os.fork_gevent()
    if not pid:
        time.sleep(wait)
        native._exit(status)
    return pid


@pytest.mark.parametrize("by_descriptor", [False, True])
@pytest.mark.parametrize("fork", [os.fork_and_watch, os.fork_gevent])
def test_waitid_blocks_only_the_greenlet(pipe, fork, by_descriptor):
    r, w = pipe
    pid = fork()
    if not pid:
        native.read(r, 1)
        native._exit(5)

    def end_it():
        for _ in range(3):
            gevent.sleep(0.005)
        native.write(w, b"x")

    # The second is the constant P_PIDFD, which not every build of CPython has.
    kind, number = (3, native.pidfd_open(pid)) if by_descriptor else (native.P_PID, pid)
    assert os.waitid(kind, number, native.WEXITED | native.WNOHANG) is None
    gevent.spawn(end_it)
    # Returns because the other greenlet runs while this one waits.
    found = os.waitid(kind, number, native.WEXITED | native.WNOWAIT)
    assert (found.si_pid, found.si_status, found.si_code) == (pid, 5, native.CLD_EXITED)
    assert os.waitid(native.P_PID, pid, native.WEXITED | native.WNOWAIT) == found
    assert os.waitid(native.P_PID, pid, native.WEXITED) == found
    for which in ((native.P_PID, pid), (kind, number)):
        with pytest.raises(ChildProcessError):
            os.waitid(*which, native.WEXITED)
    if by_descriptor:
        native.close(number)


@pytest.mark.parametrize("start", [child, started_elsewhere])
def test_waitid_leaves_the_status_to_waitpid(start):
    pid = start(4, 0.005)
    os.waitid(native.P_PID, pid, native.WEXITED | native.WNOWAIT)
    assert os.waitpid(pid, 0) == (pid, 4 << 8)


@pytest.mark.parametrize("start", [child, started_elsewhere])
def test_waitid_tells_what_killed_the_child(start):
    pid = start(0, 30)
    native.kill(pid, signal.SIGKILL)
    found = os.waitid(native.P_PID, pid, native.WEXITED)
    killed = (signal.SIGCHLD, signal.SIGKILL, native.CLD_KILLED)
    assert tuple(found) == (pid, native.getuid(), *killed)


@pytest.mark.parametrize("start", [child, started_elsewhere])
def test_waitid_notices_a_stop(start):
    pid = start(0, 30)
    gevent.spawn_later(0.005, native.kill, pid, signal.SIGSTOP)
    found = os.waitid(native.P_PID, pid, native.WSTOPPED | native.WEXITED)
    assert (found.si_code, found.si_status) == (native.CLD_STOPPED, signal.SIGSTOP)
    native.kill(pid, signal.SIGKILL)
    assert os.waitpid(pid, 0) == (pid, signal.SIGKILL)


def test_a_wait_by_waitid_can_be_given_up():
    pid = started_elsewhere(0, 30)
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.005):
        os.waitid(native.P_PID, pid, native.WEXITED)
    native.kill(pid, signal.SIGKILL)
    assert os.waitpid(pid, 0) == (pid, signal.SIGKILL)


def test_asyncio_waits_for_children_by_threads(output_of):
    """Asyncio does where the system has no descriptors of processes; by waitid() since 3.14."""
    program = """
        from gevent import monkey; monkey.patch_all()
        import asyncio, sys
        from asyncio import unix_events
        unix_events.can_use_pidfd = lambda: False

        async def main():
            command = [sys.executable, "-c", "print(input())"]
            pipe = asyncio.subprocess.PIPE
            child = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
            output, _ = await child.communicate(b"hello")
            print(output, child.returncode)

        asyncio.run(main())
        """
    if sys.version_info < (3, 12):
        program = program.replace(
            "unix_events.can_use_pidfd = lambda: False",
            "asyncio.set_child_watcher(asyncio.ThreadedChildWatcher())",
        )
    assert output_of(program) == "b'hello\\n' 0\n"


def test_children_can_be_left_alone(run_python):
    result = run_python(
        """
        from gevent import monkey; monkey.patch_all()
        import os
        assert not monkey.is_object_patched("os", "waitpid")
        pid = os.fork()
        if not pid:
            os._exit(2)
        print(os.waitpid(pid, 0)[1] >> 8)
        """,
        GEVENT_NOWAITPID="1",
    )
    assert (result.stdout, result.stderr) == ("2\n", "")


def test_other_names_are_the_standard_ones():
    assert os.getpid is native.getpid
    assert os.path is native.path
