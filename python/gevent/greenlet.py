"""The greenlets that the hub schedules, and functions on many of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, overload

from greenlet import GreenletExit
from greenlet import greenlet as RawGreenlet

from gevent._core import (
    FailureSpawnedLink as FailureSpawnedLink,
)
from gevent._core import (
    Greenlet,
    check_killed,
    getcurrent,
    join_greenlets,
    kill_greenlets,
    sleep,
)
from gevent._core import (
    SpawnedLink as SpawnedLink,
)
from gevent._core import (
    SuccessSpawnedLink as SuccessSpawnedLink,
)
from gevent._module_getattr import old_names
from gevent._waiting import _W, iwait, wait
from gevent.timeout import Timeout

__all__ = ["Greenlet", "joinall", "killall"]


if not TYPE_CHECKING:
    __getattr__ = old_names(__name__)


@overload
def joinall(
    greenlets: None,
    timeout: float | None = None,
    raise_error: bool = False,
    count: int | None = None,
) -> bool: ...


@overload
def joinall(
    greenlets: Iterable[_W],
    timeout: float | None = None,
    raise_error: bool = False,
    count: int | None = None,
) -> list[_W]: ...


def joinall(
    greenlets: Iterable[Any] | None,
    timeout: float | None = None,
    raise_error: bool = False,
    count: int | None = None,
) -> list[Any] | bool:
    """Wait until *greenlets*, or *count* of them, are over.

    :param greenlets: The greenlets, or other objects with ``rawlink()`` and ``unlink()``.
        ``None`` waits until the loop has nothing left to do, as :func:`gevent.wait` does.
    :param timeout: The most seconds to wait; ``None`` for no limit.
    :param raise_error: True to raise the error of the first greenlet that ends with one, at
        once. Otherwise errors stay with their greenlets.
    :returns: A list of those that are over, in the order in which they ended.
    """
    if greenlets is None:
        return wait(None, timeout, count)
    greenlets = list(greenlets)
    if raise_error:
        over = []
        with iwait(greenlets, timeout, count) as ended:
            for greenlet in ended:
                if getattr(greenlet, "exception", None) is not None:
                    greenlet.get()
                over.append(greenlet)
        return over
    if greenlets and count is None and all(isinstance(each, Greenlet) for each in greenlets):
        return join_greenlets(greenlets, timeout)
    return wait(greenlets, timeout, count)


def killall(
    greenlets: Iterable[RawGreenlet],
    exception: type[BaseException] | BaseException = GreenletExit,
    block: bool = True,
    timeout: float | None = None,
) -> None:
    """Raise *exception* in every one of *greenlets*; those that have not begun never will.

    :param greenlets: Greenlets of the calling thread, raw ones too.
    :param block: True to wait until they are over. Those that catch the exception may go on.
    :param timeout: The most seconds to wait.
    :raises gevent.Timeout: not all of them were over by then.
    """
    doomed = list(greenlets)
    coming = kill_greenlets(doomed, exception)
    if not block or not doomed:
        return
    limit = Timeout.start_new(timeout)
    try:
        if coming:
            # Right behind the last exception; raw greenlets cannot be joined.
            sleep(0)
        # The caller is among them if a shield put its kill off; it cannot wait for its own end.
        caller = getcurrent()
        waited = [each for each in doomed if isinstance(each, Greenlet) and each is not caller]
        join_greenlets(waited)
    except Timeout as expired:
        if expired is limit:
            for greenlet in doomed:
                # The error says why a greenlet could not end.
                check_killed(greenlet, timeout)
        raise
    finally:
        limit.close()
