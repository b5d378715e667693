"""Calling a function with a module, now or as soon as the module has been imported."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

__all__ = ["when_imported"]

_waiting: dict[str, list[Callable[[ModuleType], Any]]] = {}


def when_imported(name: str, call: Callable[[ModuleType], Any]) -> None:
    """Call *call* with the module *name* once that is imported; do not import it.

    It runs before the importer gets the module; an error that it raises reaches the importer.
    """
    module = sys.modules.get(name)
    if module is not None and not _is_loading(module):
        call(module)
        return
    _waiting.setdefault(name, []).append(call)
    if _Finder not in sys.meta_path:
        sys.meta_path.insert(0, _Finder)


def _is_loading(module: ModuleType) -> bool:
    return getattr(getattr(module, "__spec__", None), "_initializing", False)


class _Finder:
    """A finder of the modules that are waited for. It asks all other finders for their specs."""

    @classmethod
    def find_spec(cls, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if name not in _waiting:
            return None
        for finder in sys.meta_path:
            find_spec = getattr(finder, "find_spec", None)
            if finder is cls or find_spec is None:
                continue
            spec: ModuleSpec | None = find_spec(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Loader(spec.loader)  # type: ignore[assignment]
                return spec
        return None


class _Loader:
    """Loads a module as its own loader does, and then calls the functions that wait for it."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        # The module is to look as if it had been imported in the usual way.
        module.__loader__ = module.__spec__.loader = self._loader  # type: ignore[union-attr]
        self._loader.exec_module(module)
        calls = _waiting.pop(module.__name__, ())
        if not _waiting:
            sys.meta_path.remove(_Finder)
        for call in calls:
            call(module)
