"""``python -m gevent.top PID``: the greenlets of a running program, what each waits for, its load.

The program must have a view open, see :mod:`gevent.inspect`: started with ``GEVENT_INSPECT=on``,
for one. A socket's path or an address may be given in place of the process's number.

``--once`` prints one picture and ends, ``--json`` prints everything as JSON and ends. Without them
the terminal shows a picture that is drawn anew, which takes Rich (``pip install gevent-rs[top]``).
Ctrl-C ends it. Nothing here changes the program.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

from gevent._inspect_address import Address, InspectError, ask_json, find_address

__all__ = ["main"]


class _Picture:
    """What one look at a program found, and the load since the look before."""

    def __init__(self, address: Address, token: str | None, before: _Picture | None = None) -> None:
        self.stats: dict[str, Any] = ask_json(address, "/stats.json?waits=1", token)
        found = ask_json(address, "/greenlets.json", token)
        self.greenlets: list[dict[str, Any]] = found["greenlets"]
        self.left_out: int = found["left_out"]
        self._before = before

    def summary(self) -> list[str]:
        """Return the lines about the process."""
        stats = self.stats
        loops = [hub["loop"] for hub in stats["hubs"]]
        lines = [
            f"process {stats['pid']}  {stats['implementation']}  {stats['command']}",
            f"greenlets {stats['greenlets']['alive']}  made {stats['greenlets']['made']}"
            f"  hubs {len(loops)}  ready {sum(loop['ready'] for loop in loops)}"
            f"  timers {sum(loop['timers'] for loop in loops)}"
            f"  sockets waited for {sum(loop['sockets_waited_for'] for loop in loops)}"
            f"  memory {stats['resident_bytes'] / 2**20:.0f} MiB",
        ]
        if self._before is not None:
            seconds = stats["uptime"] - self._before.stats["uptime"] or 1.0
            lines.append(
                f"processor {100 * self._since('processor_seconds') / seconds:.0f} %"
                f"  tasks {self._since('tasks') / seconds:.0f}/s"
            )
        waits = ", ".join(f"{call} {count}" for call, count in list(stats["waits"].items())[:6])
        if waits:
            lines.append(f"waiting in {waits}")
        for place in stats.get("blocking", {}).get("worst", ())[:3]:
            lines.append(
                f"blocked {place['times']} times, {place['seconds']:.1f} s: {place['name']}"
            )
        return lines

    def _since(self, key: str) -> float:
        def total(stats: dict[str, Any]) -> float:
            return sum(hub.get(key) or hub["loop"].get(key) or 0 for hub in stats["hubs"])

        assert self._before is not None
        return total(self.stats) - total(self._before.stats)

    def tree(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield each greenlet and how deep it is below a root, spawners before the spawned."""
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
            yield depth, one
            todo += [(depth + 1, child) for child in reversed(below.get(one["id"], []))]

    def rows(self) -> Iterator[tuple[str, str, str, str]]:
        """Yield the greenlet, its state, the seconds and what it waits for, of each."""
        for depth, one in self.tree():
            seconds = "" if one["seconds"] is None else f"{one['seconds']:.1f}"
            where = one["wait"] or _innermost(one["stack"])
            yield "  " * depth + one["name"], one["state"], seconds, where
        if self.left_out:
            yield f"and {self.left_out} more", "", "", ""


def _innermost(stack: list[str]) -> str:
    return stack[-1].strip().splitlines()[0] if stack else ""


def _print_once(picture: _Picture) -> None:
    for line in picture.summary():
        print(line)
    print()
    rows = [("GREENLET", "STATE", "SECONDS", "WAITS FOR"), *picture.rows()]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for name, state, seconds, where in rows:
        line = f"{name:{widths[0]}}  {state:{widths[1]}}  {seconds:>{widths[2]}}  {where}"
        print(line.rstrip())


def _watch(address: Address, token: str | None, interval: float) -> None:
    try:
        from rich.console import Console, Group
        from rich.live import Live
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        raise InspectError(
            "the live picture takes Rich (pip install gevent-rs[top]); --once works without"
        ) from None

    def drawn(picture: _Picture) -> Group:
        table = Table("greenlet", "state", "seconds", "waits for", expand=True, box=None)
        table.columns[2].justify = "right"
        summary = picture.summary()
        room = max(3, console.size.height - len(summary) - 3)
        rows = list(picture.rows())
        for row in rows[:room]:
            style = {"running": "bold green", "ready": "yellow"}.get(row[1])
            table.add_row(
                *(Text(cell, no_wrap=True, overflow="ellipsis") for cell in row), style=style
            )
        if len(rows) > room:
            table.add_row(f"and {len(rows) - room} more rows")
        return Group(*(Text(line, no_wrap=True, overflow="ellipsis") for line in summary), table)

    console = Console()
    picture = _Picture(address, token)
    with Live(drawn(picture), console=console, screen=True, auto_refresh=False) as live:
        while True:
            time.sleep(interval)
            picture = _Picture(address, token, _without_past(picture))
            live.update(drawn(picture), refresh=True)


def _without_past(picture: _Picture) -> _Picture:
    picture._before = None
    return picture


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m gevent.top",
        description="Show the greenlets of a running program and what each waits for.",
        epilog="The program must have been started with GEVENT_INSPECT=on, or have called "
        "gevent.inspect.open_view().",
    )
    parser.add_argument("target", help="the number of a process, a socket's path or an address")
    parser.add_argument("--once", action="store_true", help="print one picture and end")
    parser.add_argument("--json", action="store_true", help="print everything as JSON and end")
    parser.add_argument("--interval", type=float, default=2.0, help="seconds between pictures")
    parser.add_argument(
        "--token",
        default=os.environ.get("GEVENT_INSPECT_TOKEN"),
        help="what a view on a loopback address asks for (default: GEVENT_INSPECT_TOKEN)",
    )
    options = parser.parse_args(arguments)
    if not options.interval > 0:
        parser.error("--interval must be positive")
    try:
        address = find_address(options.target)
        if options.json:
            picture = _Picture(address, options.token)
            whole = {
                "stats": picture.stats,
                "greenlets": picture.greenlets,
                "left_out": picture.left_out,
            }
            print(json.dumps(whole, indent=1))
        elif options.once:
            _print_once(_Picture(address, options.token))
        else:
            _watch(address, options.token, options.interval)
    except InspectError as error:
        print(f"gevent.top: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
