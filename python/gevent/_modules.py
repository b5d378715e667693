"""Iterating over the imported modules."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

__all__ = ["imported_modules"]


def imported_modules() -> Iterator[tuple[str, ModuleType, dict[str, Any]]]:
    """Yield the name of each imported module, the module, and its names.

    Objects of other kinds, which programs put into ``sys.modules``, are passed over, as reading
    their attributes may run code of the program. Modules that load themselves at the first use stay
    unloaded.
    """
    for name, module in list(sys.modules.items()):
        if issubclass(type(module), ModuleType):
            yield name, module, object.__getattribute__(module, "__dict__")
