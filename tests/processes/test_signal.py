"""gevent.signal: SIGCHLD told by the child watchers."""

import signal as native

import pytest

from gevent import signal


def test_other_signals_and_names_are_the_standard_ones():
    before = signal.getsignal(native.SIGUSR1)
    try:
        assert signal.signal(native.SIGUSR1, print) is before
        assert signal.getsignal(native.SIGUSR1) is print
        assert native.getsignal(native.SIGUSR1).handler is print
    finally:
        signal.signal(native.SIGUSR1, before)
    assert signal.SIGTERM is native.SIGTERM
    with pytest.raises(ValueError, match="out of range"):
        signal.getsignal(1000)


def test_sigchld_handler_is_kept_here():
    assert signal.getsignal(native.SIGCHLD) == native.SIG_DFL
    try:
        assert signal.signal(native.SIGCHLD, print) == native.SIG_DFL
        assert signal.getsignal(native.SIGCHLD) is print
        assert native.getsignal(native.SIGCHLD) is not print
        with pytest.raises(TypeError, match="signal handler must be"):
            signal.signal(native.SIGCHLD, 3)
        assert signal.signal(native.SIGCHLD, native.SIG_IGN) is print
    finally:
        signal.signal(native.SIGCHLD, native.SIG_DFL)


CHILDREN = """
from gevent import monkey; monkey.patch_all()
import os, signal, subprocess, gevent
from gevent.event import Event
def fork():
    pid = os.fork()
    if not pid:
        os._exit(0)
    return pid
def posix_spawn():
    return os.posix_spawn("/bin/true", ["true"], {})
def popen():
    return subprocess.Popen(["true"]).pid
"""


@pytest.mark.parametrize("start", ["fork", "posix_spawn", "popen"])
def test_handler_may_block_and_is_told_of_each_child(run_python, start):
    result = run_python(
        CHILDREN
        + f"""
told = []
def handler(signum, frame):
    gevent.sleep(0.001)
    told.append(signum)
    raise RuntimeError("only reported")
signal.signal(signal.SIGCHLD, handler)
pid = {start}()
with gevent.Timeout(10):
    while not told:
        gevent.sleep(0.001)
assert told == [signal.SIGCHLD]
print("done")
"""
    )
    assert result.stdout == "done\n"
    assert "RuntimeError: only reported" in result.stderr


def test_wakeup_descriptor_gets_the_signal(run_python):
    result = run_python(
        CHILDREN
        + """
from gevent.os import make_nonblocking, nb_read
r, w = os.pipe()
make_nonblocking(r); make_nonblocking(w)
assert signal.set_wakeup_fd(w) == -1
assert os.waitpid(popen(), 0)[1] == 0
gevent.sleep(0)
# Without a handler it is no business of ours.
signal.signal(signal.SIGCHLD, lambda *args: None)
popen()
with gevent.Timeout(10):
    print(list(nb_read(r, 100)) == [signal.SIGCHLD])
assert signal.set_wakeup_fd(-1) == w
"""
    )
    assert (result.stdout, result.stderr) == ("True\n", "")


def test_a_handler_from_before_patching_gives_way(run_python):
    result = run_python(
        """
        import os, signal
        signal.signal(signal.SIGCHLD, lambda *args: os.waitpid(-1, 0))
        from gevent import monkey; monkey.patch_all()
        assert callable(signal.getsignal(signal.SIGCHLD))
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        print(os.popen("echo hello").read())
        """
    )
    assert (result.stdout.strip(), result.stderr) == ("hello", "")


def test_each_greenlet_has_a_wakeup_descriptor_of_its_own(run_python):
    result = run_python(
        """
        from gevent import monkey; monkey.patch_all()
        import os, signal, threading
        import gevent
        r1, w1 = os.pipe()
        r2, w2 = os.pipe()
        for fd in (r1, r2, w1, w2):
            os.set_blocking(fd, False)
        signal.signal(signal.SIGUSR1, lambda *args: None)

        def told(fd):
            for pipe in (r1, r2):
                try:
                    os.read(pipe, 100)
                except BlockingIOError:
                    pass
            os.kill(os.getpid(), signal.SIGUSR1)
            try:
                return os.read(fd, 10) == bytes([signal.SIGUSR1])
            except BlockingIOError:
                return False

        # In one greenlet as in one thread.
        print(signal.set_wakeup_fd(w1), signal.set_wakeup_fd(w2) == w1)
        print(signal.set_wakeup_fd(-1) == w2, signal.set_wakeup_fd(-1))
        # The one that came last counts, and gives way to the other in any order.
        signal.set_wakeup_fd(w1)
        taken = gevent.event.Event()
        def other():
            print(signal.set_wakeup_fd(w2), told(r2), told(r1))
            taken.wait()
            print(signal.set_wakeup_fd(-1) == w2)
        thread = threading.Thread(target=other)
        thread.start()
        taken.set()
        thread.join()
        print(told(r1), told(r2))
        thread = threading.Thread(target=signal.set_wakeup_fd, args=(w2,))
        thread.start()
        thread.join()
        print(signal.set_wakeup_fd(-1) == w1, told(r2))
        # One whose owner closed it is forgotten.
        os.close(w2)
        print(signal.set_wakeup_fd(w1), signal.set_wakeup_fd(-1) == w1, told(r1))
        try:
            signal.set_wakeup_fd(w2)
        except OSError:
            print("refused")
        """,
        flags=["-W", "error"],
    )
    assert result.stderr == ""
    assert result.stdout.splitlines() == [
        "-1 True",
        "True -1",
        "-1 True False",
        "True",
        "True False",
        "True True",
        "-1 True False",
        "refused",
    ]
