"""Classes of :mod:`gevent.core` that had another meaning, which the first argument tells."""

from __future__ import annotations

from typing import Any

from gevent.compat import warn

__all__ = ["either"]


def either(today: type, old: str) -> type:
    """Return *today*, a class of watchers that takes a loop, which also takes a number.

    With a number first it makes what ``gevent.core`` had under the name *old*. Otherwise it makes
    a *today*, and stands for it as the class of objects and the base of subclasses.
    """

    class Either(type):
        def __call__(cls, *args: Any, **kwargs: Any) -> Any:
            if cls is not both:
                return super().__call__(*args, **kwargs)
            if args and isinstance(args[0], int | float):
                from gevent.compat import libevent

                warn(f"gevent.core.{old}()", f"gevent.get_hub().loop.{old}()")
                return getattr(libevent, old)(*args, **kwargs)
            return today(*args, **kwargs)

        def __instancecheck__(cls, instance: object) -> bool:
            return issubclass(type(instance), cls)

        def __subclasscheck__(cls, subclass: type) -> bool:
            if cls is both:
                return issubclass(subclass, today)
            return super().__subclasscheck__(subclass)

    names = {"__doc__": today.__doc__, "__module__": today.__module__, "__slots__": ()}
    both = Either(today.__name__, (today,), names)
    return both
