"""Groups of greenlets, and pools: groups with a limited number of greenlets.

A :class:`Group` keeps greenlets until they are over, so that they can be waited for or killed
together. A :class:`Pool` does so too; a caller that adds a greenlet to a full one waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from queue import Full as QueueFull
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from gevent import monkey as _monkey  # noqa: F401
from gevent import queue as _queue  # noqa: F401
from gevent._config import config
from gevent._core import BaseGroup, BasePool, getcurrent, sleep
from gevent._imap import IMap, IMapUnordered
from gevent._module_getattr import old_names
from gevent.event import Event
from gevent.exceptions import GreenletExit
from gevent.greenlet import Greenlet, killall
from gevent.hub import kill
from gevent.lock import DummySemaphore, Semaphore
from gevent.timeout import Timeout

__all__ = ["Group", "Pool", "PoolFull"]

_P = ParamSpec("_P")
_T = TypeVar("_T")
_S = TypeVar("_S")
_S2 = TypeVar("_S2")


if not TYPE_CHECKING:
    __getattr__ = old_names(__name__)


class pass_value:
    """A link that calls *callback* with the value of what ended, if it ended well."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[Any], object]) -> None:
        self.callback: Callable[[Any], object] = callback

    def __call__(self, source: Any) -> None:
        if source.successful():
            self.callback(source.value)

    def __hash__(self) -> int:
        return hash(self.callback)

    def __eq__(self, other: object) -> bool:
        return self.callback == getattr(other, "callback", other)

    def __str__(self) -> str:
        return str(self.callback)

    def __repr__(self) -> str:
        return repr(self.callback)

    def __getattr__(self, item: str) -> Any:
        return getattr(self.callback, item)


class GroupMappingMixin:
    """Calls of functions, one by one or for many items, over a method ``spawn``."""

    __slots__ = ()

    def spawn(self, func: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Any:
        """Start a call of *func*; return a greenlet or something like one."""
        raise NotImplementedError

    def _apply_immediately(self) -> bool:
        # True if ``spawn``, or waiting for its result, might wait for the caller itself.
        return False

    def _apply_async_use_greenlet(self) -> bool:
        # True if ``spawn`` might block.
        return False

    def _apply_async_cb_spawn(self, callback: Callable[[Any], object], result: Any) -> None:
        Greenlet.spawn(callback, result)

    def apply_cb(
        self,
        func: Callable[..., _T],
        args: Iterable[Any] | None = None,
        kwds: Mapping[str, Any] | None = None,
        callback: Callable[[_T], object] | None = None,
    ) -> _T:
        """Return what :meth:`apply` does; then *callback* is called with it, in a greenlet.

        The callback is not called if the function raises.
        """
        result = self.apply(func, args, kwds)
        if callback is not None:
            self._apply_async_cb_spawn(callback, result)
        return result

    def apply_async(
        self,
        func: Callable[..., _T],
        args: Iterable[Any] | None = None,
        kwds: Mapping[str, Any] | None = None,
        callback: Callable[[_T], object] | None = None,
    ) -> Greenlet[..., _T]:
        """Like :meth:`apply`, but return a greenlet at once whose result is the function's.

        :param callback: Called with the result, unless the function raises. It may block.
        """
        if self._apply_async_use_greenlet():
            return Greenlet.spawn(self.apply_cb, func, args, kwds, callback)
        greenlet: Greenlet[..., _T] = self.spawn(func, *(args or ()), **(kwds or {}))
        if callback is not None:
            greenlet.link(pass_value(callback))
        return greenlet

    def apply(
        self,
        func: Callable[..., _T],
        args: Iterable[Any] | None = None,
        kwds: Mapping[str, Any] | None = None,
    ) -> _T:
        """Call ``func(*args, **kwds)`` in a greenlet and return its result, or raise its error.

        A greenlet of this group calls the function itself, so that it does not wait for its own
        place.
        """
        args = () if args is None else args
        kwds = {} if kwds is None else kwds
        if self._apply_immediately():
            return func(*args, **kwds)
        result: _T = self.spawn(func, *args, **kwds).get()
        return result

    def map_cb(
        self,
        func: Callable[[_S], _T],
        iterable: Iterable[_S],
        callback: Callable[[list[_T]], object] | None = None,
    ) -> list[_T]:
        """Return what :meth:`map` does, after a call of *callback* with it."""
        result = self.map(func, iterable)
        if callback is not None:
            callback(result)
        return result

    def map_async(
        self,
        func: Callable[[_S], _T],
        iterable: Iterable[_S],
        callback: Callable[[list[_T]], object] | None = None,
    ) -> Greenlet[..., list[_T]]:
        """Return a greenlet that does what :meth:`map_cb` does."""
        return Greenlet.spawn(self.map_cb, func, iterable, callback)

    def map(self, func: Callable[[_S], _T], iterable: Iterable[_S]) -> list[_T]:
        """Return the results of *func* for each item of *iterable*, in the order of the items.

        The first error that a call raises, in that order, is raised; the other calls go on.
        """
        return list(self.imap(func, iterable))

    @overload
    def imap(
        self, func: Callable[[_S], _T], iterable: Iterable[_S], /, *, maxsize: int | None = None
    ) -> IMap[_T]: ...

    @overload
    def imap(
        self,
        func: Callable[[_S, _S2], _T],
        iterable1: Iterable[_S],
        iterable2: Iterable[_S2],
        /,
        *,
        maxsize: int | None = None,
    ) -> IMap[_T]: ...

    @overload
    def imap(
        self,
        func: Callable[..., _T],
        iterable1: Iterable[Any],
        iterable2: Iterable[Any],
        iterable3: Iterable[Any],
        /,
        *iterables: Iterable[Any],
        maxsize: int | None = None,
    ) -> IMap[_T]: ...

    def imap(
        self, func: Callable[..., _T], *iterables: Iterable[Any], maxsize: int | None = None
    ) -> IMap[_T]:
        """Return an iterator over the results of *func*, in the order of the items.

        The calls are made at once, whether or not results are asked for. With several iterables,
        each call gets an item of each, until the shortest ends. ``next()`` on the iterator raises
        what the call raised; the one after that goes on.

        :param maxsize: The most calls that may be begun whose results are not read;
            ``None`` for any number.
        """
        results: IMap[_T] = self._imap(IMap, func, iterables, maxsize)
        return results

    @overload
    def imap_unordered(
        self, func: Callable[[_S], _T], iterable: Iterable[_S], /, *, maxsize: int | None = None
    ) -> IMapUnordered[_T]: ...

    @overload
    def imap_unordered(
        self,
        func: Callable[[_S, _S2], _T],
        iterable1: Iterable[_S],
        iterable2: Iterable[_S2],
        /,
        *,
        maxsize: int | None = None,
    ) -> IMapUnordered[_T]: ...

    @overload
    def imap_unordered(
        self,
        func: Callable[..., _T],
        iterable1: Iterable[Any],
        iterable2: Iterable[Any],
        iterable3: Iterable[Any],
        /,
        *iterables: Iterable[Any],
        maxsize: int | None = None,
    ) -> IMapUnordered[_T]: ...

    def imap_unordered(
        self, func: Callable[..., _T], *iterables: Iterable[Any], maxsize: int | None = None
    ) -> IMapUnordered[_T]:
        """Like :meth:`imap`, but results come in the order in which the calls end."""
        results: IMapUnordered[_T] = self._imap(IMapUnordered, func, iterables, maxsize)
        return results

    def _imap(
        self,
        cls: type[Any],
        func: Callable[..., Any],
        iterables: Sequence[Iterable[Any]],
        maxsize: int | None,
    ) -> Any:
        if len(iterables) == 1:
            return cls.spawn(func, iterables[0], self.spawn, maxsize)
        return cls.spawn(func, zip(*iterables, strict=False), self.spawn, maxsize, _zipped=True)


class Group(BaseGroup, GroupMappingMixin):
    """A collection of greenlets that removes those that have ended.

    :meth:`spawn` starts a greenlet in it, :meth:`join` waits until none is left, :meth:`kill` ends
    all. ``map``, ``imap`` and their like call a function for many items, each in a greenlet of its
    own. Other than an executor of :mod:`concurrent.futures` it has no size; see :class:`Pool`.

    :param args: At most one: an iterable of greenlets, which are added.

    Example::

        group = Group()
        group.spawn(print, "one of many")
        group.join(timeout=5, raise_error=True)
        assert group.map(abs, [-1, -2]) == [1, 2]
    """

    #: The class of the greenlets that :meth:`spawn` makes.
    greenlet_class: type[Greenlet] = Greenlet

    def __init__(self, *args: Iterable[Any]) -> None:
        assert len(args) <= 1, args
        self._empty_event = Event()
        self._empty_event.set()
        for greenlet in args[0] if args else ():
            self.add(greenlet)

    def spawn_link(self, *args: Any, **kwargs: Any) -> Greenlet:
        """Spawn ``function(*args)``; its end is raised in the current greenlet. Of gevent 0.13."""
        return self._spawn_linked("link", args, kwargs)

    def spawn_link_value(self, *args: Any, **kwargs: Any) -> Greenlet:
        """Like :meth:`spawn_link`, only if the function returns."""
        return self._spawn_linked("link_value", args, kwargs)

    def spawn_link_exception(self, *args: Any, **kwargs: Any) -> Greenlet:
        """Like :meth:`spawn_link`, only if the function raises."""
        return self._spawn_linked("link_exception", args, kwargs)

    def _spawn_linked(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Greenlet:
        from gevent.compat.links import spawn_linked

        return spawn_linked(self, method, args, kwargs, stacklevel=4)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {hex(id(self))} {self.greenlets}>"

    def __len__(self) -> int:
        return len(self.greenlets)

    def __contains__(self, item: object) -> bool:
        return item in self.greenlets

    def __iter__(self) -> Iterator[Any]:
        return iter(self.greenlets)

    def full(self) -> bool:
        """Return true if the next greenlet would have to wait. For a group that is never so."""
        return False

    def wait_available(self, timeout: float | None = None) -> int | None:
        """Wait until there is room for a greenlet. A group always has room."""

    def join(self, timeout: float | None = None, raise_error: bool = False) -> bool:
        """Wait until no greenlet is left.

        :param timeout: The most seconds to wait; ``None`` for no limit.
        :param raise_error: True to raise, afterwards, the error of a greenlet that is in the
            group now.
        :returns: True if the group is empty.
        """
        greenlets = list(self.greenlets) if raise_error else ()
        empty = self._empty_event._wait_as_part_of(self, timeout)
        for greenlet in greenlets:
            if getattr(greenlet, "exception", None) is not None:
                greenlet.get()
        return empty

    def kill(
        self, exception: Any = GreenletExit, block: bool = True, timeout: float | None = None
    ) -> None:
        """Raise *exception* in every greenlet of the group, and in those that it gets meanwhile.

        :param block: True to wait until all of them are over.
        :param timeout: The most seconds to wait; nothing is raised after that.
        """
        with Timeout(timeout, False):
            while doomed := self.greenlets - self.dying:
                self.dying.update(doomed)
                killall(doomed, exception, block)
                if not block:
                    return
                if not doomed.isdisjoint(self.greenlets):
                    # The hub calls the links that remove the greenlets; raw ones have no links.
                    sleep(0)
                for greenlet in doomed:
                    if greenlet.dead:
                        self.discard(greenlet)
            if block and self.greenlets:
                # Another greenlet is killing them.
                self._empty_event._wait_as_part_of(self)

    def killone(
        self,
        greenlet: Any,
        exception: Any = GreenletExit,
        block: bool = True,
        timeout: float | None = None,
    ) -> None:
        """Raise *exception* in one greenlet; nothing happens when it is not in the group.

        :param block: True to wait until it is over, for at most *timeout* seconds.
        """
        if greenlet in self.greenlets and greenlet not in self.dying:
            self.dying.add(greenlet)
            kill(greenlet, exception)
            if block:
                greenlet.join(timeout)

    def _apply_immediately(self) -> bool:
        return getcurrent() in self.greenlets

    def _apply_async_use_greenlet(self) -> bool:
        return self.full()


class PoolFull(QueueFull):
    """Raised when a pool has no room for a greenlet, at once or in time."""


class Pool(BasePool, Group):
    """A group of at most *size* greenlets; adding one to a full pool waits until one is over.

    Whoever spawns into a full pool waits, also a greenlet of that pool: if all of them do, none
    ever ends. Let such work go through a :class:`gevent.queue.Queue`. Other than an executor of
    :mod:`concurrent.futures` it keeps no tasks: ``spawn`` waits instead.

    :param size: The number of greenlets, ``None`` for any.
    :param greenlet_class: The class of the greenlets that :meth:`spawn` makes.
    :raises ValueError: *size* is negative, or by the setting ``compat`` 0.

    Example::

        pool = Pool(20)
        for answer in pool.imap_unordered(fetch, addresses):
            print(answer)
    """

    def __init__(
        self, size: int | None = None, greenlet_class: type[Greenlet] | None = None
    ) -> None:
        if size is not None and size < 0:
            raise ValueError(f"size must not be negative: {size!r}")
        if size == 0 and config.compat:
            raise ValueError("size must not be 0: nothing could ever be spawned")
        super().__init__()
        #: The greatest number of greenlets. Changing it does not change what the pool lets in.
        self.size: int | None = size
        if greenlet_class is not None:
            self.greenlet_class = greenlet_class
        self._semaphore = DummySemaphore() if size is None else Semaphore(size)

    def wait_available(self, timeout: float | None = None) -> int:
        """Wait until there is room for a greenlet, for at most *timeout* seconds.

        :returns: The number of greenlets that there is room for.
        """
        return self._semaphore.wait(timeout=timeout)

    def full(self) -> bool:
        """Return true if there is no room for a greenlet."""
        return self.free_count() <= 0

    def free_count(self) -> int:
        """Return the number of greenlets that there is room for; 1 if there is no limit."""
        return 1 if self.size is None else max(0, self.size - len(self))
