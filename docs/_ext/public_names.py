"""The public names of the package, and which entry of the reference describes each.

A name may be public in several modules (``gevent.Greenlet``, ``gevent.greenlet.Greenlet``). One of
them has the description, the others refer to it; constants and functions of the standard library,
which modules such as ``gevent.socket`` offer unchanged, are listed by their names.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import pkgutil
import sys
import types
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

#: Modules whose names are not for programs: `gevent.serve` is a command, and what `gevent.compat`
#: and `gevent.websocket` have in parts is offered by the packages themselves.
INTERNAL = ("gevent.serve.", "gevent.compat.", "gevent.websocket.", "gevent.monkey.")
#: Special methods that belong to what a class promises.
PROTOCOL = (
    "__enter__",
    "__exit__",
    "__iter__",
    "__next__",
    "__len__",
    "__call__",
    "__contains__",
    "__bool__",
)


@dataclass
class Name:
    """One public name of a module."""

    module: str
    name: str
    value: Any
    #: ``class``, ``exception``, ``function`` or ``data``.
    kind: str
    #: The full name of the entry that describes it, if that is not its own.
    described_by: str | None = None
    #: True where the standard library's module of that name has the same object.
    standard: bool = False
    #: For classes: the members that are described with it, those of them that are classes
    #: themselves, and the inherited ones by their class.
    members: list[str] = field(default_factory=list)
    nested: list[str] = field(default_factory=list)
    inherited: dict[str, list[str]] = field(default_factory=dict)

    @property
    def full(self) -> str:
        """The name with its module."""
        return f"{self.module}.{self.name}"


def modules() -> list[types.ModuleType]:
    """Return the public modules, ``gevent`` first."""
    import gevent

    found = [gevent]
    for info in pkgutil.walk_packages(gevent.__path__, "gevent."):
        private = any(part.startswith("_") for part in info.name.split("."))
        if not (private or info.name.startswith(INTERNAL) or info.name == "gevent.serve"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found.append(importlib.import_module(info.name))
    return found


def names_of(module: types.ModuleType) -> list[str]:
    """Return the names that a module makes public."""
    listed = getattr(module, "__all__", None)
    if not listed:
        listed = [name for name in vars(module) if not name.startswith("_")]
    return sorted({name for name in listed if hasattr(module, name)})


def public() -> dict[str, list[Name]]:
    """Return the public names of each public module, each with the entry that describes it."""
    found = {module.__name__: list(_names(module)) for module in modules()}
    by_object: dict[int, list[Name]] = {}
    for name in (name for names in found.values() for name in names):
        if name.kind != "data" and not name.standard:
            by_object.setdefault(id(name.value), []).append(name)
    classes = {}
    for same in by_object.values():
        first = _describing(same)
        if first.kind in ("class", "exception"):
            classes[first.value] = first.full
        for name in same:
            if name is not first:
                name.described_by = first.full
    for name in (name for names in found.values() for name in names):
        if name.kind in ("class", "exception") and not (name.standard or name.described_by):
            _add_members(name, classes)
    return found


def _names(module: types.ModuleType) -> Iterator[Name]:
    twin = None
    standard_name = module.__name__.removeprefix("gevent.")
    if module.__name__ != "gevent" and standard_name in sys.stdlib_module_names:
        twin = importlib.import_module({"thread": "_thread"}.get(standard_name, standard_name))
    for name in names_of(module):
        value = getattr(module, name)
        if isinstance(value, types.ModuleType):
            continue
        home = getattr(value, "__module__", None) or ""
        foreign = inspect.isclass(value) and not home.startswith("gevent")
        if foreign and not hasattr(module, "__all__"):
            continue
        standard = (twin is not None and getattr(twin, name, _MISSING) is value) or (
            callable(value) and bool(home) and not home.startswith(("gevent", "greenlet"))
        )
        yield Name(module.__name__, name, value, _kind(value), standard=standard)


def _kind(value: Any) -> str:
    if inspect.isclass(value):
        return "exception" if issubclass(value, BaseException) else "class"
    return "function" if callable(value) and hasattr(value, "__name__") else "data"


def _describing(same: list[Name]) -> Name:
    """Return the name by which an object says that it can be found, or its own, or the first."""
    value = same[0].value
    home = (getattr(value, "__module__", ""), getattr(value, "__name__", ""))
    fits = [name for name in same if (name.module, name.name) == home]
    fits += [name for name in same if name.name == home[1]]
    return [*fits, same[0]][0]


def _add_members(name: Name, classes: dict[type, str]) -> None:
    kind = name.value
    for member in dir(kind):
        if member.startswith("_") and member not in PROTOCOL:
            continue
        if name.kind == "exception" and hasattr(BaseException, member):
            continue
        if member in dir(object):
            continue
        owner = next((base for base in kind.__mro__ if member in vars(base)), None)
        if inspect.isclass(getattr(kind, member, None)):
            name.nested.append(member)
        elif owner is not None and owner is not kind and owner in classes:
            name.inherited.setdefault(classes[owner], []).append(member)
        else:
            name.members.append(member)


def documented(entries: set[str]) -> Iterator[tuple[str, bool]]:
    """Yield every public name, with True if one of *entries* describes it or stands for it."""
    for names in public().values():
        for name in names:
            yield name.full, name.full in entries
            for member in (*name.members, *name.nested):
                yield f"{name.full}.{member}", f"{name.full}.{member}" in entries
            for owner, members in name.inherited.items():
                for member in members:
                    yield f"{name.full}.{member}", f"{owner}.{member}" in entries


def module_doc(module: str) -> str:
    """Return the first sentence of a module's docstring."""
    doc = inspect.getdoc(sys.modules[module]) or ""
    return doc.split("\n\n")[0].replace("\n", " ")


def default_of(kind: type, name: str) -> str:
    """Return a class attribute's value as it is written."""
    value = None
    with contextlib.suppress(AttributeError):
        value = getattr(kind, name)
    return repr(value)


_MISSING = object()
