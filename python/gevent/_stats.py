"""Numbers about the running program, from counters that the engine keeps anyway.

:func:`stats` is ``gevent.util.stats``; :func:`open_metrics` writes the same for Prometheus.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Iterable
from typing import Any

from gevent._core import greenlet_counters, loop_counters

__all__ = ["all_hubs", "metrics_of", "open_metrics", "stats"]

_PAGE = resource.getpagesize()


def all_hubs() -> list[Any]:
    """Return the hubs of all threads that have one."""
    from gevent.hub import living_hubs

    while True:
        try:
            hubs = list(living_hubs)
        except RuntimeError:
            # Another thread made its hub just now.
            continue
        return [hub for hub in hubs if hub.loop is not None and not hub.dead]


def _resident() -> int:
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * _PAGE
    except OSError:
        return 0


def _thread_time(ident: int) -> float | None:
    """Return for how many seconds of processor time a thread ran."""
    try:
        return time.clock_gettime(time.pthread_getcpuclockid(ident))
    except (OSError, OverflowError, AttributeError):
        return None


def _of_hub(hub: Any) -> dict[str, Any]:
    loop = hub.loop
    found: dict[str, Any] = {
        "thread": hub.thread_ident,
        "main": hub.main_hub,
        "name": hub.name,
        "processor_seconds": _thread_time(hub.thread_ident)
        if hub.thread_ident in sys._current_frames()
        else None,
        "polling": loop.polling,
        "loop": loop_counters(loop),
    }
    pool = hub._threadpool
    found["threadpool"] = (
        None if pool is None else {"threads": pool.size, "most": pool.maxsize, "tasks": len(pool)}
    )
    resolver = hub._resolver
    found["resolver"] = None if resolver is None else type(resolver).__name__
    return found


def stats(waits: bool = False) -> dict[str, Any]:
    """Return the numbers that ``gevent.util.stats`` documents."""
    made, ended = greenlet_counters()
    found: dict[str, Any] = {
        "pid": os.getpid(),
        "implementation": sys.modules["gevent"].__implementation__,
        "resident_bytes": _resident(),
        "greenlets": {"made": made, "ended": ended, "alive": made - ended},
        "hubs": [_of_hub(hub) for hub in all_hubs()],
    }
    if waits:
        from gevent._waits import WaitGraph

        found["waits"] = WaitGraph().by_call()
    from gevent._blocking import running_sampler

    sampler = running_sampler()
    if sampler is not None:
        found["blocking"] = sampler.as_dict()
    return found


#: Name, type, help, and where it is: in all of the process or in each hub's loop.
_FAMILIES = (
    ("gevent_greenlets_made", "counter", "Greenlets made."),
    ("gevent_greenlets_ended", "counter", "Greenlets that ended."),
    ("gevent_greenlets_alive", "gauge", "Greenlets that were made and have not ended."),
    ("gevent_resident_bytes", "gauge", "Memory of the process."),
    ("gevent_hubs", "gauge", "Threads that have a hub."),
    ("gevent_loop_tasks", "counter", "Tasks that loops took up."),
    ("gevent_loop_polls", "counter", "Turns of loops that asked the kernel."),
    ("gevent_loop_ready", "gauge", "Tasks that are ready to run."),
    ("gevent_loop_timers", "gauge", "Deadlines that are set."),
    ("gevent_loop_sockets", "gauge", "Sockets that loops know."),
    ("gevent_loop_sockets_waited_for", "gauge", "Sockets that greenlets wait for."),
    ("gevent_loop_watched", "gauge", "Descriptors that are watched."),
    ("gevent_threadpool_threads", "gauge", "Native threads of thread pools."),
    ("gevent_threadpool_tasks", "gauge", "Jobs in thread pools, waiting ones included."),
    ("gevent_loop_blocked", "counter", "Times that a loop was found to be blocked."),
    ("gevent_loop_blocked_seconds", "counter", "For how long loops were blocked in all."),
)


def metrics_of(found: dict[str, Any]) -> dict[str, float]:
    """Return the numbers of :func:`stats` by the names of their metrics, summed over hubs."""
    greenlets, hubs = found["greenlets"], found["hubs"]
    metrics: dict[str, float] = {
        "gevent_greenlets_made": greenlets["made"],
        "gevent_greenlets_ended": greenlets["ended"],
        "gevent_greenlets_alive": greenlets["alive"],
        "gevent_resident_bytes": found["resident_bytes"],
        "gevent_hubs": len(hubs),
    }
    for key in ("tasks", "polls", "ready", "timers", "sockets", "sockets_waited_for", "watched"):
        metrics[f"gevent_loop_{key}"] = sum(hub["loop"][key] for hub in hubs)
    pools = [hub["threadpool"] for hub in hubs if hub["threadpool"] is not None]
    for key in ("threads", "tasks"):
        metrics[f"gevent_threadpool_{key}"] = sum(pool[key] for pool in pools)
    blocking = found.get("blocking")
    if blocking is not None:
        metrics["gevent_loop_blocked"] = blocking["times"]
        metrics["gevent_loop_blocked_seconds"] = blocking["seconds"]
    return metrics


def open_metrics(processes: Iterable[dict[str, float]]) -> str:
    """Return the sums of the metrics of *processes* as OpenMetrics text, for Prometheus."""
    all_of_them = list(processes)
    lines = []
    for name, kind, text in _FAMILIES:
        values = [metrics[name] for metrics in all_of_them if name in metrics]
        if not values:
            continue
        lines += [f"# TYPE {name} {kind}", f"# HELP {name} {text}"]
        suffix = "_total" if kind == "counter" else ""
        lines.append(f"{name}{suffix} {sum(values)}")
    lines += [
        "# TYPE gevent_processes gauge",
        "# HELP gevent_processes Processes that the numbers are the sums of.",
        f"gevent_processes {len(all_of_them)}",
        "# EOF",
    ]
    return "\n".join(lines) + "\n"
