"""Numbers about the running program, which are always counted or measured from the first call on.

:func:`stats` is ``gevent.util.stats``; :mod:`gevent._metrics` writes the same for Prometheus.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from typing import Any

from greenlet import greenlet as RawGreenlet

from gevent import _core
from gevent._core import frame_memory, greenlet_counters, loop_counters, measure_runs

__all__ = ["all_hubs", "stats"]

_PAGE = resource.getpagesize()


def all_hubs() -> list[Any]:
    """Return the hubs of all threads that have one."""
    from gevent.hub import living_hubs

    while True:
        try:
            hubs = list(living_hubs)
        except RuntimeError:
            # Another thread has made its hub during the iteration.
            continue
        return [hub for hub in hubs if hub.loop is not None and not hub.dead]


def _resident() -> int:
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * _PAGE
    except OSError:
        return 0


def _thread_time(ident: int) -> float | None:
    """Return the processor time of a thread, in seconds."""
    try:
        return time.clock_gettime(time.pthread_getcpuclockid(ident))
    except (OSError, OverflowError, AttributeError):
        return None


def _of_loop(loop: Any) -> dict[str, Any]:
    counters = loop_counters(loop)
    lag = {
        "present": counters.pop("present_turn"),
        "seconds": counters.pop("turn_seconds"),
        "count": 0,
        "classes": [],
    }
    for bound, turns in counters.pop("turns"):
        # JSON has no infinity.
        lag["classes"].append([None if bound == float("inf") else bound, turns])
        lag["count"] += turns
    seconds, stack = counters.pop("longest_run"), counters.pop("longest_run_stack")
    counters["lag"] = lag
    counters["longest_run"] = {"seconds": seconds, "place": _place(stack), "stack": stack}
    return counters


def _place(stack: list[tuple[str, str, int]]) -> str | None:
    """Return, as one line, the innermost frame of the program's own code."""
    from gevent._blocking import is_library

    if not stack:
        return None
    own = (frame for frame in stack if not is_library(frame[1]))
    name, file, line = next(own, stack[0])
    return f"{name} ({file}:{line})"


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
        "loop": _of_loop(loop),
    }
    pool = hub._threadpool
    found["threadpool"] = (
        None if pool is None else {"threads": pool.size, "most": pool.maxsize, "tasks": len(pool)}
    )
    resolver = hub._resolver
    found["resolver"] = None if resolver is None else type(resolver).__name__
    return found


def _look_ups() -> dict[str, int]:
    common = sys.modules.get("gevent._socketcommon")
    counted = {"begun": 0, "ended": 0, "failed": 0} if common is None else dict(common.look_ups)
    ended = counted.pop("ended")
    return {**counted, "running": max(0, counted["begun"] - ended)}


def _walk(found: dict[str, Any]) -> None:
    """Add the numbers that require a walk over all objects."""
    from gevent._wait_graph import WaitGraph
    from gevent._waits import instances_of

    # If the program has not imported gevent.pool, there are no pools.
    module = sys.modules.get("gevent.pool")
    classes = [RawGreenlet] if module is None else [RawGreenlet, module.Pool]
    greenlets, *pools = instances_of(*classes)
    graph = WaitGraph(greenlets)
    found["waits"] = graph.by_call()
    found["waits_by_kind"] = graph.by_kind()
    found["memory"]["saved_stacks_bytes"] = sum(one._stack_saved for one in greenlets)
    found["pools"] = _of_pools(pools[0] if pools else [])


def _of_pools(pools: list[Any]) -> dict[str, int]:
    """Return the number of pools, their sizes in total, and how much of these is used."""
    used = limited = room = full = 0
    for pool in pools:
        running = len(pool.greenlets)
        used += running
        if isinstance(pool.size, int):
            limited += 1
            room += pool.size
            full += running >= pool.size
    return {"pools": len(pools), "limited": limited, "room": room, "running": used, "full": full}


def stats(waits: bool = False) -> dict[str, Any]:
    """Return the numbers that ``gevent.util.stats`` documents."""
    measure_runs()
    made, ended = greenlet_counters()
    resident, used = frame_memory()
    found: dict[str, Any] = {
        "pid": os.getpid(),
        "implementation": sys.modules["gevent"].__implementation__,
        "resident_bytes": _resident(),
        "memory": {"frames_bytes": resident, "frames_used_bytes": used},
        "greenlets": {"made": made, "ended": ended, "alive": made - ended},
        "hubs": [_of_hub(hub) for hub in all_hubs()],
        "look_ups": _look_ups(),
    }
    # Only an engine that was built with the HTTP server has this.
    http = getattr(_core, "http_statistics", None)
    if http is not None:
        found["http"] = http()
    if waits:
        _walk(found)
    from gevent._blocking import running_sampler

    sampler = running_sampler()
    if sampler is not None:
        found["blocking"] = sampler.as_dict()
    return found
