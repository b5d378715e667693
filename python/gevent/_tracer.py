"""Detects greenlets that block the hub.

A :class:`GreenletTracer` sees every switch, through :func:`greenlet.settrace`. It is exact and
slows every switch down, so it serves scoped checks (:class:`gevent.util.assert_switches`).
:class:`HubProbe` compares counters that a hub's loop has anyway, from any thread and at no cost.
"""

from __future__ import annotations

import gc
import sys
import traceback
from collections.abc import Callable
from time import perf_counter
from types import FrameType
from typing import Any
from weakref import ref

from greenlet import getcurrent, gettrace, settrace
from greenlet import greenlet as RawGreenlet

from gevent._hub_report import gmctime

__all__ = ["GreenletTracer", "HubSwitchTracer", "MaxSwitchTracer"]


class BlockReporter:
    """The base of the tracers that look for blocking greenlets."""

    def did_block_hub_report(
        self, hub: Any, active_greenlet: Any, format_kwargs: dict[str, Any]
    ) -> list[str]:
        """Return the lines that report how *active_greenlet* blocks *hub*.

        *format_kwargs* goes to :func:`gevent.util.format_run_info`.
        """
        from gevent.util import format_run_info

        lines = [
            "=" * 80,
            f"\n{gmctime()} : Greenlet {active_greenlet} appears to be blocked",
            f"    Reported by {self!r}",
        ]
        frame = sys._current_frames().get(hub.thread_ident)
        if summary := self._summary(frame):
            lines.append(f"    {summary}")
        if frame is None:
            lines.append(f"Not running Python code in thread id {hex(hub.thread_ident)}")
        else:
            lines.append(f"Blocked Stack (for thread id {hex(hub.thread_ident)}):")
            lines.append("".join(traceback.format_stack(frame)))
        lines.append("Info:")
        lines.extend(format_run_info(**format_kwargs))
        return lines

    def _summary(self, frame: FrameType | None) -> str:
        """Return one line about the blocking. Subclasses that know more about it override this."""
        return ""


class GreenletTracer(BlockReporter):
    """Counts the switches of the thread it is made in, until :meth:`kill`.

    A trace function that was there before is still called.
    """

    def __init__(self) -> None:
        #: The number of switches so far.
        self.greenlet_switch_counter: int = 0
        #: The greenlet last switched to, unless nothing is to be reported about it.
        self.active_greenlet: Any = None
        self._seen = 0
        #: The tracer that was installed before, which is called as well.
        self.previous_trace_function: Callable[..., Any] | None = settrace(self)

    def kill(self) -> None:
        """Put back the trace function that was there before; to be called in the same thread."""
        previous, self.previous_trace_function = self.previous_trace_function, None
        if gettrace() is self or previous is not None:
            settrace(previous)

    def __call__(self, event: str, args: Any) -> None:
        self.greenlet_switch_counter += 1
        self.active_greenlet = args[1] if event in ("switch", "throw") else None
        self._switched()
        if self.previous_trace_function is not None:
            self.previous_trace_function(event, args)

    def _switched(self) -> None:
        """Called after each switch."""

    def did_block_hub(self, hub: Any) -> tuple[bool, Any] | None:
        """Return ``True`` and the blocking greenlet, or ``None`` while there are switches.

        A greenlet blocks when it was running at the last call and nothing switched since.
        """
        switched = self._seen != self.greenlet_switch_counter
        self._seen = self.greenlet_switch_counter
        if switched or self.active_greenlet is None or self.active_greenlet is hub:
            return None
        return True, self.active_greenlet

    def ignore_current_greenlet_blocking(self) -> None:
        """Report nothing until the next switch."""
        self.active_greenlet = None

    def monitor_current_greenlet_blocking(self) -> None:
        """Report the running greenlet if it blocks, even if it was to be ignored."""
        self.active_greenlet = getcurrent()


class _TimingTracer(GreenletTracer):
    def __init__(self, hub: Any, max_blocking_time: float) -> None:
        self.hub = hub
        self.max_blocking_time = max_blocking_time
        super().__init__()

    def kill(self) -> None:
        super().kill()
        self.hub = None


class HubSwitchTracer(_TimingTracer):
    """Looks for a time longer than *max_blocking_time* without a switch to the hub."""

    def __init__(self, hub: Any, max_blocking_time: float) -> None:
        #: The time at which the hub was last switched to.
        self.last_entered_hub = 0.0
        super().__init__(hub, max_blocking_time)

    def _switched(self) -> None:
        if self.active_greenlet is self.hub:
            self.last_entered_hub = perf_counter()

    def did_block_hub(self, hub: Any) -> tuple[bool, Any] | None:
        if perf_counter() - self.last_entered_hub > self.max_blocking_time:
            return True, self.active_greenlet
        return None


class MaxSwitchTracer(_TimingTracer):
    """Looks for a time longer than *max_blocking_time* between any two switches."""

    def __init__(self, hub: Any, max_blocking_time: float) -> None:
        #: The longest time between two switches, in seconds.
        self.max_blocking = 0.0
        #: The time of the last switch.
        self.last_switch = perf_counter()
        super().__init__(hub, max_blocking_time)

    def _switched(self) -> None:
        switched_at = perf_counter()
        self.max_blocking = max(self.max_blocking, switched_at - self.last_switch)
        self.last_switch = switched_at

    def did_block_hub(self, hub: Any) -> tuple[bool, Any] | None:
        since = perf_counter() - self.last_switch
        self.max_blocking = max(self.max_blocking, since)
        if self.max_blocking > self.max_blocking_time:
            return True, self.active_greenlet
        return None


#: The number of places that blocked which are remembered, before all are forgotten.
_MOST_PLACES = 1000


class _Blockings:
    """The number of reports of one place, and the time that it blocked."""

    __slots__ = ("activity", "earlier", "last", "times")

    def __init__(self) -> None:
        self.times = 0
        #: Seconds of all but the last time, and of that.
        self.earlier = 0.0
        self.last = 0.0
        self.activity: int | None = None

    def take(self, activity: int | None, seconds: float) -> None:
        """Note that the place has blocked for *seconds*; a new *activity* is a new time."""
        if activity != self.activity:
            self.activity = activity
            self.times += 1
            self.earlier += self.last
        self.last = seconds


class HubProbe(BlockReporter):
    """Asks a hub's loop how far it got, from any thread.

    The loop counts the tasks that it took up, and notes when it waits for events, in any case. So
    watching costs the watched thread nothing.
    """

    #: There is no trace function, hence none before it.
    previous_trace_function = None

    def __init__(self, hub: Any) -> None:
        self._hub = ref(hub)
        self._seen: int | None = None
        self._ignored: int | None = None
        # The time at which the loop was first seen to be where it is, and the earlier reports: for
        # each place, how many times it blocked, for how long in all, and the last of those times.
        self._since = 0.0
        self._before: dict[tuple[str, str], _Blockings] = {}

    def did_block_hub(self, hub: Any) -> tuple[bool, Any] | None:
        """Return ``True`` and the blocking greenlet, or ``None`` while *hub* gets on.

        A hub is blocked when its loop neither took up a task since the last call nor waits for
        events. A loop that never took up one is not in use yet.
        """
        loop = hub.loop
        if loop is None:
            return None
        activity = loop.iteration_activity
        seen, self._seen = self._seen, activity
        if activity != seen:
            self._since = perf_counter()
        if activity in (0, self._ignored) or activity != seen or loop.polling:
            return None
        greenlet = _running_greenlet(hub, loop.active_ident)
        if greenlet is hub.parent and hub.thread_ident not in sys._current_frames():
            # The thread waits for work outside of Python: one of a thread pool.
            return None
        return True, greenlet

    def _summary(self, frame: FrameType | None) -> str:
        from gevent._blocking import key_of, place_of

        place = place_of(frame)
        seconds = perf_counter() - self._since
        if len(self._before) >= _MOST_PLACES:
            self._before.clear()
        blockings = self._before.setdefault(key_of(frame), _Blockings())
        blockings.take(self._seen, seconds)
        others = blockings.times - 1
        before = (
            f"{others} {'times' if others > 1 else 'time'} before,"
            f" for {blockings.earlier:.1f} s in all"
            if others
            else "never before"
        )
        return f"Blocked for at least {seconds:.1f} s in {place}, which blocked {before}"

    def ignore_current_greenlet_blocking(self) -> None:
        """Report nothing until the next task."""
        hub = self._hub()
        if hub is not None and hub.loop is not None:
            self._ignored = hub.loop.iteration_activity

    def monitor_current_greenlet_blocking(self) -> None:
        """Report the running greenlet if it blocks, even if it was to be ignored."""
        self._ignored = None

    def kill(self) -> None:
        """Do nothing: there is nothing to take back."""


def _running_greenlet(hub: Any, ident: int) -> Any:
    # The loop keeps only an address, as a reference would slow every switch. 0 means a callback.
    if ident == 0:
        return hub
    for obj in gc.get_objects():
        if id(obj) == ident and isinstance(obj, RawGreenlet):
            return obj
    return hub.parent
