"""Finds what each greenlet waits for.

For every parked greenlet the engine stores the kind of its call, the object that the call is on
and the time at which it began. The function of this package or of the standard library that the
program called, say ``Popen.wait``, is read from the greenlet's frames. Nothing here changes or
keeps the greenlets that it reads.
"""

from __future__ import annotations

import gc
import os
import socket as _socket
from contextlib import suppress
from types import FrameType
from typing import Any, NamedTuple

from greenlet import greenlet as RawGreenlet

from gevent._core import CancelScope, Greenlet, scopes_of, wait_of
from gevent._structured import TaskGroup

__all__ = ["Wait", "all_greenlets", "instances_of", "named", "titled", "wait_from", "waiting_for"]

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

#: The names by which programs know what is defined in private modules. Those of other private
#: modules are in the package that the module is in.
_PUBLIC = {
    "gevent._condition.wait": "threading.Condition.wait",
    "gevent._fileobjectcommon": "gevent.fileobject",
    "gevent._fileobjectposix": "gevent.fileobject",
    "gevent._future": "gevent.threadpool",
    "gevent._processes.synchronize": "multiprocessing.synchronize",
    "gevent._queue_conditions": "gevent.queue",
    "gevent._socket3": "gevent.socket",
    "gevent._socketcommon": "gevent.socket",
    "gevent._sslcontext": "gevent.ssl",
    "gevent._sslsocket": "gevent.ssl",
    "gevent._waiting._WaitIterator.__next__": "gevent.iwait",
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
    if isinstance(obj, Greenlet | TaskGroup):
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
        found = _PUBLIC.get(f"{module}.{name}") or f"{_public_module(module)}.{name}"
        frame = frame.f_back
    return found


def _public_module(module: str) -> str:
    if module in _PUBLIC or not module.startswith("gevent."):
        return _PUBLIC.get(module, module)
    return ".".join(part for part in module.split(".") if not part.startswith("_"))


def wait_from(greenlet: Any, reason: tuple[str, Any, tuple[int, ...], float] | None) -> Wait | None:
    """Return the wait of *greenlet* for which the engine gives this *reason*, or ``None``."""
    return None if reason is None else Wait(*reason, _called_function(greenlet.gr_frame))


def waiting_for(greenlet: Any) -> Wait | None:
    """Return what *greenlet*, a raw one or not, waits for; ``None`` if it does not wait."""
    return wait_from(greenlet, wait_of(greenlet))


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


def shields_of(greenlet: Any) -> str:
    """Return words about the shields that put the end of *greenlet* off, if there are any."""
    # By the class, as a subclass of the program's may have an attribute of its own.
    is_shield = vars(CancelScope)["shield"].__get__
    count = sum(is_shield(scope) for scope in scopes_of(greenlet))
    if count == 0:
        return ""
    shields = "a shield, which puts" if count == 1 else f"{count} shields, which put"
    return f", inside {shields} its kills and cancellations off"


def titled(greenlet: Any) -> str:
    """Return what *greenlet* is, for people: its class, its address and the function it runs."""
    if greenlet.parent is None:
        return f"the main greenlet at {id(greenlet):#x}"
    return f"{named(greenlet)[:-1]}{_body(greenlet.gr_frame)}>"


def _body(frame: FrameType | None) -> str:
    """Return the name of the function that a greenlet runs, for the end of what describes it.

    For a thread that is the function it was made for, and not the one by which threads begin.
    """
    name = ""
    while frame is not None:
        if not name or not _is_of_threads(frame):
            name = f": {frame.f_code.co_qualname}"
        frame = frame.f_back
    return name


def _is_of_threads(frame: FrameType) -> bool:
    return frame.f_globals.get("__name__") in ("gevent.thread", "threading")
