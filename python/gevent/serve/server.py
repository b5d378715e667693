"""The servers of a worker: `gevent.pywsgi.WSGIServer` set up by the options.

This module is imported in workers only, after the standard library was patched.
"""

from __future__ import annotations

import errno
import socket
import sys
import time
import types
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import gevent
from gevent.pywsgi import WSGIHandler, WSGIServer
from gevent.serve.errors import ServeError
from gevent.serve.loading import load_name
from gevent.serve.options import Options
from gevent.serve.process import CLOSING
from gevent.socket import socket as GeventSocket

#: The key of the WebSocket in the environment of a request.
WEBSOCKET_KEY = "wsgi.websocket"
#: Attributes by which applications and middleware refer to what they wrap.
_WRAPPED = ("wsgi_app", "app", "application", "wsgi_application", "__wrapped__")


class Server(WSGIServer):
    """A server at a listening socket that it shares with other processes."""

    #: This is longer than usual, as reloads happen under load, when clients are slow to send.
    last_call: float = 2.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        #: The WebSockets that are connected, for their handler.
        self.clients: dict[Any, Any] = {}
        super().__init__(*args, **kwargs)

    def accept_the_rest(self) -> None:
        """Accept all connections that wait, so that :meth:`close` loses none.

        This is for the end of the service, when no other worker will accept them.

        Where the number of connections is limited, they are accepted as others end, as long as the
        supervisor lets them wait. Idle connections are closed now, which makes room.
        """
        if self.started:
            self._service.stop()
        end = time.monotonic() + CLOSING
        while self.started:
            if self.full():
                if time.monotonic() > end:
                    return
                gevent.sleep(0.01)
                continue
            try:
                accepted = self.do_read()
            except OSError:
                return
            if accepted is None:
                return
            self.do_handle(*accepted)

    def _reading_failed(self, failure: BaseException) -> None:
        if isinstance(failure, OSError) and failure.errno == errno.EINVAL:
            # The supervisor has shut the listening socket down, as the service ends.
            self.close()
        else:
            super()._reading_failed(failure)


def make_servers(
    options: Options,
    listeners: list[socket.socket],
    application: Any,
    *,
    handler_class: Any,
    tls_context: Any,
    access_log: Any,
    error_log: Any,
    multiprocess: bool,
) -> list[Server]:
    """Return a server for each of the listening sockets, not started yet."""
    limits = (name for name in WSGIServer._LIMITS if hasattr(options, name))
    arguments: dict[str, Any] = {name: getattr(options, name) for name in limits}
    if options.max_per_address is not None:
        arguments["max_per_address"] = options.max_per_address
    if tls_context is not None:
        arguments["ssl_context"] = tls_context
    if options.max_connections is not None:
        from gevent.pool import Pool

        # The servers of all addresses share one pool, so the limit is that of the worker.
        arguments["spawn"] = Pool(options.max_connections)
    return [
        Server(
            GeventSocket(fileno=listener.detach()),
            application,
            log=access_log,
            error_log=error_log,
            handler_class=handler_class,
            environ={"wsgi.multiprocess": multiprocess},
            **arguments,
        )
        for listener in listeners
    ]


def handler_class_for(options: Options, application: Any) -> Any:
    """Return the class that handles connections.

    :raises ServeError: The class that the options name cannot be imported.
    """
    handler = _named_handler(options, application)
    mixins: list[Any] = []
    if options.trusted_proxies:
        from gevent.serve.proxies import behind_proxies

        mixins.append(behind_proxies(options.trusted_proxies, options.proxy_header))
    if options.access_log_format == "json":
        from gevent.serve.json_log import JsonLog

        mixins.append(JsonLog)
    if not mixins:
        return handler
    return type("Handler", (*mixins, handler), {})


def _named_handler(options: Options, application: Any) -> Any:
    name = options.handler
    if name == "auto":
        module = (options.app or "").partition(":")[0]
        name = "websocket" if uses_websockets(application, module) else "plain"
    if name == "plain":
        return WSGIHandler
    if name == "websocket":
        from gevent.websocket import WebSocketHandler

        return WebSocketHandler
    module, _, attribute = name.partition(":")
    handler = load_name(module, attribute)
    if not callable(handler):
        raise ServeError(f"{name} is not a class of handlers: {handler!r:.80}")
    return handler


def uses_websockets(application: Any, name: str) -> bool:
    """Return true if *application* expects ``environ["wsgi.websocket"]``.

    That is so for a `gevent.websocket.Resource`, for an application that wraps one, and if the code
    of the application, of the module that defines it, or of the module *name* contains that key.
    """
    for one in _layers(application):
        if isinstance(one, _resource_classes()):
            return True
        for module_name in {name, getattr(one, "__module__", None) or ""}:
            code = _code_of(one, sys.modules.get(module_name))
            if any(WEBSOCKET_KEY in _constants(each) for each in code):
                return True
    return False


def _resource_classes() -> tuple[type, ...]:
    """Return the classes `Resource` of the modules for WebSockets that are loaded."""
    modules = (sys.modules.get(name) for name in ("gevent.websocket", "geventwebsocket.resource"))
    return tuple(module.Resource for module in modules if module is not None)


def _layers(application: Any) -> Iterator[Any]:
    """Yield an application and the applications that it wraps, each once."""
    seen: list[Any] = []
    ahead = [application]
    while ahead and len(seen) < 100:
        one = ahead.pop()
        if any(one is other for other in seen) or not callable(one):
            continue
        seen.append(one)
        yield one
        attributes = getattr(one, "__dict__", {})
        ahead += [attributes[name] for name in _WRAPPED if name in attributes]
        for cell in getattr(one, "__closure__", None) or ():
            with suppress(ValueError):
                # The cell of a closure may still be empty.
                ahead.append(cell.cell_contents)


def _code_of(one: Any, module: types.ModuleType | None) -> Iterator[types.CodeType]:
    """Yield the code objects of an application, and those of its module's functions."""
    owners = [one, type(one)]
    if module is not None:
        own = vars(module).values()
        owners += [value for value in own if getattr(value, "__module__", None) == module.__name__]
    for owner in owners:
        members = vars(owner).values() if isinstance(owner, type) else (owner,)
        for member in members:
            code = getattr(getattr(member, "__func__", member), "__code__", None)
            if isinstance(code, types.CodeType):
                yield code


def _constants(code: types.CodeType) -> set[Any]:
    """Return the texts in a function's code and in that of the functions inside it."""
    found: set[Any] = set()
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found |= _constants(constant)
        elif isinstance(constant, str):
            found.add(constant)
    return found
