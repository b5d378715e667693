"""The part of an event loop that is in the engine: ready queue, timers, turns and transports."""

from __future__ import annotations

import asyncio
from asyncio import base_events as _base
from asyncio import format_helpers, selector_events, sslproto
from contextvars import Context
from types import MethodType
from typing import Any

from gevent._core import AsyncioLoop
from gevent.aio._selector import AdaptedSelector, HubSelector
from gevent.aio._sockets import SocketOperations
from gevent.aio._transports import DatagramTransport, SocketTransport, is_plain

__all__ = ["FastLoop"]

_RUN_ONCE = AsyncioLoop._run_once
_PROCESS_EVENTS: Any = vars(selector_events.BaseSelectorEventLoop)["_process_events"]


class FastLoop(AsyncioLoop, SocketOperations, asyncio.SelectorEventLoop):
    """An event loop of asyncio whose turns and stream transports are the engine's.

    :param selector: The selector that has the descriptors of :meth:`add_reader` and the like.
    """

    _selector: HubSelector | AdaptedSelector

    def __init__(self, selector: HubSelector | AdaptedSelector) -> None:
        super().__init__(selector)
        selector.loop = self
        if isinstance(selector, HubSelector):
            self.watch_own_selector()
        else:
            # The hub cannot watch the selector that the program made, so each turn polls it.
            run_once: Any = vars(_base.BaseEventLoop)["_run_once"]
            self._run_once = MethodType(run_once, self)  # type: ignore[method-assign]

    def run_forever(self) -> None:
        """Run until :meth:`stop` is called, while other greenlets run too."""
        overridden = "_run_once" in self.__dict__ or type(self)._run_once is not _RUN_ONCE
        self._follow_hub()
        try:
            self._runs_on = not overridden
            super().run_forever()
        finally:
            self._runs_on = False

    def watch_own_selector(self) -> None:
        """Have the hub watch the descriptor of the selector, which is new, while the loop runs."""
        selector: Any = self._selector
        overridden = type(self)._process_events is not _PROCESS_EVENTS  # type: ignore[attr-defined]
        self._watch_selector(selector.fileno(), None if overridden else selector.keys_by_fd)

    def _poll_selector(self) -> None:
        # This is called where the method of asyncio's loop is overridden.
        selector: Any = self._selector
        self._process_events(selector.poll())  # type: ignore[attr-defined]

    def close(self) -> None:
        """Close the loop: nothing can be run in it any more."""
        super().close()
        if self._closed:
            self._watch_selector(-1)
            self._release()

    def _callback_failed(self, handle: Any, error: BaseException) -> None:
        callback, args = handle._callback, handle._args
        source = format_helpers._format_callback_source(callback, args)
        context = {
            "message": f"Exception in callback {source}",
            "exception": error,
            "handle": handle,
        }
        if handle._source_traceback:
            context["source_traceback"] = handle._source_traceback
        self.call_exception_handler(context)

    def _io_failed(self, served: Any, what: str, error: BaseException) -> None:
        context = {"message": f"Exception while {what} of {served!r}", "exception": error}
        if isinstance(served, SocketTransport | DatagramTransport):
            context["transport"] = served
        self.call_exception_handler(context)

    def _run_in_debug_mode(self, handle: Any) -> None:
        if handle._cancelled:
            return
        self._current_handle = handle
        try:
            began = self.time()
            handle._run()
            took = self.time() - began
            if took >= self.slow_callback_duration:
                what = _base._format_handle(handle)  # type: ignore[attr-defined]
                log = _base.logger  # type: ignore[attr-defined]
                log.warning("Executing %s took %.3f seconds", what, took)
        finally:
            self._current_handle = None
            # The traceback of an error that a task keeps refers to this frame, which must not keep
            # the handle alive, and with it the task.
            del handle

    def _make_socket_transport(
        self,
        sock: Any,
        protocol: Any,
        waiter: Any = None,
        *,
        extra: dict[str, Any] | None = None,
        server: Any = None,
        context: Context | None = None,
    ) -> Any:
        if not is_plain(sock):
            by_asyncio: Any = super()._make_socket_transport  # type: ignore[misc]
            of_context = {} if context is None else {"context": context}
            return by_asyncio(sock, protocol, waiter, extra=extra, server=server, **of_context)
        return SocketTransport(self, sock, protocol, waiter, extra, server, context)

    def _make_datagram_transport(
        self,
        sock: Any,
        protocol: Any,
        address: Any = None,
        waiter: Any = None,
        extra: dict[str, Any] | None = None,
        context: Context | None = None,
    ) -> Any:
        if not is_plain(sock):
            by_asyncio: Any = super()._make_datagram_transport  # type: ignore[misc]
            of_context = {} if context is None else {"context": context}
            return by_asyncio(sock, protocol, address, waiter, extra, **of_context)
        return DatagramTransport(self, sock, protocol, address, waiter, extra, context)

    def _make_ssl_transport(
        self,
        rawsock: Any,
        protocol: Any,
        sslcontext: Any,
        waiter: Any = None,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        extra: dict[str, Any] | None = None,
        server: Any = None,
        context: Context | None = None,
        **timeouts: Any,
    ) -> Any:
        self._ensure_fd_no_transport(rawsock)
        tls = sslproto.SSLProtocol(
            self, protocol, sslcontext, waiter, server_side, server_hostname, **timeouts
        )
        self._make_socket_transport(rawsock, tls, extra=extra, server=server, context=context)
        return tls._app_transport
