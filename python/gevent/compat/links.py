"""Links between greenlets: the end of one is raised in the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gevent._core import Greenlet, getcurrent, kill
from gevent.compat import warn
from gevent.exceptions import GreenletExit
from gevent.pool import Group

__all__ = ["GreenletSet", "LinkedCompleted", "LinkedExited", "LinkedFailed", "LinkedKilled"]

_TODAY = "Greenlet.get() or Greenlet.join(), or link() with a callback"


class LinkedExited(Exception):
    """Raised in a greenlet because *source*, which it is linked to, is over."""

    outcome = "is over"

    def __init__(self, source: Any) -> None:
        super().__init__(f"{source!r} {self.outcome}")
        #: The greenlet that is over.
        self.source = source


class LinkedCompleted(LinkedExited):
    """The greenlet returned."""

    outcome = "completed successfully"


class LinkedKilled(LinkedCompleted):
    """The greenlet was killed, which counts as success: its value is a ``GreenletExit``."""

    outcome = "was killed"


class LinkedFailed(LinkedExited):
    """The greenlet raised an error."""

    def __init__(self, source: Any) -> None:
        self.outcome: str = f"failed with {type(source.exception).__name__}"
        super().__init__(source)


def _end_of(source: Any) -> LinkedExited:
    if not source.successful():
        return LinkedFailed(source)
    if isinstance(source.value, GreenletExit):
        return LinkedKilled(source)
    return LinkedCompleted(source)


class _Link:
    """Raises the end of a greenlet in *receiver*, to which it is equal, for ``unlink``."""

    __slots__ = ("concerns", "receiver")

    def __init__(self, receiver: Any, method: str) -> None:
        self.receiver = receiver
        self.concerns: Callable[[Any], bool] = {
            "link": lambda source: True,
            "link_value": lambda source: source.successful(),
            "link_exception": lambda source: not source.successful(),
        }[method]

    def __call__(self, source: Any) -> None:
        if self.concerns(source):
            kill(self.receiver, _end_of(source))

    def __eq__(self, other: object) -> bool:
        return getattr(other, "receiver", other) is self.receiver

    def __hash__(self) -> int:
        return hash(self.receiver)


def _link(source: Any, receiver: Any, method: str) -> None:
    current = getcurrent()
    receiver = current if receiver is None else receiver
    link = _Link(receiver, method)
    if receiver is current and source.ready():
        if link.concerns(source):
            raise _end_of(source)
        return
    source.rawlink(link)


def link(source: Any, receiver: Any, method: str) -> None:
    """Link *source* to the greenlet *receiver*, by default the current one.

    :param method: ``"link"``, ``"link_value"`` (for success only) or ``"link_exception"``.
    :raises LinkedExited: *source* is over, and *receiver* is the current greenlet.
    """
    warn(f"Greenlet.{method}() to a greenlet", _TODAY)
    _link(source, receiver, method)


def unlink(source: Any) -> None:
    """Take back what links *source* to the current greenlet."""
    warn("Greenlet.unlink() of the current greenlet", _TODAY)
    source.unlink(getcurrent())


def spawn_linked(
    owner: Any,
    method: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any] | None,
    stacklevel: int = 2,
) -> Greenlet:
    """Spawn a greenlet by *owner*, a class of greenlets or a group, and link it to the current."""
    warn(f"spawn_{method}()", _TODAY, stacklevel)
    greenlet: Greenlet = owner.spawn(*args, **(kwargs or {}))
    _link(greenlet, None, method)
    return greenlet


#: A group's name before gevent 0.13.
GreenletSet = Group
