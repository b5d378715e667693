"""Seeing to a module as it is imported: in a context of its own, or with a function afterwards."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

__all__ = ["import_within", "when_imported"]

_Context = Callable[[], AbstractContextManager[Any]]

_waiting: dict[str, list[Callable[[ModuleType], Any]]] = {}
_contexts: list[tuple[Callable[[str], bool], _Context]] = []


def when_imported(name: str, call: Callable[[ModuleType], Any]) -> None:
    """Call *call* with the module *name* once that is imported; do not import it.

    It runs before the importer gets the module; an error that it raises reaches the importer.
    """
    module = sys.modules.get(name)
    if module is not None and not _is_loading(module):
        call(module)
        return
    _waiting.setdefault(name, []).append(call)
    _find_first()


def import_within(applies: Callable[[str], bool], context: _Context) -> None:
    """From now on, execute each module for whose name *applies* returns true within *context*.

    :param context: Called without arguments, it returns a context manager.
    """
    _contexts.append((applies, context))
    _find_first()


def _find_first() -> None:
    if _Finder not in sys.meta_path:
        sys.meta_path.insert(0, _Finder)


def _is_loading(module: ModuleType) -> bool:
    return getattr(getattr(module, "__spec__", None), "_initializing", False)


class _Finder:
    """A finder of the modules that are to be seen to. It asks all other finders for their specs."""

    @classmethod
    def find_spec(cls, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        contexts = [context for applies, context in _contexts if applies(name)]
        if name not in _waiting and not contexts:
            return None
        for finder in sys.meta_path:
            find_spec = getattr(finder, "find_spec", None)
            if finder is cls or find_spec is None:
                continue
            spec: ModuleSpec | None = find_spec(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Loader(spec.loader, contexts)  # type: ignore[assignment]
                return spec
        return None


class _Loader:
    """Loads a module as its own loader does, and then calls the functions that wait for it."""

    def __init__(self, loader: Any, contexts: list[_Context]) -> None:
        self._loader = loader
        self._contexts = contexts

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def _entered(self) -> ExitStack:
        with ExitStack() as entered:
            for context in self._contexts:
                entered.enter_context(context())
            return entered.pop_all()

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        # Old modules in C run their code here.
        with self._entered():
            module: ModuleType | None = self._loader.create_module(spec)
            return module

    def exec_module(self, module: ModuleType) -> None:
        # The module is to look as if it had been imported in the usual way.
        module.__loader__ = module.__spec__.loader = self._loader  # type: ignore[union-attr]
        with self._entered():
            self._loader.exec_module(module)
        calls = _waiting.pop(module.__name__, ())
        if not _waiting and not _contexts and _Finder in sys.meta_path:
            sys.meta_path.remove(_Finder)
        for call in calls:
            call(module)
