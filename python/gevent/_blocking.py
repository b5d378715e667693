"""Finds the places in a program that keep its loops from running, by taking samples.

The loop counts the tasks that it takes up, and notes when it waits for events, in any case. A
native thread reads both some times a second. A loop that took up no task between two samples, and
does not wait, is blocked; the stack at that moment shows the place. The program's own threads do no
work for this.
"""

from __future__ import annotations

import os
import sys
import traceback
from contextlib import suppress
from time import perf_counter
from types import FrameType
from typing import Any

from gevent.monkey import get_original

__all__ = ["BlockingSampler", "Place", "key_of", "place_of", "running_sampler"]

#: The folders of the standard library and of this package. A blocking call there is attributed to
#: the code that called in from outside.
_LIBRARY = os.path.dirname(os.__file__)
_PACKAGE = os.path.dirname(__file__)

_running: BlockingSampler | None = None


def running_sampler() -> BlockingSampler | None:
    """Return the sampler that runs in this process, if one does."""
    return _running


def is_library(filename: str) -> bool:
    """Return true if a file belongs to the standard library or to this package."""
    if filename.startswith(("<", _PACKAGE)):
        return True
    return filename.startswith(_LIBRARY) and "site-packages" not in filename


def blamed(frame: FrameType | None) -> FrameType | None:
    """Return the frame to blame for where *frame* is.

    That is the innermost one outside of the standard library and of this package.
    """
    at = frame
    while at is not None and is_library(at.f_code.co_filename):
        at = at.f_back
    return at or frame


def place_of(frame: FrameType | None) -> str:
    """Return the function, file and line that are to blame for where *frame* is."""
    at = blamed(frame)
    if at is None:
        return "outside of Python"
    return f"{at.f_code.co_qualname} ({at.f_code.co_filename}:{at.f_lineno})"


def key_of(frame: FrameType | None) -> tuple[str, str]:
    """Return a key of the function that blocks, the same for all of its lines."""
    at = blamed(frame)
    return ("", "") if at is None else (at.f_code.co_qualname, at.f_code.co_filename)


class Place:
    """A place that blocked a loop, with the number and the duration of the blockings."""

    __slots__ = ("longest", "name", "seconds", "stack", "times")

    def __init__(self, name: str) -> None:
        #: The function, its file, and the line where it was the first time.
        self.name: str = name
        #: The number of times that it blocked a loop.
        self.times: int = 0
        #: The seconds that it blocked loops in total, and the longest single time.
        self.seconds: float = 0.0
        self.longest: float = 0.0
        #: The stack as it was the first time, as lines.
        self.stack: list[str] = []

    def as_dict(self) -> dict[str, Any]:
        """Return the same as a dictionary."""
        return {name: getattr(self, name) for name in sorted(self.__slots__)}


class _Watched:
    """The state of one hub at the last sample."""

    __slots__ = ("activity", "added", "place", "since")

    def __init__(self) -> None:
        self.activity = -1
        self.since = 0.0
        self.place: Place | None = None
        #: The seconds of this blocking that the place has been charged with so far.
        self.added = 0.0


class BlockingSampler:
    """Finds the places that block any loop of the process, from :meth:`start` to :meth:`stop`.

    ::

        with gevent.inspect.BlockingSampler() as sampler:
            serve()
        for place in sampler.worst():
            print(f"{place.seconds:.1f} s, {place.times} times: {place.name}")

    It costs well under 1 % of a processor. A call that blocks for less than two samples is not
    seen.

    :param interval: Seconds between two samples.
    :param most: The most places to remember; those that blocked least are forgotten first.
    """

    def __init__(self, interval: float = 0.1, most: int = 200) -> None:
        if not interval > 0:
            raise ValueError("interval must be positive")
        self.interval = interval
        self.most = most
        #: The number of times that loops were blocked, and the seconds of all of them.
        self.times: int = 0
        self.seconds: float = 0.0
        self._places: dict[tuple[str, str], Place] = {}
        self._hubs: dict[int, _Watched] = {}
        self._generation = 0

    def start(self) -> BlockingSampler:
        """Start sampling, and return this object. A sampler that ran before stops."""
        global _running
        if _running is not None and _running is not self:
            _running.stop()
        _running = self
        self._generation += 1
        get_original("_thread", "start_new_thread")(self._run, (self._generation,))
        return self

    def stop(self) -> None:
        """Stop sampling. The places that were found stay."""
        global _running
        self._generation += 1
        if _running is self:
            _running = None

    def __enter__(self) -> BlockingSampler:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def _run(self, generation: int) -> None:
        sleep = get_original("time", "sleep")
        while generation == self._generation:
            # A hub may end while it is sampled.
            with suppress(AttributeError, ValueError):
                self.sample()
            sleep(self.interval)

    def sample(self) -> None:
        """Take one sample of all hubs; a native thread calls this after :meth:`start`."""
        from gevent._stats import all_hubs

        now = perf_counter()
        living = set()
        for hub in all_hubs():
            living.add(id(hub))
            self._sample_hub(hub, self._hubs.setdefault(id(hub), _Watched()), now)
        for gone in self._hubs.keys() - living:
            del self._hubs[gone]

    def _sample_hub(self, hub: Any, watched: _Watched, now: float) -> None:
        loop = hub.loop
        if loop is None:
            return
        activity = loop.iteration_activity
        if activity == 0 or loop.polling or activity != watched.activity:
            watched.activity, watched.since, watched.place = activity, now, None
            return
        blocked = now - watched.since
        if watched.place is None:
            frame = sys._current_frames().get(hub.thread_ident)
            if frame is None:
                # The thread is outside of Python: one of a thread pool that has nothing to do.
                return
            watched.place = self._place(frame)
            watched.added = 0.0
            self.times += 1
        place = watched.place
        place.seconds += blocked - watched.added
        self.seconds += blocked - watched.added
        place.longest = max(place.longest, blocked)
        watched.added = blocked

    def _place(self, frame: FrameType) -> Place:
        key = key_of(frame)
        place = self._places.get(key)
        if place is None:
            if len(self._places) >= self.most:
                least, _ = min(self._places.items(), key=lambda known: known[1].seconds)
                del self._places[least]
            place = Place(place_of(frame))
            place.stack = traceback.format_stack(frame)
        place.times += 1
        # The place is added only when it is complete, as other threads read the dictionary.
        self._places[key] = place
        return place

    def worst(self, count: int = 10) -> list[Place]:
        """Return the *count* places that blocked loops for the longest time, worst first."""
        places = sorted(self._places.values(), key=lambda place: place.seconds, reverse=True)
        return places[:count]

    def blocked(self) -> list[tuple[float, str]]:
        """Return, for each loop that is blocked now, the seconds since it is so, and the place."""
        now = perf_counter()
        return [
            (now - watched.since, watched.place.name)
            for watched in list(self._hubs.values())
            if watched.place is not None
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return the results for :func:`gevent.util.stats`."""
        return {
            "times": self.times,
            "seconds": self.seconds,
            "worst": [place.as_dict() for place in self.worst()],
        }
