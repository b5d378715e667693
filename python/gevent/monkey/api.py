"""Replacing attributes of modules, and finding the originals again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Any

from gevent import events
from gevent.monkey._state import saved
from gevent.monkey._warnings import queue_warning

__all__ = [
    "get_original",
    "notify_did_patch",
    "notify_will_patch",
    "patch_item",
    "patch_module",
    "remove_item",
]

_MISSING = object()


class _BadImplements(AttributeError):
    """The ``__implements__`` of a source module is missing or is not a list of names."""

    def __init__(self, module: ModuleType) -> None:
        super().__init__(f"Module {module!r} has a bad or missing value for __implements__")


def get_original(mod_name: str | Sequence[str], item_name: str | Sequence[str]) -> Any:
    """Return an attribute of a module as it was before patching.

    An attribute that was not replaced is returned as it is.

    :param mod_name: The name of a module, or a sequence of names of which the first that can be
        imported counts.
    :param item_name: The name of an attribute, or a sequence of names.
    :return: The original object, or a list of them for a sequence of names.
    :raises ImportError: if there is no such module.
    :raises AttributeError: if the module has no such attribute.
    """
    module = _import_first([mod_name] if isinstance(mod_name, str) else mod_name)
    originals = saved.get(module.__name__, {})

    def find(name: str) -> Any:
        return originals[name] if name in originals else getattr(module, name)

    return find(item_name) if isinstance(item_name, str) else [find(name) for name in item_name]


def _import_first(names: Sequence[str]) -> ModuleType:
    for name in names[:-1]:
        try:
            return import_module(name)
        except ImportError:
            continue
    return import_module(names[-1])


def patch_item(module: ModuleType, attr: str, newitem: Any) -> None:
    """Set an attribute of *module*, and keep the first object it replaced."""
    _save(module, attr)
    setattr(module, attr, newitem)


def remove_item(module: ModuleType, attr: str) -> None:
    """Delete an attribute of *module*, where it has it, and keep the original."""
    if hasattr(module, attr):
        _save(module, attr)
        delattr(module, attr)


def _save(module: ModuleType, attr: str) -> None:
    old = getattr(module, attr, _MISSING)
    if old is not _MISSING:
        saved.setdefault(module.__name__, {}).setdefault(attr, old)


def patch_module(
    target_module: ModuleType,
    source_module: ModuleType,
    items: Iterable[str] | None = None,
    _warnings: list[str] | None = None,
    _patch_kwargs: dict[str, Any] | None = None,
    _notify_will_subscribers: bool = True,
    _notify_did_subscribers: bool = True,
    _call_hooks: bool = True,
) -> bool:
    """Replace attributes of *target_module* by those of *source_module* of the same names.

    *source_module* may define functions that are called in the course of this:

    - ``_gevent_will_monkey_patch(target_module, items, warn, **kwargs)`` is called first. It may
      change the list *items*, call ``warn(message)``, and refuse by raising
      :exc:`gevent.events.DoNotPatch`.
    - ``_gevent_did_monkey_patch(target_module, items, warn, **kwargs)`` is called afterwards.

    Subscribers and plug-ins get a :class:`gevent.events.GeventWillPatchModuleEvent` after the
    former and a :class:`gevent.events.GeventDidPatchModuleEvent` after the latter.

    :param items: The names to replace; ``source_module.__implements__`` by default.
    :return: ``True`` if the module was patched, ``False`` if a subscriber raised ``DoNotPatch``.
    :raises AttributeError: if there are neither *items* nor an ``__implements__``, or one of the
        names is missing in *source_module*.
    """
    if items is None:
        items = getattr(source_module, "__implements__", None)
        if items is None:
            raise _BadImplements(source_module)
    names = list(items)
    extra = _patch_kwargs or {}
    warn = partial(queue_warning, pending=_warnings)

    try:
        if _call_hooks:
            _call_hook(
                source_module, "_gevent_will_monkey_patch", target_module, names, warn, extra
            )
        if _notify_will_subscribers:
            notify_will_patch(target_module, source_module, names)
    except events.DoNotPatch:
        return False

    replacements = [(name, getattr(source_module, name)) for name in names]
    for name, replacement in replacements:
        patch_item(target_module, name, replacement)

    if _call_hooks:
        _call_hook(source_module, "_gevent_did_monkey_patch", target_module, names, warn, extra)
    if _notify_did_subscribers:
        notify_did_patch(target_module, source_module)
    return True


def _call_hook(
    source: ModuleType,
    hook: str,
    target: ModuleType,
    names: list[str],
    warn: Callable[[str], None],
    extra: dict[str, Any],
) -> None:
    function = getattr(source, hook, None)
    if function is not None:
        function(target, names, warn, **extra)


def notify_will_patch(target: ModuleType, source: ModuleType, names: list[str]) -> None:
    """Notify subscribers and plug-ins that *target* is about to be patched.

    :raises gevent.events.DoNotPatch: if one of them refuses.
    """
    events.notify_and_call_entry_points(
        events.GeventWillPatchModuleEvent(target.__name__, source, target, names)
    )


def notify_did_patch(target: ModuleType, source: ModuleType) -> None:
    """Notify subscribers and plug-ins that *target* was patched."""
    events.notify_and_call_entry_points(
        events.GeventDidPatchModuleEvent(target.__name__, source, target)
    )
