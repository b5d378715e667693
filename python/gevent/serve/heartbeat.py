"""Signs of life from workers, in memory that they share with the supervisor.

A page of anonymous memory is mapped before any worker is forked. Each worker has a slot in it,
where it writes the time now and then; the supervisor only reads. That takes no descriptor and no
system call, and a worker that is stopped, stuck or dead cannot hold anything up.
"""

from __future__ import annotations

import mmap
import time

#: The most workers that there may be at a time, including those of an old generation.
PLACES = 8192


class Heartbeats:
    """The shared memory, and the list of its free slots."""

    def __init__(self) -> None:
        # A number of eight aligned bytes is written and read whole by the processors that Linux
        # runs on, so the two sides need no lock.
        self.times: memoryview[int] = memoryview(mmap.mmap(-1, 8 * PLACES)).cast("q")
        self._free = list(range(PLACES - 1, -1, -1))

    def take(self) -> Heartbeat:
        """Return a free slot for a new worker, with a first beat at this time."""
        return Heartbeat(self, self._free.pop())

    def give_back(self, place: int) -> None:
        """Free a slot, so that a later worker may have it."""
        self._free.append(place)


class Heartbeat:
    """The slot of one worker."""

    def __init__(self, all_of_them: Heartbeats, place: int) -> None:
        self._all = all_of_them
        self._place = place
        self.beat()

    def beat(self) -> None:
        """Write the time, which shows that the worker lives."""
        # The clock is the system's, so all processes read the same time.
        self._all.times[self._place] = time.monotonic_ns()

    def last(self) -> float:
        """Return the time of the last beat, on the clock of :func:`time.monotonic`."""
        return self._all.times[self._place] / 1e9

    def release(self) -> None:
        """Free the slot, once the worker has ended."""
        self._all.give_back(self._place)
