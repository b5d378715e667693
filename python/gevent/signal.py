"""The standard :mod:`signal`, with handlers that may block.

CPython calls a handler wherever the main thread is. Where that is a callback in the hub, a handler
that was set here is called in a greenlet of its own instead, as the callback returns.

A handler of ``SIGCHLD`` is called by the loop's child watchers, as nothing but the loop knows in
time that a child has ended and was reaped: for every child that :func:`gevent.os.fork`,
``posix_spawn`` or :mod:`gevent.subprocess` started, in a greenlet of its own, in which it may
block. All other names are those of the standard library.

To have a handler for any signal called by the loop, see :func:`gevent.signal_handler`.
"""

from __future__ import annotations

import os
import signal as _signal
import sys
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import Any

from gevent._core import SignalHandler
from gevent._module_getattr import names_of
from gevent.greenlet import Greenlet
from gevent.hub import get_hub, getcurrent
from gevent.hub import signal as signal_handler

__implements__: list[str] = ["getsignal", "set_wakeup_fd", "signal"]
__extensions__: list[str] = []
__all__ = __implements__ + __extensions__

_signal_signal = _signal.signal
_signal_getsignal = _signal.getsignal
_signal_set_wakeup_fd = _signal.set_wakeup_fd

#: The handler that was set here for ``SIGCHLD``; None if none was.
_child_handler: Any = None
#: The hub of the thread that set it. The handler runs in this hub.
_child_hub: Any = None
#: The descriptors that greenlets set, each with true if a full buffer is to be warned of.
_wakeup_fds: dict[Any, tuple[int, bool]] = {}
_child_wakeup_fd = -1
_child_wakeup_fd_warns = True


__getattr__: Callable[[str], Any] = names_of(_signal, __name__)


def _taken(handler: Any) -> Any:
    """Return the handler that is set in CPython for the program's *handler*."""
    if not callable(handler) or handler is _signal.default_int_handler:
        return handler
    return SignalHandler(handler)


def _given(handler: Any) -> Any:
    """Return the program's handler for the one that is set in CPython."""
    return handler.handler if isinstance(handler, SignalHandler) else handler


def take_handlers() -> None:
    """Let the handlers that the program set before patching block as well."""
    for signalnum in _signal.valid_signals() - {_signal.SIGCHLD}:
        handler = _signal_getsignal(signalnum)
        taken = _taken(handler)
        if taken is not handler and not isinstance(handler, SignalHandler):
            # Only the main thread sets handlers.
            with suppress(ValueError):
                _signal_signal(signalnum, taken)


def getsignal(signalnum: int) -> Any:
    """Return the handler of a signal, as :func:`signal.getsignal` does.

    For ``SIGCHLD`` it is the one that :func:`signal` was given.
    """
    if signalnum != _signal.SIGCHLD:
        return _given(_signal_getsignal(signalnum))
    if _child_handler is not None:
        return _child_handler
    # A C library may have set a handler of its own meanwhile.
    handler = _signal_getsignal(signalnum)
    return _signal.SIG_DFL if handler is None else handler


def signal(signalnum: int, handler: Any) -> Any:
    """Set the handler of a signal and return the one before, as :func:`signal.signal` does.

    One for ``SIGCHLD`` is called with ``(SIGCHLD, None)``, in a new greenlet; what it raises is
    reported by the hub. ``SIG_IGN`` and ``SIG_DFL`` mean the same for it: nothing is called, and
    children can be waited for.
    """
    global _child_handler, _child_hub

    if signalnum != _signal.SIGCHLD:
        return _given(_signal_signal(signalnum, _taken(handler)))
    if handler not in (_signal.SIG_IGN, _signal.SIG_DFL) and not callable(handler):
        raise TypeError(
            "signal handler must be signal.SIG_IGN, signal.SIG_DFL, or a callable object"
        )
    before = getsignal(signalnum)
    if _signal_getsignal(signalnum) not in (_signal.SIG_DFL, None):
        # A handler that was set before patching is replaced, as it would be without gevent.
        _signal_signal(signalnum, _signal.SIG_DFL)
    _child_handler = handler
    _child_hub = get_hub()
    return before


def set_wakeup_fd(fd: int, /, *, warn_on_full_buffer: bool = True) -> int:
    """Have the number of each handled signal written to *fd* as a byte; return the former *fd*.

    As :func:`signal.set_wakeup_fd`, whose place it takes for ``SIGCHLD``. Greenlets that each run
    an event loop may do so at the same time, unlike threads, of which only one may: each has a
    descriptor of its own, and the one that was set last counts until it is taken back.
    """
    global _child_wakeup_fd, _child_wakeup_fd_warns

    greenlet = getcurrent()
    owner = greenlet if greenlet in _wakeup_fds or fd != -1 else next(reversed(_wakeup_fds), None)
    # This raises an error if *fd* is not a descriptor, or not one that can be used for this.
    former = _signal_set_wakeup_fd(fd, warn_on_full_buffer=warn_on_full_buffer)
    before, _ = _wakeup_fds.pop(owner, (former if not _wakeup_fds else -1, True))
    if fd != -1:
        _wakeup_fds[owner] = fd, warn_on_full_buffer
    while _wakeup_fds:
        last = next(reversed(_wakeup_fds))
        _child_wakeup_fd, _child_wakeup_fd_warns = _wakeup_fds[last]
        try:
            _signal_set_wakeup_fd(_child_wakeup_fd, warn_on_full_buffer=_child_wakeup_fd_warns)
        except OSError:
            # The descriptor was closed by a greenlet that did not remove it.
            del _wakeup_fds[last]
        else:
            return before
    _child_wakeup_fd, _child_wakeup_fd_warns = -1, True
    return before


def _on_child_hook() -> None:
    """Call the program's handler, as the signal would, when a watched child has ended."""
    if _child_handler is None or isinstance(_child_handler, _signal.Handlers):
        return
    if _child_wakeup_fd != -1:
        _write_child_signal_fd(_child_wakeup_fd, _child_wakeup_fd_warns)
    if _child_hub.thread_ident == get_hub().thread_ident:
        _call_child_handler()
    else:
        # Another native thread has noticed the end.
        _child_hub.loop.run_callback_threadsafe(_call_child_handler)


def _call_child_handler() -> None:
    Greenlet.spawn(_child_handler, _signal.SIGCHLD, None)


def _write_child_signal_fd(fd: int, warn_on_full_buffer: bool) -> None:
    try:
        os.write(fd, bytes((_signal.SIGCHLD,)))
    except OSError as error:
        if warn_on_full_buffer or not isinstance(error, BlockingIOError):
            get_hub().handle_error("signal wakeup fd", type(error), error, error.__traceback__)


class _CallableModule(ModuleType):
    """This module, which in gevent 0.13 was the function that is :func:`gevent.signal_handler`."""

    def __call__(
        self, signalnum: int, handler: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> signal_handler:
        from gevent.compat import warn

        warn("gevent.signal()", "gevent.signal_handler()")
        return signal_handler(signalnum, handler, *args, **kwargs)


sys.modules[__name__].__class__ = _CallableModule
