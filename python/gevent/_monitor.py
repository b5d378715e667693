"""The native thread that watches a hub for a blocked loop, and the memory of the process."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from time import perf_counter
from typing import Any
from weakref import ref

from greenlet import getcurrent

from gevent._config import config
from gevent._core import BaseHub
from gevent._tracer import GreenletTracer, HubProbe
from gevent._zope import implementer
from gevent.events import (
    EventLoopBlocked,
    IPeriodicMonitorThread,
    MemoryUsageThresholdExceeded,
    MemoryUsageUnderThreshold,
    notify,
)
from gevent.monkey import get_original

__all__ = ["PeriodicMonitoringThread"]

# The thread is a native one, also in a patched process.
start_new_thread = get_original("_thread", "start_new_thread")
get_thread_ident = get_original("_thread", "get_ident")
thread_sleep = get_original("time", "sleep")


class MonitorWarning(RuntimeWarning):
    """Something cannot be monitored."""


class _MonitorEntry:
    """A monitoring function and its period in seconds."""

    __slots__ = ("function", "last_run_time", "period")

    def __init__(self, function: Callable[[Any], Any], period: float) -> None:
        self.function = function
        self.period = period
        self.last_run_time = 0.0


@implementer(IPeriodicMonitorThread)
class PeriodicMonitoringThread:
    """Calls monitoring functions with *hub*, in a thread of its own, while the hub lives.

    The first function is always :meth:`monitor_blocking`.
    """

    #: The seconds to sleep when nothing is to be monitored.
    inactive_sleep_time = 2.0
    #: No sleep is shorter than this, in seconds.
    min_sleep_time = 0.005
    #: The least seconds between two checks of the memory, which are slow.
    min_memory_monitor_period = 2

    def __init__(self, hub: Any) -> None:
        self._hub = ref(hub, self._on_hub_gone)
        #: True as long as the thread is to go on.
        self.should_run = True
        #: The process that the thread runs in.
        self.pid = os.getpid()
        # Any object can stand for a hub, but only ours count what they do.
        self._greenlet_tracer = HubProbe(hub) if isinstance(hub, BaseHub) else GreenletTracer()
        self._memory_exceeded = 0
        self._process: Any = None
        self._calculated_sleep_time = 0.0
        self._monitoring_functions = [
            _MonitorEntry(self.monitor_blocking, config.max_blocking_time or 0)
        ]
        self._calculate_period()
        #: The identifier of the thread.
        self.monitor_thread_ident = start_new_thread(self, ())

    @property
    def hub(self) -> Any:
        """The hub, or ``None`` when it is gone."""
        return self._hub()

    def _on_fork(self) -> None:
        # The child process has only the thread that forked.
        if self.pid != os.getpid():
            self.pid = os.getpid()
            self.monitor_thread_ident = start_new_thread(self, ())

    def kill(self) -> None:
        """End the thread soon; it may be in the middle of a function."""
        if self.should_run:
            self.should_run = False
            self._greenlet_tracer.kill()

    def _on_hub_gone(self, _: Any) -> None:
        self.kill()

    def ignore_current_greenlet_blocking(self) -> None:
        """Do not report that the hub is blocked until it runs something else."""
        self._greenlet_tracer.ignore_current_greenlet_blocking()

    def monitor_current_greenlet_blocking(self) -> None:
        """Report that the running greenlet blocks, even if that was to be ignored."""
        self._greenlet_tracer.monitor_current_greenlet_blocking()

    def monitoring_functions(self) -> list[_MonitorEntry]:
        """Return the functions to call with their periods; the settings are read every time."""
        blocking = self._monitoring_functions[0]
        period = config.max_blocking_time or 0
        if blocking.period != period:
            blocking.period = period
            self._calculate_period()
        return self._monitoring_functions

    def calculate_sleep_time(self) -> float:
        """Return the seconds that the thread is to sleep before its next check."""
        if self._calculated_sleep_time <= 0:
            return self.inactive_sleep_time
        return max(self._calculated_sleep_time, self.min_sleep_time)

    def _calculate_period(self) -> None:
        periods = [entry.period for entry in self._monitoring_functions if entry.period > 0]
        self._calculated_sleep_time = min(periods, default=0)

    def add_monitoring_function(self, function: Callable[[Any], Any], period: float | None) -> None:
        """Have *function* called with the hub about every *period* seconds.

        It is called in this thread, where nothing of this package may be waited for. Adding it
        again changes its period, ``None`` removes it.

        :raises ValueError: *function* cannot be called, or *period* is not positive.
        """
        if not callable(function):
            raise ValueError("function must be callable")
        if period is not None and period <= 0:
            raise ValueError("Period must be positive.")
        # A list of its own for each change: the thread may be going through the old one.
        entries = [entry for entry in self._monitoring_functions if entry.function != function]
        if period is not None:
            entries.append(_MonitorEntry(function, period))
        self._monitoring_functions = entries
        self._calculate_period()

    def __call__(self) -> None:
        # This attribute shows the purpose of this thread in a greenlet tree.
        getcurrent().gevent_monitoring_thread = ref(self)  # type: ignore[attr-defined]
        try:
            while self.should_run:
                self.monitoring_functions()
                thread_sleep(self.calculate_sleep_time())
                hub = self.hub
                if hub is None or hub.dead:
                    self.kill()
                    break
                self._run_due(hub)
                # The reference is dropped, so that the hub can be collected during the sleep.
                del hub
        except SystemExit:
            self.kill()
        except BaseException:
            hub = self.hub
            if hub is None or hub.dead or not self.should_run:
                raise
            hub.handle_error(self, *sys.exc_info())

    def _run_due(self, hub: Any) -> None:
        now = perf_counter()
        for entry in self.monitoring_functions():
            if 0 < entry.period <= now - entry.last_run_time:
                entry.last_run_time = now
                entry.function(hub)

    def monitor_blocking(self, hub: Any) -> tuple[Any, list[str]] | None:
        """Report it when a greenlet blocks *hub*: an event first, then, unless set otherwise,
        lines on the hub's ``exception_stream``.

        Returns the greenlet and the lines, or ``None``.
        """
        blocked = self._greenlet_tracer.did_block_hub(hub)
        if not blocked:
            return None
        greenlet = blocked[1]
        report = self._greenlet_tracer.did_block_hub_report(
            hub, greenlet, {"greenlet_stacks": False, "current_thread_ident": get_thread_ident()}
        )
        notify(EventLoopBlocked(greenlet, config.max_blocking_time, report, hub=hub))
        stream = hub.exception_stream
        if config.print_blocking_reports and stream is not None:
            for line in report:
                # Each line is one write, as other threads write to the stream too.
                stream.write(f"{line}\n")
        return greenlet, report

    def _get_process(self) -> Any:
        if self._process is None:
            try:
                # psutil is only there if the `monitor` extra is installed.
                from psutil import Process
            except ImportError:
                return None
            self._process = Process()
        return self._process

    def can_monitor_memory_usage(self) -> bool:
        """Return true if the memory in use can be measured, which requires ``psutil``."""
        return self._get_process() is not None

    def install_monitor_memory_usage(self) -> None:
        """Have :meth:`monitor_memory_usage` called; warn if that cannot work."""
        if not self.can_monitor_memory_usage():
            warnings.warn(
                "Unable to monitor memory usage. Install psutil.", MonitorWarning, stacklevel=2
            )
            return
        self.add_monitoring_function(
            self.monitor_memory_usage,
            max(config.memory_monitor_period or 0, self.min_memory_monitor_period),
        )

    def monitor_memory_usage(
        self, _hub: Any
    ) -> MemoryUsageThresholdExceeded | MemoryUsageUnderThreshold | int | None:
        """Emit an event when memory exceeds the limit, grows further, or is back under it.

        Returns the event, ``None`` if there was none to emit, -1 if there is no limit.
        """
        allowed = config.max_memory_usage
        if not allowed:
            return -1
        info = self._get_process().memory_full_info()
        # Memory that would be freed if the process ended; the resident size includes shared.
        used = getattr(info, "uss", 0) or info.rss
        event: MemoryUsageThresholdExceeded | MemoryUsageUnderThreshold | None = None
        if used > allowed:
            if used > self._memory_exceeded:
                self._memory_exceeded = used
                event = MemoryUsageThresholdExceeded(used, allowed, info)
        elif self._memory_exceeded:
            event = MemoryUsageUnderThreshold(used, allowed, info, self._memory_exceeded)
            self._memory_exceeded = 0
        if event is not None:
            notify(event)
        return event

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} at {hex(id(self))} in thread "
            f"{hex(self.monitor_thread_ident)} for {self.hub!r}>"
        )
