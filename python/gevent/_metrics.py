"""The numbers of :func:`gevent.util.stats` as OpenMetrics text, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

__all__ = ["FAMILIES", "METRICS_TYPE", "Metrics", "metrics_of", "open_metrics"]

#: The type of the text.
METRICS_TYPE = "application/openmetrics-text; version=1.0.0"

#: Values by the metric's name and its label, which is empty where the metric has none.
Metrics = dict[str, dict[str, float]]


class _Family(NamedTuple):
    """A metric: its type, its help, and the name of its label if it has one."""

    kind: str
    help: str
    label: str = ""


#: The metrics by name, in the order of the text.
FAMILIES = {
    "gevent_greenlets_made": _Family("counter", "Greenlets made."),
    "gevent_greenlets_ended": _Family("counter", "Greenlets that ended."),
    "gevent_greenlets_alive": _Family("gauge", "Greenlets that were made and have not ended."),
    "gevent_greenlets_waiting": _Family(
        "gauge", "Greenlets that wait, by the kind of call.", "kind"
    ),
    "gevent_resident_bytes": _Family("gauge", "Memory of the process."),
    "gevent_frames_bytes": _Family("gauge", "Memory for the Python frames of greenlets."),
    "gevent_saved_stacks_bytes": _Family("gauge", "Memory of the stacks of suspended greenlets."),
    "gevent_hubs": _Family("gauge", "Threads that have a hub."),
    "gevent_loop_tasks": _Family("counter", "Switches, starts and callbacks that loops took up."),
    "gevent_loop_polls": _Family("counter", "Turns of loops that asked the kernel."),
    "gevent_loop_poll_seconds": _Family("counter", "Time that loops waited for events."),
    "gevent_loop_ready": _Family("gauge", "Tasks that are ready to run."),
    "gevent_loop_timers": _Family("gauge", "Deadlines that are set."),
    "gevent_loop_sockets": _Family("gauge", "Sockets that loops know."),
    "gevent_loop_sockets_waited_for": _Family("gauge", "Sockets that greenlets wait for."),
    "gevent_loop_watched": _Family("gauge", "Descriptors that are watched."),
    "gevent_loop_lag_seconds": _Family(
        "histogram", "How long loops did not look at their events, for each turn."
    ),
    "gevent_loop_longest_run_seconds": _Family(
        "gauge", "The longest time that a greenlet ran without a switch."
    ),
    "gevent_loop_blocked": _Family("counter", "Times that a loop was found to be blocked."),
    "gevent_loop_blocked_seconds": _Family("counter", "For how long loops were blocked in all."),
    "gevent_threadpool_threads": _Family("gauge", "Native threads of thread pools."),
    "gevent_threadpool_tasks": _Family("gauge", "Jobs in thread pools, waiting ones included."),
    "gevent_pools": _Family("gauge", "Pools of greenlets."),
    "gevent_pools_room": _Family("gauge", "Greenlets that pools with a limit may have in all."),
    "gevent_pools_running": _Family("gauge", "Greenlets that pools have."),
    "gevent_pools_full": _Family("gauge", "Pools that have no room left."),
    "gevent_look_ups": _Family("counter", "Look-ups of host names and addresses that began."),
    "gevent_look_ups_failed": _Family("counter", "Look-ups that failed."),
    "gevent_look_ups_running": _Family("gauge", "Look-ups under way."),
    "gevent_http_connections": _Family("gauge", "HTTP connections by state.", "state"),
    "gevent_http_connections_accepted": _Family("counter", "HTTP connections that began."),
    "gevent_http_requests": _Family("counter", "HTTP requests by class of status.", "status"),
    "gevent_http_requests_refused": _Family("counter", "Requests that could not be served."),
    "gevent_http_responses_aborted": _Family("counter", "HTTP responses that broke off."),
}

_LOOP = ("tasks", "polls", "poll_seconds", "ready", "timers", "sockets", "sockets_waited_for")


def metrics_of(found: dict[str, Any]) -> Metrics:
    """Return the numbers of :func:`gevent.util.stats` as metrics, summed over hubs."""
    metrics: Metrics = {}

    def put(name: str, value: float) -> None:
        metrics[f"gevent_{name}"] = {"": value}

    greenlets, hubs = found["greenlets"], found["hubs"]
    for key in ("made", "ended", "alive"):
        put(f"greenlets_{key}", greenlets[key])
    if "waits_by_kind" in found:
        metrics["gevent_greenlets_waiting"] = found["waits_by_kind"]
    put("resident_bytes", found["resident_bytes"])
    for key in ("frames_bytes", "saved_stacks_bytes"):
        if key in found["memory"]:
            put(key, found["memory"][key])
    put("hubs", len(hubs))
    for key in (*_LOOP, "watched"):
        put(f"loop_{key}", sum(hub["loop"][key] for hub in hubs))
    metrics["gevent_loop_lag_seconds"] = _histogram([hub["loop"]["lag"] for hub in hubs])
    longest = (hub["loop"]["longest_run"]["seconds"] for hub in hubs)
    put("loop_longest_run_seconds", max(longest, default=0.0))
    threadpools = [hub["threadpool"] for hub in hubs if hub["threadpool"] is not None]
    for key in ("threads", "tasks"):
        put(f"threadpool_{key}", sum(pool[key] for pool in threadpools))
    for key, value in found.get("pools", {}).items():
        if key != "limited":
            put("pools" if key == "pools" else f"pools_{key}", value)
    for key, value in found["look_ups"].items():
        put("look_ups" if key == "begun" else f"look_ups_{key}", value)
    if "http" in found:
        http = found["http"]
        metrics["gevent_http_connections"] = http["connections"]
        metrics["gevent_http_requests"] = http["requests"]
        put("http_connections_accepted", http["accepted"])
        put("http_requests_refused", http["refused"])
        put("http_responses_aborted", http["aborted"])
    if "blocking" in found:
        put("loop_blocked", found["blocking"]["times"])
        put("loop_blocked_seconds", found["blocking"]["seconds"])
    return metrics


def _histogram(lags: list[dict[str, Any]]) -> dict[str, float]:
    """Return the sums of classes as Prometheus counts them, each with all that are smaller."""
    totals: dict[str, float] = {"+Inf": 0}
    for lag in lags:
        below = 0
        for bound, count in lag["classes"]:
            below += count
            name = "+Inf" if bound is None else repr(float(bound))
            totals[name] = totals.get(name, 0) + below
    totals["sum"] = sum(lag["seconds"] for lag in lags)
    return totals


def open_metrics(processes: Iterable[Metrics]) -> str:
    """Return the metrics of *processes* as OpenMetrics text: summed, and the longest run's most."""
    everything = list(processes)
    lines = []
    for name, family in FAMILIES.items():
        found = [metrics[name] for metrics in everything if name in metrics]
        if not found:
            continue
        together: dict[str, float] = {}
        for values in found:
            for label, value in values.items():
                before = together.get(label, 0)
                is_most = name == "gevent_loop_longest_run_seconds"
                together[label] = max(before, value) if is_most else before + value
        lines += [f"# TYPE {name} {family.kind}", f"# HELP {name} {family.help}"]
        lines += _samples(name, family, together)
    lines += [
        "# TYPE gevent_processes gauge",
        "# HELP gevent_processes Processes that the numbers are the sums of.",
        f"gevent_processes {len(everything)}",
        "# EOF",
    ]
    return "\n".join(lines) + "\n"


def _samples(name: str, family: _Family, values: dict[str, float]) -> Iterator[str]:
    if family.kind == "histogram":
        total = values.pop("sum")
        for bound, count in sorted(values.items(), key=lambda item: float(item[0])):
            yield f'{name}_bucket{{le="{bound}"}} {count}'
        yield f"{name}_count {values['+Inf']}"
        yield f"{name}_sum {total}"
        return
    suffix = "_total" if family.kind == "counter" else ""
    for label, value in values.items():
        labels = f'{{{family.label}="{label}"}}' if family.label else ""
        yield f"{name}{suffix}{labels} {value}"
