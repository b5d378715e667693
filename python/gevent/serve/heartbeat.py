"""Signs of life from workers, in memory that they share with the supervisor.

A page of anonymous memory is mapped before any worker is forked. Each worker has a place in it,
where it writes the time now and then; the supervisor only reads. That takes no descriptor and no
system call, and a worker that is stopped, stuck or dead cannot hold anything up.
"""

from __future__ import annotations

import mmap
import time

#: How many workers there may be, those of an old generation counted.
PLACES = 8192


class Heartbeats:
    """The shared memory, and which places in it are free."""

    def __init__(self) -> None:
        # A number of eight aligned bytes is written and read whole by the processors that Linux
        # runs on, so the two sides need no lock.
        self.times: memoryview[int] = memoryview(mmap.mmap(-1, 8 * PLACES)).cast("q")
        self._free = list(range(PLACES - 1, -1, -1))

    def take(self) -> Heartbeat:
        """Return a place for a new worker, which beats from now on."""
        return Heartbeat(self, self._free.pop())

    def give_back(self, place: int) -> None:
        """Let a later worker have a place."""
        self._free.append(place)


class Heartbeat:
    """The place of one worker."""

    def __init__(self, all_of_them: Heartbeats, place: int) -> None:
        self._all = all_of_them
        self._place = place
        self.beat()

    def beat(self) -> None:
        """Note that the worker lives."""
        # The clock is the system's, the same in every process.
        self._all.times[self._place] = time.monotonic_ns()

    def last(self) -> float:
        """Return when the worker last gave a sign, as :func:`time.monotonic` counts."""
        return self._all.times[self._place] / 1e9

    def release(self) -> None:
        """Give the place back, when the worker has ended."""
        self._all.give_back(self._place)
