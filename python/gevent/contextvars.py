"""Context variables of greenlets: the standard library's :mod:`contextvars`, which serves.

Every greenlet runs in a context of its own, empty at the start unless ``gr_context`` says
otherwise, so a variable set in one greenlet is not seen in another. Context variables are
usually easier to handle through :mod:`gevent.local`.

The classes here stand for the standard library's, which nothing can be derived from: they make and
recognise objects of those.
"""

from __future__ import annotations

import contextvars as _stdlib
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

__all__ = ["Context", "ContextVar", "Token", "copy_context"]
__implements__ = __all__


class _StandIn(type):
    """The class of what stands for ``_original``."""

    _original: Any

    def __init__(cls, name: str, bases: tuple[type, ...], names: dict[str, Any]) -> None:
        if bases:
            raise TypeError(f"type '{bases[0].__name__}' is not an acceptable base type")
        super().__init__(name, bases, names)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return cls._original(*args, **kwargs)

    def __getitem__(cls, item: Any) -> Any:
        return cls._original[item]

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, cls._original)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, cls._original)


def _stand_in(original: type) -> Any:
    members = {name: value for name, value in vars(original).items() if name != "__new__"}
    doc = f"Stands for :class:`contextvars.{original.__name__}` of the standard library."
    names = {**members, "_original": original, "__module__": __name__, "__doc__": doc}
    return _StandIn(original.__name__, (), names)


if TYPE_CHECKING:
    from contextvars import Context, ContextVar, Token
else:
    Context = _stand_in(_stdlib.Context)
    ContextVar = _stand_in(_stdlib.ContextVar)
    Token = _stand_in(_stdlib.Token)
