"""The record of what has been replaced so far, with the originals."""

from __future__ import annotations

from typing import Any

__all__ = ["is_anything_patched", "is_module_patched", "is_object_patched", "saved"]

#: Name of a patched module -> name of a replaced attribute -> the original object.
saved: dict[str, dict[str, Any]] = {}


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
