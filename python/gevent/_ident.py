"""Small numbers for objects: stable while the object lives, used again afterwards."""

from __future__ import annotations

from itertools import count
from typing import Any
from weakref import ref

__all__ = ["IdentRegistry"]


class IdentRegistry:
    """Gives objects that can be weakly referenced small integers, counting from zero.

    No two living objects have the same number. The number of an object that died is given to the
    next newcomer, so numbers stay below the most objects there were at a time. ``len()`` is
    the number of living objects that have one.
    """

    def __init__(self) -> None:
        self._idents: dict[ref[Any], int] = {}
        self._free: list[int] = []
        self._unused = count()

    def get_ident(self, obj: Any) -> int:
        """Return the number of *obj*, choosing one at the first call.

        :raises TypeError: *obj* cannot be weakly referenced or hashed.
        """
        # Equal to the stored reference as long as the object lives.
        ident = self._idents.get(ref(obj))
        if ident is None:
            ident = self._free.pop() if self._free else next(self._unused)
            self._idents[ref(obj, self._release)] = ident
        return ident

    def _release(self, dead: ref[Any]) -> None:
        self._free.append(self._idents.pop(dead))

    def __len__(self) -> int:
        return len(self._idents)
