"""Small numbers for objects, given out again when their object is gone."""

import heapq
import weakref


class IdentRegistry:
    """Numbers weakly referenced objects from zero on, always with the smallest free number."""

    def __init__(self):
        self._idents = weakref.WeakKeyDictionary()
        self._free = []

    def get_ident(self, obj):
        """Return the number of `obj`, its first one if it has none yet."""
        if obj not in self._idents:
            ident = heapq.heappop(self._free) if self._free else len(self._idents)
            self._idents[obj] = ident
            weakref.finalize(obj, heapq.heappush, self._free, ident).atexit = False
        return self._idents[obj]

    def __len__(self):
        return len(self._idents)
