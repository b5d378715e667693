"""The record of what has been replaced so far, with the originals."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

__all__ = [
    "check_patchable",
    "is_anything_patched",
    "is_module_patched",
    "is_object_patched",
    "native",
    "saved",
]

#: Name of a patched module -> name of a replaced attribute -> the original object.
saved: dict[str, dict[str, Any]] = {}

#: The copies of modules that stay as they are without patching. It is empty until ``unpatched`` is
#: used.
native: dict[str, ModuleType] = {}


def is_anything_patched() -> bool:
    """Return true if anything was patched in this process."""
    return bool(saved)


def is_module_patched(mod_name: str) -> bool:
    """Return true if the module was patched, wholly or in part.

    :param mod_name: The name of a standard library module, such as ``"socket"``.
    """
    return mod_name in saved


def is_object_patched(mod_name: str, item_name: str) -> bool:
    """Return true if one attribute of a module was replaced.

    :param mod_name: The name of a standard library module, such as ``"socket"``.
    :param item_name: The name of the attribute, such as ``"create_connection"``.
    """
    return item_name in saved.get(mod_name, ())


def check_patchable(mod_name: str) -> None:
    """Raise an error if an import of the module would find its native copy.

    :raises RuntimeError: if it would, as a copy must stay native.
    """
    if mod_name in native and sys.modules.get(mod_name) is native[mod_name]:
        raise RuntimeError("Nothing can be patched within a block of monkey.unpatched()")
