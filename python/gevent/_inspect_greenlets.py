"""The greenlets of the process as its view shows them, and the order to end one."""

from __future__ import annotations

import itertools
import sys
import traceback
import weakref
from typing import Any

from greenlet import getcurrent

from gevent._stats import all_hubs
from gevent._wait_graph import WaitGraph
from gevent._waits import all_greenlets, named

__all__ = ["KillRefused", "Listing"]

#: The most greenlets that one answer has.
MOST = 5000


class KillRefused(Exception):
    """A greenlet cannot be killed. The message is one line for people."""


def _root_of(greenlet: Any) -> Any:
    while greenlet.parent is not None:
        greenlet = greenlet.parent
    return greenlet


def _spawner_of(greenlet: Any) -> Any:
    spawner = getattr(greenlet, "spawning_greenlet", None)
    spawner = spawner() if spawner is not None and not hasattr(spawner, "parent") else spawner
    return greenlet.parent if spawner is None else spawner


def _title(greenlet: Any) -> str:
    if greenlet.parent is None:
        return "the main greenlet"
    frame = greenlet.gr_frame
    body = ""
    while frame is not None:
        body, frame = frame.f_code.co_qualname, frame.f_back
    return f"{named(greenlet)[1:-1].partition(' at 0x')[0]} {body}".strip()


class Listing:
    """Lists the living greenlets, and remembers by numbers which ones it has shown.

    The memory address of a greenlet is used again once it has ended, a number never is. So a
    request for the stack or the end of a greenlet that was shown can reach no other greenlet.
    """

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._shown: dict[int, tuple[Any, int]] = {}
        self._by_number: dict[int, Any] = {}

    def all(self, stacks: bool = True, most: int = MOST) -> dict[str, Any]:
        """Return the living greenlets, without calling any of the program's code.

        :param stacks: True to include the stack of each.
        :param most: The most greenlets to list; ``"left_out"`` is the number of the others.
        """
        mine = getcurrent()
        living = [one for one in all_greenlets() if (one or one.parent is None) and one is not mine]
        graph = WaitGraph(living)
        hubs = {id(hub): hub for hub in all_hubs()}
        frames = sys._current_frames()
        threads = {id(_root_of(hub)): hub.thread_ident for hub in hubs.values()}
        active = {hub.loop.active_ident for hub in hubs.values() if not hub.loop.polling}
        shown: dict[int, tuple[Any, int]] = {}
        entries: list[dict[str, Any]] = []
        left_out = 0
        for one in living:
            thread = threads.get(id(_root_of(one)))
            if thread is None:
                # Its thread has no hub, as the view's own thread has none.
                continue
            if len(entries) >= most:
                left_out += 1
                continue
            hub = hubs.get(id(one))
            wait = graph.wait(one)
            entry: dict[str, Any] = {
                "id": f"{id(one):#x}",
                "number": self._number(one, shown),
                "name": "the hub" if hub is not None else _title(one),
                "spawned_by": None if one.parent is None else f"{id(_spawner_of(one)):#x}",
                "thread": thread,
                "state": "waiting" if wait else "running" if id(one) in active else "ready",
                "wait": None,
                "seconds": None,
                "killable": hub is None and one.parent is not None,
            }
            if hub is not None and hub.loop.polling:
                entry["state"] = "polling"
            if wait is not None:
                entry["wait"] = wait.text(graph.others(one)).partition(" s in ")[2]
                entry["seconds"] = round(wait.seconds, 3)
            if stacks:
                frame = one.gr_frame
                if frame is None and (id(one) in active or entry["state"] == "polling"):
                    frame = frames.get(thread)
                entry["stack"] = [] if frame is None else traceback.format_stack(frame)
            entries.append(entry)
        self._shown = shown
        self._by_number = {number: reference for reference, number in shown.values()}
        return {"greenlets": entries, "left_out": left_out}

    def _number(self, greenlet: Any, shown: dict[int, tuple[Any, int]]) -> int:
        reference, number = self._shown.get(id(greenlet), (None, 0))
        if reference is None or reference() is not greenlet:
            reference, number = weakref.ref(greenlet), next(self._numbers)
        shown[id(greenlet)] = (reference, number)
        return number

    def _find(self, number: int) -> Any:
        reference = self._by_number.get(number)
        greenlet = None if reference is None else reference()
        return None if greenlet is None or greenlet.dead else greenlet

    def stack(self, number: int) -> list[str] | None:
        """Return the stack of a greenlet that was shown; ``None`` if it has ended."""
        greenlet = self._find(number)
        if greenlet is None:
            return None
        frame = greenlet.gr_frame
        if frame is None:
            for hub in all_hubs():
                polls = hub.loop.polling
                if greenlet is hub if polls else hub.loop.active_ident == id(greenlet):
                    frame = sys._current_frames().get(hub.thread_ident)
        return [] if frame is None else traceback.format_stack(frame)

    def kill(self, number: int) -> str:
        """Schedule the end of a greenlet that was shown, by ``GreenletExit``; return its name.

        The loop of the greenlet's thread ends it, as soon as nothing blocks that loop.

        :raises KillRefused: It has ended, or it is a hub or a main greenlet.
        """
        greenlet = self._find(number)
        if greenlet is None:
            raise KillRefused("that greenlet has ended")
        hubs = all_hubs()
        if greenlet.parent is None or any(greenlet is hub for hub in hubs):
            raise KillRefused("a hub or a main greenlet cannot be killed")
        root = _root_of(greenlet)
        for hub in hubs:
            if _root_of(hub) is root:
                hub.loop.run_callback_threadsafe(_end, greenlet)
                return _title(greenlet)
        raise KillRefused("the thread of that greenlet has no hub")


def _end(greenlet: Any) -> None:
    from gevent import Greenlet, kill

    if isinstance(greenlet, Greenlet):
        greenlet.kill(block=False)
    elif not greenlet.dead:
        kill(greenlet)
