"""Signal handlers of a patched process: they may block, wherever the main thread was."""

import pytest

BEFORE = """
import os, signal, sys
def handler(signum, frame):
    print(signum, callable(frame) or frame is not None)
    handled(signum)
{before}
from gevent import monkey; monkey.patch_all()
{after}
import queue, socket, subprocess, threading, time
import gevent
from gevent.hub import Waiter, get_hub
done = threading.Event()
"""
SET = "signal.signal(signal.SIGUSR1, handler)"

#: What handlers do that waits.
BLOCKING = {
    "sleep": "time.sleep(0.001)",
    "look-up": "socket.getaddrinfo('localhost', 80)",
    "program": "assert subprocess.run(['true']).returncode == 0",
    "thread": "thread = threading.Thread(target=int); thread.start(); thread.join()",
    "queue": "gevent.spawn(items.put, 1); assert items.get() == 1",
}


@pytest.mark.parametrize("before", [True, False], ids=["set before", "set afterwards"])
@pytest.mark.parametrize("call", BLOCKING)
def test_a_signal_that_comes_while_the_hub_calls_back(run_python, call, before):
    """CPython calls the handler in the midst of the callback, where nothing may wait."""
    program = BEFORE.format(before=SET if before else "", after="" if before else SET)
    result = run_python(
        f"""{program}
items = queue.Queue()
def handled(signum):
    assert gevent.getcurrent() is not get_hub()
    {BLOCKING[call]}
    done.set()

def callback():
    os.kill(os.getpid(), signal.SIGUSR1)
    for _ in range(100):
        pass
    order.append("callback")

order = []
get_hub().loop.run_callback(callback)
assert done.wait(20)
assert order == ["callback"]
assert signal.getsignal(signal.SIGUSR1) is handler
assert signal.signal(signal.SIGUSR1, signal.SIG_DFL) is handler
"""
    )
    assert (result.stderr, result.stdout) == ("", "10 True\n")


def test_an_error_of_a_handler_reaches_the_main_greenlet(run_python):
    result = run_python(
        """
from gevent import monkey; monkey.patch_all()
import os, signal, time
import gevent
from gevent.hub import get_hub

def handler(signum, frame):
    time.sleep(0.001)
    raise SystemExit(3)

signal.signal(signal.SIGUSR1, handler)
timer = get_hub().loop.timer(0.001, 0.001)
timer.start(lambda: os.kill(os.getpid(), signal.SIGUSR1) if not timer.args else None)
try:
    time.sleep(30)
except SystemExit as error:
    timer.stop()
    print(error.code)
"""
    )
    assert result.stdout == "3\n"


@pytest.mark.parametrize("method", ["switch(5)", "throw(ValueError(5))"])
def test_a_handler_does_what_only_the_hub_does(run_python, method):
    """gevent's handlers run in the hub, and programs end waits there."""
    result = run_python(
        f"""
import os, signal, threading
import gevent
from gevent.hub import Waiter

waiter = Waiter()
signal.signal(signal.SIGUSR1, lambda *_: waiter.{method})
threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1)).start()
try:
    print(waiter.get())
except ValueError as error:
    print(error)
"""
    )
    assert (result.stderr, result.stdout) == ("", "5\n")
