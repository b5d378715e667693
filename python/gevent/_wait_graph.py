"""Finds which greenlets wait for each other, and reports circles of them.

An edge leads from a waiting greenlet to each one without which it cannot go on: the holder of the
lock that it waits for, the greenlet whose end it waits for, every member of the group that it waits
for, or the only one that fills the pool it spawns into. Where any of several may end a wait there
is no edge: the item of a queue, say, or one of the permits of a semaphore. So nothing but a timeout
or a kill ends the waits of a circle.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from greenlet import getcurrent
from greenlet import greenlet as RawGreenlet

from gevent._core import BaseGroup, BasePool, Greenlet, holder_of, numbers_of, waits_of
from gevent._structured import TaskGroup
from gevent._waiting import _WaitIterator
from gevent._waits import Wait, all_greenlets, instances_of, named, shields_of, titled, wait_from
from gevent.thread import _ThreadHandle, get_ident

__all__ = ["Edge", "WaitGraph", "deadlocks", "lines_about_deadlocks"]

_END = "that is the end of"
_MEMBER = "that includes the end of"
_HOLDER = "held by"

#: A report follows the waits that the main greenlet's depends on for as many steps.
_MOST_STEPS = 20


class Edge(NamedTuple):
    """One reason why a greenlet cannot go on."""

    #: The greenlet that has to do something first; ``None`` for one that has ended.
    greenlet: Any
    #: These words say what the other greenlet is to the wait; its name follows them.
    role: str


class WaitGraph:
    """The waits of all *greenlets*, by default of all there are, at this moment."""

    def __init__(self, greenlets: list[Any] | None = None) -> None:
        self._greenlets = all_greenlets() if greenlets is None else greenlets
        self._reasons = waits_of(self._greenlets)
        self._waiting = Counter(map(self._key, self._reasons.values()))
        self._edges: dict[Any, list[Edge]] = {}
        self._numbers: dict[int, Any] | None = None
        self._waiters_and_pools: tuple[dict[int, list[Any]], dict[int, Any]] | None = None

    @staticmethod
    def _key(reason: tuple[Any, ...]) -> tuple[Any, ...]:
        return (id(reason[1]), reason[2])

    def __iter__(self) -> Iterator[Any]:
        """Iterate over the greenlets that wait."""
        return iter(self._reasons)

    def __len__(self) -> int:
        """Return how many greenlets wait."""
        return len(self._reasons)

    def wait(self, greenlet: Any) -> Wait | None:
        """Return what *greenlet* waits for."""
        return wait_from(greenlet, self._reasons.get(greenlet))

    def others(self, greenlet: Any) -> int:
        """Return how many other greenlets wait for the same object or descriptors."""
        reason = self._reasons.get(greenlet)
        if reason is None or (reason[1] is None and not reason[2]):
            return 0
        return self._waiting[self._key(reason)] - 1

    def text(self, greenlet: Any) -> str | None:
        """Return the line about the wait of *greenlet*, or ``None`` if it does not wait."""
        wait = self.wait(greenlet)
        return None if wait is None else wait.text(self.others(greenlet))

    def by_call(self) -> dict[str, int]:
        """Return the number of waiting greenlets for each call."""
        return dict(
            Counter(Wait(*reason, None).call for reason in self._reasons.values()).most_common()
        )

    def by_kind(self) -> dict[str, int]:
        """Return the number of waiting greenlets for each kind of call, such as ``"get"``."""
        return dict(Counter(reason[0] for reason in self._reasons.values()).most_common())

    def edges(self, greenlet: Any) -> list[Edge]:
        """Return the greenlets without which *greenlet* cannot go on."""
        # Other threads may go on meanwhile, and all parts of a report are to say the same.
        if greenlet not in self._edges:
            self._edges[greenlet] = self._find_edges(greenlet)
        return self._edges[greenlet]

    def _find_edges(self, greenlet: Any) -> list[Edge]:
        reason = self._reasons.get(greenlet)
        if reason is None or reason[1] is None:
            return []
        kind, obj = reason[:2]
        if isinstance(obj, RawGreenlet):
            return [Edge(obj, _END)]
        if isinstance(obj, _ThreadHandle):
            return [Edge(one, _END) for one in self._greenlets if get_ident(one) == obj.ident]
        pool = self._found()[1].get(id(obj))
        if pool is not None:
            # The end of a member makes room, and not the greenlet that spawned it.
            members = list(pool.greenlets)
            return [Edge(members[0], _END)] if len(members) == 1 else []
        if kind == "acquire":
            return self._holder(greenlet, obj)
        if isinstance(obj, TaskGroup):
            return [Edge(child, _MEMBER) for child in list(obj._children)]
        awaited = list(obj.greenlets) if isinstance(obj, BaseGroup) else self._many(obj)
        return [edge for one in awaited for edge in self._edges_to_awaited(greenlet, one)]

    def _holder(self, greenlet: Any, lock: Any) -> list[Edge]:
        number = holder_of(lock)
        if number is None:
            return []
        if self._numbers is None:
            self._numbers = numbers_of(self._greenlets)
        holder = self._numbers.get(number)
        if holder is greenlet and _waits_for_notification(greenlet):
            return []
        return [Edge(holder, _HOLDER)]

    def _edges_to_awaited(self, greenlet: Any, awaited: Any) -> list[Edge]:
        if isinstance(awaited, Greenlet):
            return [] if awaited.dead else [Edge(awaited, _MEMBER)]
        return [edge for edge in self._holder(greenlet, awaited) if edge.greenlet is not greenlet]

    def _many(self, obj: Any) -> list[Any]:
        """Return the objects all of which have to be ready for *obj*, which is waited for."""
        return self._found()[0].get(id(obj), [])

    def _found(self) -> tuple[dict[int, list[Any]], dict[int, Any]]:
        """Find the objects of each waiter for several, and the pool of each semaphore, once."""
        if self._waiters_and_pools is None:
            iterators, pools = instances_of(_WaitIterator, BasePool)
            self._waiters_and_pools = (
                {id(each._waiter): each._awaited() for each in iterators if each._waiter},
                {id(pool._semaphore): pool for pool in pools if hasattr(pool, "_semaphore")},
            )
        return self._waiters_and_pools

    def cycles(self) -> list[list[Any]]:
        """Return the greenlets that wait for each other in circles, each circle once."""
        found: list[list[Any]] = []
        done: set[Any] = set()
        for start in self._reasons:
            if start in done:
                continue
            path = [start]
            places = {start: 0}
            steps = [iter(self.edges(start))]
            while path:
                edge = next(steps[-1], None)
                if edge is None:
                    done.add(path[-1])
                    del places[path.pop()]
                    steps.pop()
                elif edge.greenlet in places:
                    found.append(path[places[edge.greenlet] :])
                elif edge.greenlet is not None and edge.greenlet not in done:
                    places[edge.greenlet] = len(path)
                    path.append(edge.greenlet)
                    steps.append(iter(self.edges(edge.greenlet)))
        return found

    def clogged_pools(self) -> dict[str, int]:
        """Return the pools whose members all wait for room in them, and how many members each has.

        A pool with a single member is a circle of one greenlet instead.
        """
        return {
            named(pool): len(members)
            for pool in self._found()[1].values()
            if len(members := list(pool.greenlets)) > 1
            and all(self._reasons.get(each, (None, None))[1] is pool._semaphore for each in members)
        }

    def lock_of_ended(self, greenlet: Any) -> str | None:
        """Return the lock that *greenlet* waits for, if a greenlet holds it that has ended."""
        if any(edge.greenlet is None for edge in self.edges(greenlet)):
            return named(self._reasons[greenlet][1])
        return None

    def lines_from(self, greenlet: Any) -> Iterator[str]:
        """Return lines about the waits that the wait of *greenlet* depends on, one by one."""
        seen = {greenlet}
        for _ in range(_MOST_STEPS):
            edges = self.edges(greenlet)
            if not edges or edges[0].greenlet is None:
                return
            greenlet, role = edges[0]
            if greenlet in seen:
                return
            seen.add(greenlet)
            how = self.text(greenlet) or "suspended by a switch to another greenlet"
            yield f"  {role} {titled(greenlet)}, which is {how}{shields_of(greenlet)}"


def lines_about_deadlocks(graph: WaitGraph) -> list[str]:
    """Return lines about circles of *graph*, clogged pools, and locks whose holder has ended."""
    return [
        *_lines_about_cycles(graph),
        *(
            f"Deadlock of the {count} greenlets of {pool}, which all wait for room in it"
            for pool, count in graph.clogged_pools().items()
        ),
        *_lines_about_ended_holders(graph),
    ]


def _lines_about_cycles(graph: WaitGraph) -> list[str]:
    lines = []
    for cycle in graph.cycles():
        lines.append(
            "Deadlock of one greenlet that waits for itself:"
            if len(cycle) == 1
            else f"Deadlock of {len(cycle)} greenlets, each waiting for the next:"
        )
        for greenlet, awaited in zip(cycle, [*cycle[1:], cycle[0]], strict=True):
            lines.append(f"  {titled(greenlet)} is {graph.text(greenlet)}")
            role = next(edge.role for edge in graph.edges(greenlet) if edge.greenlet is awaited)
            lines.append(f"    {role} {titled(awaited)}")
    return lines


def _lines_about_ended_holders(graph: WaitGraph) -> list[str]:
    waiting: Counter[Any] = Counter(
        lock for greenlet in graph if (lock := graph.lock_of_ended(greenlet)) is not None
    )
    return [
        f"{lock}, for which {count} {'greenlets wait' if count > 1 else 'greenlet waits'}, "
        f"is {_HOLDER} a greenlet that has ended"
        for lock, count in waiting.items()
    ]


def _waits_for_notification(greenlet: Any) -> bool:
    """Return true for a waiter of a condition.

    Such a waiter takes a lock of its own twice, and whoever notifies it releases that.
    """
    frame = greenlet.gr_frame
    return frame is not None and frame.f_globals.get("__name__") == "gevent._condition"


def _main_greenlet(greenlet: Any) -> Any:
    while greenlet.parent is not None:
        greenlet = greenlet.parent
    return greenlet


def deadlocks() -> str:
    """Return lines about the main greenlet's wait and the greenlets that wait for each other."""
    graph = WaitGraph()
    main = _main_greenlet(getcurrent())
    lines = []
    if text := graph.text(main):
        lines.append(f"The main greenlet is {text}")
        lines.extend(graph.lines_from(main))
    return "\n".join([*lines, *lines_about_deadlocks(graph)])
