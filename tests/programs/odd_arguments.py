"""Call all that the engine offers with arguments that make no sense, then see that it still works.

usage: odd_arguments.py SEED ROUNDS
"""

import faulthandler
import gc
import os
import random
import signal
import socket
import sys
from contextlib import contextmanager

import gevent
from gevent import _core
from gevent.hub import get_hub, set_hub

SECONDS = 120
#: These end or replace what the program itself runs on, as they are meant to.
DANGEROUS = {
    "set_hub",
    "set_default_hub_class",
    "set_track_greenlet_tree",
    "set_inherit_context",
    "add_spawn_callback",
    "settrace",
    # These change what all greenlets find to be the running loop.
    "set_running_loop",
    "follow_running_loops",
    "__init_subclass__",
    "__subclasshook__",
    "__class__",
    # It waits for its lock whatever is raised meanwhile, as a condition holds its lock at the end.
    "_acquire_restore",
}
#: The same, on the hub's own loop only.
OF_THE_LOOP = {"destroy", "break_", "ref", "unref", "error_handler", "reinit"}


class Weird:
    """Fails whatever is asked of it."""

    def fail(self, *args, **kwargs):
        raise ZeroDivisionError

    __float__ = __index__ = __bool__ = __eq__ = __lt__ = __le__ = __hash__ = fail
    __call__ = __iter__ = __len__ = __getitem__ = __enter__ = __repr__ = fail


class Unmakeable(Exception):
    def __init__(self, *args):
        raise ZeroDivisionError


def return_none(*args, **kwargs):
    return None


def fail(*args, **kwargs):
    raise ZeroDivisionError


VALUES = [
    *(None, True, False, -1, 0, 1, 2, 3, 255, 2**31, -(2**31), 2**63, 2**64, 10**400, -(10**400)),
    *(0.0, -0.0, 0.0005, 1e9, 1e300, float("inf"), float("-inf"), float("nan"), 1j),
    *("", "x", "epoll", "a\0b", "\udc80", b"", b"x", bytearray(b"x")),
    *((), (1,), [], [None], [[]], {}, {1: 2}, {"timeout": 1}, set(), range(3), iter([1, 2])),
    *(object(), Weird(), Weird, Unmakeable, ValueError, ValueError("v"), KeyboardInterrupt),
    *(SystemExit, gevent.GreenletExit, gevent.Timeout, int, len, sys, type, return_none, fail),
    *(gevent.sleep, gevent.getcurrent, lambda *_: gevent.sleep(0), lambda *_: gevent.spawn(int)),
]


def ended(function):
    one = gevent.spawn(function)
    one.join()
    return one


def destroyed(loop):
    loop.destroy()
    return loop


def started(watcher):
    watcher.start(return_none)
    return watcher


def pair():
    one, other = socket.socketpair()
    return one.detach(), other.detach()


def objects():
    """One of everything, in several states."""
    loop = get_hub().loop
    new_loop = type(loop)
    made = [
        gevent.Greenlet(len, ()),
        gevent.spawn(return_none),
        gevent.spawn(gevent.sleep, 0.0005),
        gevent.spawn_later(0.0005, return_none),
        ended(return_none),
        ended(fail),
        gevent.spawn_raw(return_none),
        gevent.Timeout(0.0005),
        gevent.Timeout.start_new(0.0005),
        new_loop(default=False),
        destroyed(new_loop(default=False)),
        loop.run_callback(return_none),
        loop.stat("/tmp"),
        loop.signal(signal.SIGUSR1),
        loop.io(0, 1),
        started(loop.timer(0.0005)),
        started(loop.timer(0.0005, 0.0005, ref=False)),
        *(getattr(loop, kind)() for kind in ("idle", "prepare", "check", "fork", "async_")),
        loop.timer(0.0005),
        _core.EVENTS,
        get_hub(),
        loop,
    ]
    for kind in CLASSES:
        for args in ((), (1,), (return_none,), (None, 1)):
            try:
                made.append(kind(*args))
            except Exception:
                continue
            break
    return made


CLASSES = [
    kind
    for space in (_core, _core.watchers)
    for name, kind in sorted(vars(space).items())
    if isinstance(kind, type) and name not in ("BaseHub", "ThreadEnd", "loop")
]
FUNCTIONS = [
    function
    for name, function in sorted(vars(_core).items())
    if callable(function) and not isinstance(function, type) and name not in DANGEROUS
]


@contextmanager
def only_exceptions(*what):
    """Let nothing out of the block, and tell of what is no exception of an ordinary kind."""
    try:
        yield
    except BaseException as error:
        if "Panic" in type(error).__name__:
            print("PANIC", what, error)


class Fuzzer:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.pool = VALUES + objects()

    def arguments(self):
        count = self.random.choice((0, 1, 1, 1, 2, 2, 3, 4))
        return [self.random.choice(self.pool) for _ in range(count)]

    def call(self, function, *args):
        with only_exceptions(function, args), gevent.Timeout(0.003, False):
            return function(*args)

    def attribute(self, obj, name):
        found = None
        with only_exceptions(obj, name):
            found = getattr(obj, name)
        if callable(found):
            for _ in range(3):
                self.call(found, *self.arguments())
        else:
            self.call(setattr, obj, name, self.random.choice(self.pool))
        if self.random.random() < 0.02:
            gc.collect()

    def targets(self):
        for _ in range(100):
            # What was called before may still switch or raise something here.
            with only_exceptions(objects):
                return objects()
        raise RuntimeError("nothing can be made any more")

    def everything(self):
        for function in FUNCTIONS:
            for _ in range(8):
                self.call(function, *self.arguments())
        for kind in CLASSES:
            for _ in range(8):
                made = self.call(kind, *self.arguments())
                if made is not None and self.random.random() < 0.2:
                    self.pool.append(made)
        targets = self.targets()
        self.random.shuffle(targets)
        hub, loop = get_hub(), get_hub().loop
        for obj in targets:
            for name in dir(type(obj)):
                own = (obj is loop and name in OF_THE_LOOP) or obj is hub
                # Loops may well run for ever, and a scope that is never left ends all that comes.
                lasting = (name, type(obj)) in (
                    ("run", type(loop)),
                    ("__enter__", gevent.CancelScope),
                )
                if name not in DANGEROUS and not own and not lasting:
                    self.attribute(obj, name)
        self.call(gevent.sleep, 0.0005)
        del self.pool[len(VALUES) + 100 :]


def main(seed, rounds):
    faulthandler.dump_traceback_later(SECONDS, exit=True)
    # Whatever is written goes there, whatever is closed is not ours.
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    get_hub().exception_stream = None
    sys.unraisablehook = return_none
    fuzzer = Fuzzer(seed)
    for _ in range(rounds):
        fuzzer.everything()
    works = []
    for _ in range(20):
        fuzzer.call(works.append, fuzzer.call(gevent.spawn, return_none))
        fuzzer.call(gevent.sleep, 0.0005)
    # Whatever was left in this hub, another one is not concerned.
    set_hub(None)
    get_hub().exception_stream = None
    assert gevent.spawn(lambda: gevent.sleep(0.0005) or "works").get() == "works"
    print("end", len(works))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
