"""The ``__getattr__`` of modules, which finds names that they do not have themselves (:pep:`562`).

A module gets one by ``__getattr__ = old_names(__name__)`` or ``= names_of(...)``. ``gevent`` itself
has none: CPython loads the names of a module that has one more slowly.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

__all__ = ["names_of", "old_names"]


def old_names(module: str) -> Callable[[str], Any]:
    """Return the ``__getattr__`` that finds the names which *module* had in gevent 0.13.

    :mod:`gevent.compat` is imported when such a name is first asked for.
    """

    def __getattr__(name: str) -> Any:
        if name.startswith("__"):
            # The import system asks every module for __path__.
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        from gevent.compat import old_name

        return old_name(module, name)

    return __getattr__


def names_of(original: ModuleType, module: str) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of *module* that finds the names of *original* in it too.

    :param original: The module of the standard library that *module* takes the place of.
    """

    def __getattr__(name: str) -> Any:
        try:
            return getattr(original, name)
        except AttributeError:
            raise AttributeError(f"module {module!r} has no attribute {name!r}") from None

    return __getattr__
