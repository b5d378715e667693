"""Finds what each greenlet waits for, and which greenlets wait for each other.

For every parked greenlet the engine stores the kind of its call, the object that the call is on
and the time at which it began. The function of this package or of the standard library that the
program called, say ``Popen.wait``, is read from the greenlet's frames. Nothing here changes or
keeps the greenlets that it reads.
"""

from __future__ import annotations

import gc
import os
import socket as _socket
from collections import Counter
from contextlib import suppress
from types import FrameType
from typing import Any, NamedTuple

from greenlet import getcurrent
from greenlet import greenlet as RawGreenlet

from gevent._core import Greenlet, holder_of, wait_of, waits_of

__all__ = ["Wait", "WaitGraph", "all_greenlets", "deadlocks", "named", "waiting_for"]

#: Modules of the standard library whose functions wait by those of this package. A program that
#: calls one of them waits in that, whatever it does inside.
_WAITING_MODULES = frozenset(
    (
        *("_socket", "asyncio", "concurrent", "ftplib", "http", "multiprocessing", "queue"),
        *("select", "selectors", "smtplib", "socket", "socketserver", "ssl", "subprocess"),
        *("threading", "urllib"),
    )
)

#: Greenlets and threads begin with these calls, which are not the program's.
_BODIES = frozenset(("Hub.run", "Thread.run", "Thread._bootstrap_inner", "Thread._bootstrap"))

#: The names by which programs know what is defined elsewhere.
_PUBLIC = {
    "gevent._condition.wait": "threading.Condition.wait",
    "gevent._fileobjectcommon": "gevent.fileobject",
    "gevent._fileobjectposix": "gevent.fileobject",
    "gevent._queue_conditions": "gevent.queue",
    "gevent._socket3": "gevent.socket",
    "gevent._socketcommon": "gevent.socket",
    "gevent._sslsocket": "gevent.ssl",
    "gevent._waiting": "gevent",
}


class Wait(NamedTuple):
    """The wait of one greenlet."""

    #: The kind of call, such as ``"get"`` or ``"sleep"``.
    kind: str
    #: The object that the call is on, or ``None``.
    object: Any
    #: The descriptors that it is on.
    descriptors: tuple[int, ...]
    #: The seconds that it has been waiting, as exact as the length of a turn of the loop.
    seconds: float
    #: The function that the program called, or ``None`` if that is the call itself.
    function: str | None

    @property
    def call(self) -> str:
        """The call that waits, such as ``Queue.get``."""
        if self.object is not None:
            return f"{type(self.object).__name__}.{self.kind}"
        if self.kind in ("read", "write"):
            return f"socket.{self._socket_kind()}"
        return self.kind

    def _socket_kind(self) -> str:
        with suppress(OSError), _borrowed(self.descriptors[0]) as socket:
            if socket.getsockopt(_socket.SOL_SOCKET, _socket.SO_ACCEPTCONN):
                return "accept"
            if self.kind == "write" and _is_connecting(socket):
                return "connect"
        return self.kind

    @property
    def subject(self) -> str:
        """The object that the call is on, for people; empty for nothing."""
        if self.object is not None:
            return named(self.object)
        if self.kind in ("read", "write"):
            return f"<socket {_described_socket(self.descriptors[0])}>"
        if len(self.descriptors) == 1:
            return f"descriptor {self.descriptors[0]}"
        return f"descriptors {', '.join(map(str, self.descriptors))}" if self.descriptors else ""

    def text(self, others: int = 0) -> str:
        """Return a line such as ``waiting 3.2 s in Queue.get on <Queue at 0x7f…>``.

        :param others: The number of other greenlets that wait for the same.
        """
        function = "" if self.function is None else f"{self.function}: "
        line = f"waiting {self.seconds:.1f} s in {function}{self.call}"
        if subject := self.subject:
            line += f" on {subject}"
        if others:
            line += f", for which {others} {'others wait' if others > 1 else 'other waits'}"
        return line

    def __str__(self) -> str:
        return self.text()


def _borrowed(descriptor: int) -> Any:
    from gevent.monkey import get_original

    # The descriptor is duplicated, so that closing the socket leaves the program's one open.
    return get_original("socket", "socket")(fileno=os.dup(descriptor))


def _is_connecting(socket: Any) -> bool:
    try:
        socket.getpeername()
    except OSError:
        return bool(socket.type == _socket.SOCK_STREAM)
    return False


def _described_socket(descriptor: int) -> str:
    text = f"fd={descriptor}"
    with suppress(OSError), _borrowed(descriptor) as socket:
        text += _address(socket.getsockname())
        with suppress(OSError):
            if peer := _address(socket.getpeername()):
                text += f" ->{peer}"
    return text


def _address(address: Any) -> str:
    if isinstance(address, tuple):
        return f" {address[0]}:{address[1]}"
    return f" {os.fsdecode(address)}" if address else ""


def named(obj: Any) -> str:
    """Return the class, the name if it has one, and the address of *obj*, in angle brackets."""
    # repr() is not used: it may be the program's code, and may wait, fail, or show the waiting
    # greenlet again.
    name = ""
    if isinstance(obj, Greenlet):
        given = vars(obj).get("name")
        name = f" {given!r}" if isinstance(given, str) else ""
    return f"<{type(obj).__name__}{name} at {id(obj):#x}>"


def _called_function(frame: FrameType | None) -> str | None:
    found = None
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        package = module.partition(".")[0] if isinstance(module, str) else ""
        if package != "gevent" and package not in _WAITING_MODULES:
            break
        name = frame.f_code.co_qualname
        if name in _BODIES:
            break
        found = _PUBLIC.get(f"{module}.{name}") or f"{_PUBLIC.get(module, module)}.{name}"
        frame = frame.f_back
    return found


def _wait(greenlet: Any, reason: tuple[str, Any, tuple[int, ...], float] | None) -> Wait | None:
    return None if reason is None else Wait(*reason, _called_function(greenlet.gr_frame))


def waiting_for(greenlet: Any) -> Wait | None:
    """Return what *greenlet*, a raw one or not, waits for; ``None`` if it does not wait."""
    return _wait(greenlet, wait_of(greenlet))


def all_greenlets() -> list[Any]:
    """Return the greenlets of all threads."""
    return instances_of(RawGreenlet)[0]


def instances_of(*classes: type) -> list[list[Any]]:
    """Return for each of *classes* its instances, and those of its subclasses, in all threads."""
    # By the address of the type: isinstance() would ask proxies of the program's for __class__.
    lists: list[list[Any]] = [[] for _ in classes]
    where: dict[int, list[Any]] = {}
    for one, found in zip(classes, lists, strict=True):
        where.update((id(kind), found) for kind in _with_subclasses(one))
    # Only the garbage collector has a list of all objects.
    for obj in gc.get_objects():
        if id(type(obj)) in where:
            where[id(type(obj))].append(obj)
    return lists


def _with_subclasses(kind: type) -> set[type]:
    found = {kind}
    todo = [kind]
    while todo:
        new: set[type] = set(type.__subclasses__(todo.pop())) - found
        found |= new
        todo += new
    return found


class WaitGraph:
    """The waits of all *greenlets*, by default of all there are, at this moment."""

    def __init__(self, greenlets: list[Any] | None = None) -> None:
        self._greenlets = all_greenlets() if greenlets is None else greenlets
        self._reasons = waits_of(self._greenlets)
        self._waiting = Counter(map(self._key, self._reasons.values()))

    @staticmethod
    def _key(reason: tuple[Any, ...]) -> tuple[Any, ...]:
        return (id(reason[1]), reason[2])

    def __len__(self) -> int:
        """Return how many greenlets wait."""
        return len(self._reasons)

    def wait(self, greenlet: Any) -> Wait | None:
        """Return what *greenlet* waits for."""
        return _wait(greenlet, self._reasons.get(greenlet))

    def others(self, greenlet: Any) -> int:
        """Return how many other greenlets wait for the same object or descriptors."""
        reason = self._reasons.get(greenlet)
        if reason is None or (reason[1] is None and not reason[2]):
            return 0
        return self._waiting[self._key(reason)] - 1

    def text(self, greenlet: Any) -> str | None:
        """Return the line about the wait of *greenlet*, or ``None`` if it does not wait."""
        wait = self.wait(greenlet)
        return None if wait is None else wait.text(self.others(greenlet))

    def by_call(self) -> dict[str, int]:
        """Return the number of waiting greenlets for each call."""
        return dict(
            Counter(Wait(*reason, None).call for reason in self._reasons.values()).most_common()
        )

    def by_kind(self) -> dict[str, int]:
        """Return the number of waiting greenlets for each kind of call, such as ``"get"``."""
        return dict(Counter(reason[0] for reason in self._reasons.values()).most_common())

    def awaited(self, greenlet: Any) -> tuple[Any, bool] | None:
        """Return the greenlet that *greenlet* cannot go on without, and true if that holds a lock.

        Returns ``None`` unless *greenlet* waits for the end of another, or for a lock that is held.
        """
        reason = self._reasons.get(greenlet)
        if reason is None:
            return None
        kind, obj = reason[:2]
        if isinstance(obj, RawGreenlet):
            return obj, False
        if kind != "acquire" or obj is None:
            return None
        holder = holder_of(obj)
        if holder is None:
            return None
        held_by = next((other for other in self._greenlets if id(other) == holder), None)
        return None if held_by is None else (held_by, True)

    def cycles(self) -> list[list[Any]]:
        """Return the greenlets that wait for each other in circles, each circle once."""
        found: list[list[Any]] = []
        done: set[Any] = set()
        for start in self._reasons:
            path: list[Any] = []
            at = start
            while at is not None and at not in done:
                done.add(at)
                path.append(at)
                step = self.awaited(at)
                at = None if step is None else step[0]
            if at is not None and at in path:
                found.append(path[path.index(at) :])
        return found


def _main_greenlet(greenlet: Any) -> Any:
    while greenlet.parent is not None:
        greenlet = greenlet.parent
    return greenlet


def _titled(greenlet: Any) -> str:
    if greenlet.parent is None:
        return f"the main greenlet at {id(greenlet):#x}"
    return f"{named(greenlet)[:-1]}{_body(greenlet.gr_frame)}>"


def _body(frame: FrameType | None) -> str:
    """Return the name of the function that a greenlet runs, for the end of what describes it."""
    name = ""
    while frame is not None:
        name = f": {frame.f_code.co_qualname}"
        frame = frame.f_back
    return name


def deadlocks() -> str:
    """Return lines about the main greenlet's wait and the greenlets that wait for each other."""
    graph = WaitGraph()
    main = _main_greenlet(getcurrent())
    lines = []
    if text := graph.text(main):
        lines.append(f"The main greenlet is {text}")
    for cycle in graph.cycles():
        lines.append(
            "Deadlock of one greenlet that waits for itself:"
            if len(cycle) == 1
            else f"Deadlock of {len(cycle)} greenlets, each waiting for the next:"
        )
        for greenlet in cycle:
            lines.append(f"  {_titled(greenlet)} is {graph.text(greenlet)}")
            awaited, is_lock = graph.awaited(greenlet) or (None, False)
            what = "held by" if is_lock else "that is the end of"
            lines.append(f"    {what} {_titled(awaited)}")
    return "\n".join(lines)
