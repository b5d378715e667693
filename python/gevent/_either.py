"""Classes of :mod:`gevent.core` that had another meaning in gevent 0.13.

The first argument decides which is meant: it is a loop today, and was something else then.
"""

from __future__ import annotations

from typing import Any

__all__ = ["either"]


def either(today: type, old: str) -> type:
    """Return *today*, a class of watchers, that is also what ``gevent.core`` had as *old*.

    Called with a loop it makes a *today*; called with a number it makes an object of the class of
    gevent 0.13. Both are its instances, and subclasses can be used in either way.
    """

    class Either(type):
        def __call__(cls, *args: Any, **kwargs: Any) -> Any:
            if cls is both:
                if not (args and isinstance(args[0], int | float)):
                    return today(*args, **kwargs)
                _warn(old)
                return _class_of(old)(*args, **kwargs)
            if _is_for_today(args, kwargs) or issubclass(cls, _class_of(old)):
                return super().__call__(*args, **kwargs)
            _warn(old)
            return _in_the_older_way(cls, _class_of(old), today)(*args, **kwargs)

        def __instancecheck__(cls, instance: object) -> bool:
            return issubclass(type(instance), cls)

        def __subclasscheck__(cls, subclass: type) -> bool:
            if super().__subclasscheck__(subclass):
                return True
            if cls is not both:
                return False
            return issubclass(subclass, (today, _class_of(old)))

    def initialize(self: Any, *args: Any, **kwargs: Any) -> None:
        # The constructor of a subclass calls this.
        if isinstance(self, _class_of(old)):
            _class_of(old).__init__(self, *args, **kwargs)

    names = {
        "__doc__": today.__doc__,
        "__module__": today.__module__,
        "__slots__": (),
        "__init__": initialize,
    }
    both = Either(today.__name__, (today,), names)
    return both


def _is_for_today(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    return hasattr(args[0] if args else kwargs.get("loop"), "run_callback")


def _class_of(old: str) -> Any:
    from gevent.compat import libevent

    return getattr(libevent, old)


def _warn(old: str) -> None:
    from gevent.compat import warn

    warn(f"gevent.core.{old}()", f"gevent.get_hub().loop.{old}()", stacklevel=3)


def _in_the_older_way(cls: type, old: Any, today: Any) -> type:
    """Return *cls*, a subclass of both meanings, for objects that are an *old*."""
    known: type | None = vars(cls).get("_in_the_older_way")
    if known is not None:
        return known

    def create(made: type, *args: Any, **kwargs: Any) -> Any:
        from gevent._core import get_hub

        # The watcher that *today* is by its layout is never started.
        return today.__new__(made, get_hub().loop, 1)

    # A name that both classes have is taken from *old*, unless *cls* has its own.
    names = {name: value for name, value in _inherited(old).items() if hasattr(today, name)}
    names["callback"] = _instance_attribute("callback")
    names = {name: value for name, value in names.items() if not _defines(cls, name, today)}
    names |= {"__new__": create, "__module__": cls.__module__}
    made = type(cls)(cls.__name__, (cls, old), names)
    cls._in_the_older_way = made  # type: ignore[attr-defined]
    return made


def _defines(cls: type, name: str, today: type) -> bool:
    """Return true if *cls* or a class between it and *today* defines *name*."""
    between = cls.__mro__[: cls.__mro__.index(today)]
    return any(name in vars(each) for each in between)


def _inherited(old: Any) -> dict[str, Any]:
    """Return the attributes of *old* and its bases, but its constructor and its description."""
    found: dict[str, Any] = {}
    for each in reversed(old.__mro__[:-1]):
        found |= vars(each)
    own = ("__init__", "__dict__", "__weakref__", "__doc__", "__module__", "__annotations__")
    return {name: value for name, value in found.items() if name not in own}


def _instance_attribute(name: str) -> property:
    """Return a property for what *old* keeps as a plain attribute, and the watcher has too."""

    def get(self: Any) -> Any:
        try:
            return self.__dict__[name]
        except KeyError:
            raise AttributeError(name) from None

    def set_(self: Any, value: Any) -> None:
        self.__dict__[name] = value

    return property(get, set_)
