"""Task groups: greenlets that end before the block that spawned them does.

The engine has the cancel scopes (:class:`gevent.CancelScope`) and what must not be interrupted of a
group: the end of its block, and the ends and cancellations of its children. The rest is here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar
from weakref import ref

from greenlet import GreenletExit
from greenlet import error as GreenletError

from gevent._core import CancelScope, Greenlet, GroupBlock, get_hub, spawn_in_group
from gevent.event import Event
from gevent.exceptions import (
    BlockingSwitchOutError,
    Cancelled,
    HubDestroyed,
    InvalidSwitchError,
    InvalidThreadUseError,
    LoopExit,
)
from gevent.timeout import Timeout

__all__ = ["TaskGroup", "TaskStatus"]

_P = ParamSpec("_P")
_T = TypeVar("_T")

#: An error that ends the program is raised alone, as no code looks for it in an exception group.
_ENDS_PROGRAM = (KeyboardInterrupt, SystemExit)

#: The number of errors that the wait for one child may be interrupted by.
_MOST_INTERRUPTIONS = 100

#: The errors of a wait that cannot come to an end, or cannot begin.
_CANNOT_WAIT = (
    LoopExit,
    HubDestroyed,
    BlockingSwitchOutError,
    InvalidSwitchError,
    InvalidThreadUseError,
    GreenletError,
)


class _GroupScope(CancelScope):
    """The scope of a group's body, which the exceptions of its cancellation name."""

    def __init__(self, group: TaskGroup) -> None:
        super().__init__()
        self._group = ref(group)

    def cancel(self) -> None:
        """Cancel the group, its children included."""
        group = self._group()
        if group is not None:
            group.cancel()

    def __repr__(self) -> str:
        group = self._group()
        return super().__repr__() if group is None else f"<scope of {group!r}>"


class TaskStatus:
    """Passed to the function by :meth:`TaskGroup.start`, to report that the task is ready."""

    def __init__(self, group: TaskGroup) -> None:
        self._group = group
        self._child: Greenlet | None = None
        self._changed = Event()
        self._is_started = False
        self._value: Any = None
        self._error: BaseException | None = None

    def started(self, value: Any = None) -> None:
        """Have :meth:`TaskGroup.start` return *value*; the function goes on as a child.

        Nobody gets the value if :meth:`TaskGroup.start` has been given up meanwhile.

        :raises RuntimeError: it was called before.
        """
        if self._is_started:
            raise RuntimeError("started() was called before")
        self._is_started = True
        self._value = value
        self._group._starting.pop(self._child, None)
        self._child = None
        self._changed.set()


class TaskGroup(GroupBlock):
    """A block that ends when all greenlets that were spawned in it have ended.

    ::

        with gevent.TaskGroup() as group:
            users = group.spawn(fetch, "/users")
            items = group.spawn(fetch, "/items")
        print(users.value, items.value)

    If a child ends with an error, every other child and the body get :class:`gevent.Cancelled`,
    once each. When all have ended, the block raises the errors, that of the body included, as an
    :class:`ExceptionGroup`. A ``KeyboardInterrupt`` or ``SystemExit`` is raised alone. Unlike
    with :func:`gevent.spawn` the hub prints nothing about errors that the group raises, and a
    child runs in a copy of its spawner's :mod:`contextvars` context. A child that ends by a
    :class:`gevent.GreenletExit`, because it was killed for instance, has not failed. If the block
    is in a generator that is closed, its ``GeneratorExit`` goes on alone unless there are errors.

    If the greenlet in the block is itself killed, cancelled or timed out, in the body or while it
    waits for the children, these are cancelled and waited for, and then that exception goes on,
    with the errors of the group as its ``__context__``. The hub reports them too where that is
    seen by nobody: behind a kill or cancellation, a silent timeout or a ``SystemExit``.

    A group is for one block of one greenlet. Its children may spawn into it, too.

    :param name: The name of the group in reports and ``repr()``, by default its address.
    """

    def __init__(self, name: str | None = None) -> None:
        self.name = name
        # The block's part of the engine (``GroupBlock``) reads and sets all but the name.
        self._scope = _GroupScope(self)
        self._hub: Any = None
        #: The children in the order in which they were spawned; true for those asked to end.
        self._children: dict[Greenlet, bool] = {}
        #: The children that have not called `TaskStatus.started` yet.
        self._starting: dict[Any, TaskStatus] = {}
        self._childless = Event()
        #: The errors to raise, by identity, as a child may pass on the error of another.
        self._errors: dict[int, BaseException] = {}
        #: The first exception that ends the program, if there was one.
        self._program_end: BaseException | None = None
        self._is_exiting = False
        self._is_cancelling = False
        self._is_over = False

    def __repr__(self) -> str:
        if self._hub is None:
            state = "not entered"
        elif self._is_over:
            state = "over"
        else:
            count = len(self._children)
            state = f"{count} {'child' if count == 1 else 'children'}"
        return f"<{self._label()}: {state}{', cancelled' if self._is_cancelling else ''}>"

    def _label(self) -> str:
        kind = type(self).__name__
        return f"{kind} at {id(self):#x}" if self.name is None else f"{kind} {self.name!r}"

    def spawn(
        self, function: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> Greenlet[..., _T]:
        """Spawn a child that runs ``function(*args, **kwargs)``, and return it.

        It may be called by any greenlet of the thread while the body runs or another child lives.
        The child has the value that the function returned once the block is over.

        :param function: what the child runs, with *args* and *kwargs*. It is not called if the
            group is cancelled before the child begins.
        :returns: the child, a :class:`gevent.Greenlet`.
        :raises TypeError: *function* cannot be called.
        :raises RuntimeError: the group has not been entered, is over or is being cancelled.
        :raises gevent.exceptions.InvalidThreadUseError: the group is another thread's.
        """
        # The test that is enough for most spawns takes no call of Python code.
        if self._is_cancelling or self._is_exiting or get_hub() is not self._hub:
            self._check_open("spawn into")
        return spawn_in_group(self, self._children, False, function, args, kwargs)

    def start(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Spawn a child, wait until it reports that it is ready, and return the reported value.

        The function is called with *args*, *kwargs* and a keyword argument ``task_status``, and
        reports by ``task_status.started(value)``::

            def serve(address, *, task_status):
                listener = listen(address)
                task_status.started(listener.getsockname())
                accept_forever(listener)

            address = group.start(serve, ("localhost", 0))

        An error of the child before that is raised here and does not count as an error of the
        group. If the caller is killed, cancelled or timed out meanwhile, the child is cancelled and
        waited for.

        :returns: the value that ``started()`` was given, by default None.
        :raises RuntimeError: the child ended without calling ``started()``; and as :meth:`spawn`.
        :raises TypeError: *function* cannot be called.
        """
        self._check_open("start a child in")
        status = TaskStatus(self)
        kwargs = {**kwargs, "task_status": status}
        child = spawn_in_group(self, self._children, True, function, args, kwargs)
        status._child = child
        self._starting[child] = status
        try:
            status._changed.wait()
        except BaseException as error:
            if status._is_started:
                raise
            leaving = self._give_up(child, error)
            try:
                if leaving is error:
                    raise
                raise leaving from None
            finally:
                # Exceptions refer to this frame, and must not be referred to by it.
                del leaving
        if status._is_started:
            return status._value
        try:
            if status._error is not None:
                raise status._error
            raise RuntimeError(f"{child!r} ended without calling task_status.started()")
        finally:
            # The error refers to this frame, which must not refer to it.
            status._error = None
            del child, status

    def _give_up(self, child: Greenlet, leaving: BaseException) -> BaseException:
        """Cancel a child whose start is not waited for any more, and wait for its end.

        Returns the exception to raise, which is *leaving* unless another one came meanwhile.
        """
        # An error of the child is the group's from now on.
        self._starting.pop(child, None)
        self._cancel_child(child)
        with CancelScope() as scope:
            # It stays a child, so the end of the block waits for it if this does not.
            for _ in range(_MOST_INTERRUPTIONS):
                if child.dead:
                    break
                try:
                    child.join()
                except BaseException as interruption:
                    if _is_failure(interruption, scope):
                        return interruption
                    leaving = _outranking(leaving, interruption)
        return leaving

    def _check_thread(self, what: str) -> None:
        if self._hub is not None and get_hub() is not self._hub:
            raise InvalidThreadUseError(f"cannot {what} {self!r} from another thread")

    def _check_open(self, what: str) -> None:
        self._check_thread(what)
        if self._hub is None:
            why = "has not been entered"
        elif self._is_over or (self._is_exiting and not self._children):
            why = "is finished"
        elif self._is_cancelling:
            why = "is shutting down"
        else:
            return
        raise RuntimeError(f"cannot {what} {self!r}, which {why}")

    def _interrupted(
        self, leaving: BaseException | None, error: BaseException
    ) -> tuple[BaseException, bool]:
        """Judge the *error* of a wait for the children, after which *leaving* was to be raised.

        Returns the exception that is to be raised now, and whether the children can be waited for.
        """
        if self._is_cancelling and _is_failure(error, self._scope):
            # They swallowed their cancellation and wait for what never comes, or their thread is
            # over.
            return error, False
        return _outranking(leaving, error), True

    def _raise_outcome(self, error: BaseException | None, leaving: BaseException | None) -> None:
        """Raise the exception that ends the block, unless it is *error*, which ended its body."""
        group_error = None
        try:
            if isinstance(error, GeneratorExit) and [*self._errors] == [id(error)]:
                # The generator that the block is in is closed, and must end with this very error.
                self._errors.clear()
                leaving = error if leaving is None else leaving
            if self._errors:
                group_error = BaseExceptionGroup(
                    f"unhandled errors in {self._label()}", list(self._errors.values())
                )
            if self._program_end is not None:
                leaving = self._program_end
            if leaving is None:
                if group_error is not None:
                    raise group_error from None
                return
            if group_error is not None:
                _append_context(leaving, group_error)
                if _is_silent(leaving):
                    self._report_errors()
            if leaving is error:
                return
            context = leaving.__context__
            try:
                raise leaving
            finally:
                # In place of what is being handled here.
                leaving.__context__ = context
                context = None
        finally:
            del error, leaving, group_error

    def _report_errors(self) -> None:
        """Have the hub report the errors, as the exception raised in their place will hide them."""
        for error in self._errors.values():
            self._hub.handle_error(self, type(error), error, error.__traceback__)


def _is_failure(error: BaseException, scope: CancelScope) -> bool:
    """Return true for the error of a wait itself, false for what was raised there from outside.

    The handler of a signal may have raised an error of any other class.
    """
    return isinstance(error, _CANNOT_WAIT) and not scope._came_from_outside(error)


def _is_silent(error: BaseException) -> bool:
    """Return true if nothing is printed about *error*, and so not about its context either."""
    if isinstance(error, Timeout):
        return error.exception is False
    if isinstance(error, (GreenletExit, SystemExit)):
        return True
    asyncio = sys.modules.get("asyncio.exceptions")
    return asyncio is not None and isinstance(error, asyncio.CancelledError)


def _outranking(old: BaseException | None, new: BaseException) -> BaseException:
    """Return which of two exceptions goes on that came one after the other.

    That is the new one, as it came in the middle of a clean-up. An exception that ends the program
    and a kill, which no scope or timeout swallows, outrank it.
    """
    if isinstance(old, _ENDS_PROGRAM):
        return old
    is_kill = isinstance(old, GreenletExit) and not isinstance(old, Cancelled)
    if is_kill and not isinstance(new, _ENDS_PROGRAM):
        return old  # type: ignore[return-value]
    if old is not None:
        _append_context(new, old)
    return new


def _append_context(error: BaseException, context: BaseException) -> None:
    """Make *context* the last of the exceptions in whose context *error* was raised."""
    known = set()
    at: BaseException | None = context
    while at is not None and id(at) not in known:
        known.add(id(at))
        at = at.__context__
    # Links that the two chains share stay behind *context*, so that there is no circle.
    seen = {id(error)}
    while (at := error.__context__) is not None and id(at) not in known | seen:
        seen.add(id(at))
        error = at
    if error is not context:
        error.__context__ = context
