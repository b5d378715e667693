"""Inspection of a running program: its threads and greenlets, and code that blocks others."""

from __future__ import annotations

import functools
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pprint import pformat
from time import perf_counter
from types import FrameType
from typing import TYPE_CHECKING, Any, TextIO
from weakref import ref

from greenlet import getcurrent

from gevent._core import group_of, scopes_of
from gevent._module_getattr import old_names
from gevent._tracer import GreenletTracer, HubSwitchTracer, MaxSwitchTracer
from gevent._wait_graph import WaitGraph, lines_about_deadlocks
from gevent._waits import all_greenlets, waiting_for

__all__ = [
    "GreenletTree",
    "assert_switches",
    "format_run_info",
    "print_run_info",
    "stats",
    "waiting_for",
    "wrap_errors",
]


class wrap_errors:
    """A callable that does what *func* does, but returns the exceptions *errors*, not raises them.

    *errors* is an exception class or a tuple of them. An exception that leaves a greenlet is
    reported by the hub; expected outcomes are better returned::

        gevent.spawn(wrap_errors(OSError, connect), address)

    It has the attributes, the ``str()`` and the ``repr()`` of *func*.
    """

    def __init__(
        self,
        errors: type[BaseException] | tuple[type[BaseException], ...],
        func: Callable[..., Any],
    ) -> None:
        self.__errors = errors
        self.__func = func
        functools.update_wrapper(self, func, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        func = self.__func
        try:
            return func(*args, **kwargs)
        except self.__errors as error:
            return error

    def __str__(self) -> str:
        return str(self.__func)

    def __repr__(self) -> str:
        return repr(self.__func)

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "_wrap_errors__func"), name)


def print_run_info(
    thread_stacks: bool = True,
    greenlet_stacks: bool = True,
    limit: int | None = None,
    file: TextIO | None = None,
) -> None:
    """Print what :func:`format_run_info` returns to *file*, ``sys.stderr`` if ``None``."""
    lines = format_run_info(thread_stacks, greenlet_stacks, limit)
    print("\n".join(lines), file=sys.stderr if file is None else file)


def format_run_info(
    thread_stacks: bool = True,
    greenlet_stacks: bool = True,
    limit: int | None = None,
    current_thread_ident: int | None = None,
) -> list[str]:
    """Return lines that describe the threads and greenlets of the process, for people.

    Greenlets that wait for each other in a circle, and locks whose holder has ended, come last.

    :param thread_stacks: True to show the stacks of the threads.
    :param greenlet_stacks: True to show the stacks of the greenlets. The places where they were
        spawned are always shown.
    :param limit: The most entries of each stack to show; ``None`` shows all.
    :param current_thread_ident: The thread to mark as the current one, by default the caller's.
    """
    lines: list[str] = []
    _format_threads(lines, thread_stacks, limit, current_thread_ident)
    _add_title(lines, "Greenlets")
    details = {"running_stacks": greenlet_stacks, "running_stack_limit": limit}
    for tree in GreenletTree.forest():
        lines.append("---- Thread boundary")
        lines.extend(tree.format_lines(details=details))
    if deadlocked := lines_about_deadlocks(WaitGraph()):
        _add_title(lines, "Deadlocks")
        lines.extend(deadlocked)
    return lines


def _add_title(lines: list[str], title: str) -> None:
    lines.extend(("*" * 80, f"* {title}", "*" * 80))


def _format_threads(lines: list[str], stacks: bool, limit: int | None, current: int | None) -> None:
    # Not threading.enumerate(), which would take a lock and leave out threads of other origin.
    known: Any = threading
    names = {thread.ident: thread.name for thread in list(known._active.values())}
    if current is None:
        current = threading.get_ident()
    _add_title(lines, "Threads")
    for index, (ident, frame) in enumerate(sys._current_frames().items()):
        if index:
            lines.append("*" * 80)
        mark = " (CURRENT)" if ident == current else ""
        lines.append(f"Thread {hex(ident)} ({names.get(ident)}){mark}\n")
        if stacks:
            lines.append("".join(traceback.format_stack(frame, limit)))
        else:
            lines.append("\t...stack elided...")
    # It may be the one of this very call: a cycle that would keep everything below it alive.
    del frame


class GreenletTree:
    """A greenlet and the greenlets that it spawned, and those that they spawned in turn.

    ``str()`` gives the hierarchy, :meth:`format` the details; both are for people to read.
    :meth:`forest` finds the trees of all threads, :meth:`current_tree` that of the caller's.

    A greenlet that no other spawned is a child of its parent greenlet. The attribute
    ``greenlet_tree_is_root`` makes a greenlet a root of its own, and one with
    ``greenlet_tree_is_ignored`` is left out.
    """

    #: The parts that :meth:`format` shows by default.
    DEFAULT_DETAILS: dict[str, Any] = {  # noqa: RUF012 - programs change it
        "running_stacks": True,
        "running_stack_limit": None,
        "spawning_stacks": True,
        "locals": True,
    }

    #: The greenlet at the root of this tree.
    greenlet: Any = None
    #: True if the running greenlet was in this tree when the tree was made.
    is_current_tree = False

    def __init__(self, greenlet: Any) -> None:
        self.greenlet = greenlet
        #: The trees of the greenlets that it spawned.
        self.child_trees: list[GreenletTree] = []

    def add_child(self, tree: GreenletTree) -> None:
        """Add *tree* to this one, unless it is this one."""
        if tree is not self:
            self.child_trees.append(tree)

    @property
    def root(self) -> bool:
        """True if nothing is known to have spawned the greenlet of this tree."""
        return _spawner(self.greenlet) is None

    @classmethod
    def forest(cls) -> list[GreenletTree]:
        """Return the trees of all greenlets there are: one for each thread, as a rule."""
        trees = {
            greenlet: cls(greenlet)
            for greenlet in all_greenlets()
            if not getattr(greenlet, "greenlet_tree_is_ignored", False)
        }
        roots = []
        for greenlet, tree in trees.items():
            spawner = _spawner(greenlet)
            if spawner is None:
                roots.append(tree)
            elif spawner in trees:
                trees[spawner].add_child(tree)
        current = _root_of(getcurrent())
        for tree in roots:
            tree._sort()
            tree.is_current_tree = tree.greenlet is current
        return roots

    def _sort(self) -> None:
        for child in self.child_trees:
            child._sort()
        self.child_trees.sort(key=_sort_key)

    @classmethod
    def current_tree(cls) -> GreenletTree:
        """Return the tree that the running greenlet is in."""
        return next(tree for tree in cls.forest() if tree.is_current_tree)

    def __str__(self) -> str:
        return self.format(details=False)

    def format(self, details: bool | dict[str, Any] = True) -> str:
        """Return the lines of :meth:`format_lines` as one string."""
        return "\n".join(self.format_lines(details))

    def format_lines(self, details: bool | dict[str, Any] = True) -> list[str]:
        """Return the lines that show this tree.

        :param details: The details to show: all or none, or a dictionary that overrides some
            of ``DEFAULT_DETAILS``.
        """
        if isinstance(details, dict):
            shown: dict[str, Any] | None = {**self.DEFAULT_DETAILS, **details}
        else:
            shown = self.DEFAULT_DETAILS if details else None
        lines: list[str] = []
        self._add_lines(lines, shown, None, (), WaitGraph())
        return lines

    def _add_lines(
        self,
        lines: list[str],
        shown: dict[str, Any] | None,
        spawner: Any,
        last: tuple[bool, ...],
        waits: WaitGraph,
    ) -> None:
        """Add the lines of this tree, whose root *spawner* spawned.

        *last* has, for each level above and for this one, true if it is the last of its siblings.
        """
        branches = "".join("     " if is_last else " |   " for is_last in last[:-1])
        lines.append(f"{branches} +--- {self._label()}" if last else self._label())
        if shown is not None:
            rail = ("  " if last and last[0] else " :") + " " * (4 + 6 * len(last))
            for detail in self._details(shown, spawner, waits):
                lines.extend(rail + line for line in detail.splitlines())
        for index, child in enumerate(self.child_trees, 1):
            is_last = index == len(self.child_trees)
            child._add_lines(lines, shown, self.greenlet, (*last, is_last), waits)

    def _label(self) -> str:
        greenlet = self.greenlet
        label = repr(greenlet)
        if greenlet:
            return label
        if not _was_finished(greenlet):
            return f"{label}; not running"
        if greenlet.successful():
            return f"{label}; finished with value {repr(greenlet.value)[:30]}"
        return f"{label}; finished with exception {greenlet.exception!r}"

    def _details(self, shown: dict[str, Any], spawner: Any, waits: WaitGraph) -> Iterator[str]:
        greenlet = self.greenlet
        yield f"Parent: {greenlet.parent!r}"
        if wait := waits.text(greenlet):
            yield wait[:1].upper() + wait[1:]
        group = group_of(greenlet)
        if group is not None:
            yield f"Child of: {group!r}"
        for scope in scopes_of(greenlet):
            yield f"Inside: {scope!r}"
        monitor = getattr(greenlet, "gevent_monitoring_thread", None)
        if monitor is not None:
            yield f"Monitoring Thread:{monitor()!r}"
        if shown["running_stacks"]:
            frame = greenlet.gr_frame
            if frame is None and greenlet is getcurrent():
                # Its own frame would refer to itself.
                frame = sys._getframe(1)
            yield from _stack("Running:", frame, shown["running_stack_limit"])
        if shown["spawning_stacks"]:
            stack = getattr(greenlet, "spawning_stack", None)
            yield from _stack("Spawned at:", stack, shown["running_stack_limit"])
        tree_locals = getattr(greenlet, "spawn_tree_locals", None)
        # Spawned greenlets share the dictionary of their spawner.
        if tree_locals and tree_locals is not getattr(spawner, "spawn_tree_locals", None):
            yield "Spawn Tree Locals"
            yield pformat(tree_locals)
        if shown["locals"]:
            yield from _greenlet_locals(greenlet)


def _spawner(greenlet: Any) -> Any:
    """Return the greenlet that *greenlet* belongs under, ``None`` if it is a root."""
    if greenlet.parent is None or getattr(greenlet, "greenlet_tree_is_root", False):
        return None
    spawning_greenlet = getattr(greenlet, "spawning_greenlet", None)
    if isinstance(spawning_greenlet, ref):
        spawning_greenlet = spawning_greenlet()
    # A greenlet that ended is false.
    return greenlet.parent if spawning_greenlet is None else spawning_greenlet


def _root_of(greenlet: Any) -> Any:
    while (spawner := _spawner(greenlet)) is not None:
        greenlet = spawner
    return greenlet


def _sort_key(tree: GreenletTree) -> tuple[bool, int]:
    ident = getattr(tree.greenlet, "minimal_ident", None)
    # The hub, whose parent is the main greenlet, first; then in the order of creation.
    return tree.greenlet.parent.parent is not None, -1 if ident is None else ident


def _was_finished(greenlet: Any) -> bool:
    ready = getattr(greenlet, "ready", None)
    return ready is not None and ready()


def _stack(title: str, stack: FrameType | None, limit: int | None) -> Iterator[str]:
    if stack is not None:
        yield title
        yield "".join(traceback.format_stack(stack, limit))


def _greenlet_locals(greenlet: Any) -> Iterator[str]:
    from gevent.local import all_local_dicts_for_greenlet

    found = [entry for entry in all_local_dicts_for_greenlet(greenlet) if entry[1]]
    if found:
        yield "Greenlet Locals:"
    for (kind, ident), values in found:
        yield f"  Local {kind} at {hex(ident)}"
        yield from (f"    {line}" for line in pformat(values).splitlines())


def clear_stack_frames(frame: FrameType | None) -> None:
    """Drop the local variables of *frame* and of its callers, where they are not running."""
    while frame is not None:
        with suppress(RuntimeError):
            frame.clear()
        frame = frame.f_back


class _FailedToSwitch(AssertionError):
    """The body of :class:`assert_switches` kept others from running."""


class assert_switches:
    """A context manager that raises ``AssertionError`` if its body keeps others from running.

    Without *max_blocking_time* the body must switch to another greenlet, or wait, at least once.
    With it, the body may run on for that many seconds: between any two switches, or, with
    *hub_only*, before it next lets the hub run. An exception of the body is left alone::

        with assert_switches(max_blocking_time=0.05):
            handle(request)

    Every switch of the thread is traced meanwhile, which slows it down: this is for tests.
    """

    #: The hub of the thread, while the body runs.
    hub: Any = None
    #: The tracer of switches, while the body runs.
    tracer: GreenletTracer | None = None

    def __init__(self, max_blocking_time: float | None = None, hub_only: bool = False) -> None:
        self.max_blocking_time = max_blocking_time
        self.hub_only = hub_only

    def __enter__(self) -> assert_switches:
        from gevent.hub import get_hub

        self.hub = hub = get_hub()
        # With such a watcher the loop polls in the hub's own greenlet, so every wait is a switch.
        self._poll_in_hub = hub.loop.prepare(ref=False)
        self._poll_in_hub.start(lambda: None)
        if self.max_blocking_time is None:
            self.tracer = GreenletTracer()
        elif self.hub_only:
            self.tracer = HubSwitchTracer(hub, self.max_blocking_time)
        else:
            self.tracer = MaxSwitchTracer(hub, self.max_blocking_time)
        self._entered = perf_counter()
        self.tracer.monitor_current_greenlet_blocking()
        return self

    def __exit__(self, t: Any, v: Any, tb: Any) -> None:
        self._poll_in_hub.close()
        hub, tracer = self.hub, self.tracer
        self.hub = self.tracer = None
        assert tracer is not None
        tracer.kill()
        if t is not None:
            return
        blocked = tracer.did_block_hub(hub)
        if blocked:
            raise _FailedToSwitch(self._message(hub, tracer, blocked[1]))

    def _message(self, hub: Any, tracer: GreenletTracer, greenlet: Any) -> str:
        target = "To the hub" if self.hub_only else "To any greenlet"
        message = f"{target} in {perf_counter() - self._entered:.4f} seconds"
        if self.max_blocking_time is not None:
            message += f" (max allowed {self.max_blocking_time:.4f} seconds)"
        lines: Iterable[str] = tracer.did_block_hub_report(hub, greenlet, {})
        return "\n".join((message, *lines))


def stats(waits: bool = False) -> dict[str, Any]:
    """Return what the program's hubs, greenlets and pools did so far and hold now.

    Most of it comes from counters that are kept anyway, so a call costs some microseconds. The
    durations of greenlets' runs and of loops' waits are measured from the first call on, which
    makes a switch a few nanoseconds longer. It may be called in any thread. gevent has no such
    function. The keys:

    ``pid``, ``implementation``, ``resident_bytes``
        The process, its memory in bytes.
    ``memory``
        ``frames_bytes``, for the Python frames of greenlets, and ``frames_used_bytes`` of that.
    ``greenlets``
        How many :class:`gevent.Greenlet` were ``made``, how many ``ended``, and how many are
        ``alive``.
    ``hubs``
        A list with a dictionary for each thread's hub: its ``thread``, the ``processor_seconds`` of
        that, whether it is ``polling`` for events now, its ``threadpool`` (``threads``, ``most`` of
        them, ``tasks``), the class of its ``resolver``, and its ``loop``:

        - ``tasks`` taken up (switches, starts, callbacks), ``polls``, tasks ``ready``, ``timers``,
          open ``sockets`` and the ``sockets_waited_for``, ``watched`` descriptors;
        - ``poll_seconds``, for which it waited for events;
        - ``lag``, the times for which it did not look at its events: how many turns were at most so
          many seconds long (``classes``, pairs of a bound, last ``None``, and a count), their
          ``count``, their sum in ``seconds``, and the ``present`` turn's length;
        - ``longest_run`` of a greenlet without a switch: ``seconds``, the ``place`` in the program
          as it ended, ``None`` for a callback of the hub, and the ``stack``. The seconds may be too
          many by a tick of the kernel, 1 to 10 ms. Runs of less than three ticks are looked at in
          one turn of sixteen only.
    ``look_ups``
        Calls of ``getaddrinfo`` and its kin: how many have ``begun``, ``failed``, are ``running``.
    ``http``
        Connections of WSGI servers by state, requests by class of status, and how many connections
        were ``accepted``, requests ``refused``, responses ``aborted``.
    ``waits``, ``waits_by_kind``, ``pools``
        Only if *waits* is true: how many greenlets wait in which call and in which kind of call;
        how many pools of greenlets there are, how many have a limit (``limited``), their ``room``
        in all, how many greenlets they have (``running``), how many pools are ``full``; and in
        ``memory`` the ``saved_stacks_bytes`` of suspended greenlets. That goes through all objects
        that the garbage collector knows, which takes milliseconds in a big program.
    ``blocking``
        While a :class:`gevent.inspect.BlockingSampler` runs: how often (``times``) and how long
        (``seconds``) loops were blocked, and the ``worst`` places.

    :param waits: True to include the numbers that require a walk over all objects.
    """
    from gevent._stats import stats

    return stats(waits)


if not TYPE_CHECKING:
    __getattr__ = old_names(__name__)
