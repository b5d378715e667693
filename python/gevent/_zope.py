"""Interfaces and events of :mod:`zope` where it is installed, and what stands for them elsewhere.

Type checkers see the latter, as :mod:`zope` has no types.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

__all__ = ["Attribute", "Interface", "classImplements", "implementer", "notify", "subscribers"]

_C = TypeVar("_C", bound=type)

#: The callables that are called with every event.
subscribers: list[Callable[[Any], Any]] = []


def notify(event: Any) -> None:
    """Call every subscriber with *event*; what one raises reaches the caller."""
    for subscriber in subscribers:
        subscriber(event)


class Interface:
    """Stands for ``zope.interface.Interface``: documents a contract, checks nothing."""


class Attribute:
    """Stands for ``zope.interface.Attribute``: documents one attribute of a contract."""

    def __init__(self, name: str, doc: str = "") -> None:
        self.__doc__ = doc or name


def implementer(*interfaces: type) -> Callable[[_C], _C]:
    """Return a class decorator that leaves the class as it is."""
    return lambda cls: cls


def classImplements(cls: type, *interfaces: type) -> None:
    """Declare nothing."""


if not TYPE_CHECKING:
    with suppress(ImportError):
        from zope.event import notify, subscribers
    with suppress(ImportError):
        from zope.interface import Attribute, Interface, classImplements, implementer
