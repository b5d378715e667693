"""The output of ``gevent.top``: a program's numbers in lines, its greenlets as a tree of rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from gevent._inspect_address import Address, ask_json

__all__ = ["Picture", "Row"]


class Row(NamedTuple):
    """The row of one greenlet."""

    greenlet: dict[str, Any]
    #: The number of spawners that are shown above it.
    depth: int

    def cells(self) -> tuple[str, str, str, str, str]:
        """Return its number, its name in the tree, its state, seconds, and what it waits for."""
        one = self.greenlet
        seconds = "" if one["seconds"] is None else f"{one['seconds']:.1f}"
        where = one["wait"] or _innermost(one.get("stack", []))
        name = "  " * self.depth + one["name"]
        return str(one["number"]), name, one["state"], seconds, where


def _one_line(command: str) -> str:
    # The text of a program that was given by -c can be long; its beginning says enough.
    words = " ".join(command.split())
    return words if len(words) <= 200 else f"{words[:200]}…"


def _innermost(stack: list[str]) -> str:
    return stack[-1].strip().splitlines()[0] if stack else ""


class Picture:
    """The data of one query of a program, and the load since the query before.

    :param stacks: True to ask for the stack of each greenlet, which costs the program the most.
    :param before: The picture before this one, for figures per second.
    """

    def __init__(
        self,
        address: Address,
        token: str | None,
        before: Picture | None = None,
        stacks: bool = True,
    ) -> None:
        self.stats: dict[str, Any] = ask_json(address, "/stats.json?waits=1", token)
        found = ask_json(address, f"/greenlets.json?stacks={int(stacks)}", token)
        self.greenlets: list[dict[str, Any]] = found["greenlets"]
        self.left_out: int = found["left_out"]
        #: The processor time that the picture cost the program, in seconds.
        self.cost: float = self.stats["cost"] + found["cost"]
        self._before = None if before is None else before.stats

    def summary(self) -> list[str]:
        """Return the lines about the process."""
        stats = self.stats
        loops = [hub["loop"] for hub in stats["hubs"]]
        lines = [
            f"process {stats['pid']}  {stats['implementation']}  {_one_line(stats['command'])}",
            f"greenlets {stats['greenlets']['alive']}  made {stats['greenlets']['made']}"
            f"  hubs {len(loops)}  ready {sum(loop['ready'] for loop in loops)}"
            f"  timers {sum(loop['timers'] for loop in loops)}"
            f"  sockets waited for {sum(loop['sockets_waited_for'] for loop in loops)}"
            f"  memory {stats['resident_bytes'] / 2**20:.0f} MiB",
            *self._load(loops),
            *self._parts(),
        ]
        waits = ", ".join(f"{call} {count}" for call, count in list(stats["waits"].items())[:6])
        if waits:
            lines.append(f"waiting in {waits}")
        for place in stats.get("blocking", {}).get("worst", ())[:3]:
            lines.append(
                f"blocked {place['times']} times, {place['seconds']:.1f} s: {place['name']}"
            )
        return lines

    def _load(self, loops: list[dict[str, Any]]) -> Iterator[str]:
        words = []
        if self._before is not None:
            seconds = self.stats["uptime"] - self._before["uptime"] or 1.0
            words.append(f"processor {100 * self._since('processor_seconds') / seconds:.0f} %")
            words.append(f"tasks {self._since('tasks') / seconds:.0f}/s")
        if lag := _percentile(loops, 0.99):
            words.append(f"loop lag 99 % under {lag}")
        longest = max((loop["longest_run"] for loop in loops), key=lambda run: run["seconds"])
        if longest["seconds"] > 0:
            where = longest["place"] or "a callback"
            words.append(f"longest run {1000 * longest['seconds']:.1f} ms: {where}")
        if words:
            yield "  ".join(words)

    def _parts(self) -> Iterator[str]:
        stats, words = self.stats, []
        http = stats.get("http")
        if http and http["accepted"]:
            states = {state: count for state, count in http["connections"].items() if count}
            shown = ", ".join(f"{state} {count}" for state, count in states.items()) or "none"
            words.append(f"http {sum(http['requests'].values())} requests, connections {shown}")
        pools = stats["pools"]
        if pools["pools"]:
            words.append(f"pools {pools['pools']} with {pools['running']}, full {pools['full']}")
        if stats["look_ups"]["begun"]:
            ups = stats["look_ups"]
            words.append(f"look-ups {ups['begun']}, failed {ups['failed']}")
        threads = [hub["threadpool"] for hub in stats["hubs"] if hub["threadpool"]]
        if threads:
            words.append(f"pool threads {sum(pool['threads'] for pool in threads)}")
        if words:
            yield "  ".join(words)

    def _since(self, key: str) -> float:
        def total(stats: dict[str, Any]) -> float:
            return sum(hub.get(key) or hub["loop"].get(key) or 0 for hub in stats["hubs"])

        assert self._before is not None
        return total(self.stats) - total(self._before)

    def rows(self) -> Iterator[Row]:
        """Yield the row of each greenlet, spawners before the spawned."""
        known = {one["id"] for one in self.greenlets}
        below: dict[str | None, list[dict[str, Any]]] = {}
        for one in self.greenlets:
            spawner = one["spawned_by"]
            below.setdefault(spawner if spawner in known else None, []).append(one)
        todo = [(0, one) for one in reversed(below.get(None, []))]
        seen = set()
        while todo:
            depth, one = todo.pop()
            if one["id"] in seen:
                continue
            seen.add(one["id"])
            yield Row(one, depth)
            todo += [(depth + 1, child) for child in reversed(below.get(one["id"], []))]


def _percentile(loops: list[dict[str, Any]], share: float) -> str | None:
    """Return, as text, the duration that this share of the turns of all loops stays below."""
    totals: dict[float | None, int] = {}
    for loop in loops:
        for bound, count in loop["lag"]["classes"]:
            totals[bound] = totals.get(bound, 0) + count
    wanted = share * sum(totals.values())
    if not wanted:
        return None
    below = 0
    for bound, count in totals.items():
        below += count
        if below >= wanted and bound is not None:
            return f"{1000 * bound:g} ms"
    return "any bound"
