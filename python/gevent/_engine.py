"""The table of the package's objects that the engine asks for by name.

The extension imports no module of the package: it looks an object up here when it needs it for the
first time (``crates/gevent/src/registered.rs`` has the same names). So the package
alone decides in which module an object is defined, and unneeded modules are not imported.
"""

from __future__ import annotations

from typing import Final

from gevent._core import set_objects

__all__ = ["OBJECTS", "register"]

#: The module of each object, and its name there.
OBJECTS: Final[dict[str, tuple[str, str]]] = {
    "Cancelled": ("gevent.exceptions", "Cancelled"),
    "LoopExit": ("gevent.exceptions", "LoopExit"),
    "HubDestroyed": ("gevent.exceptions", "HubDestroyed"),
    "Empty": ("gevent.queue", "Empty"),
    "Full": ("gevent.queue", "Full"),
    "ShutDown": ("gevent.queue", "ShutDown"),
    "cancel_wait_ex": ("gevent._socketcommon", "cancel_wait_ex"),
    "PoolFull": ("gevent.pool", "PoolFull"),
    "BodyTimeout": ("gevent._http", "BodyTimeout"),
    "InvalidClientInput": ("gevent._http", "InvalidClientInput"),
    "InvalidClientRequest": ("gevent._http", "InvalidClientRequest"),
    "FrameTooLargeException": ("gevent.websocket.exceptions", "FrameTooLargeException"),
    "HandshakeError": ("gevent.websocket.exceptions", "HandshakeError"),
    "InvalidTextError": ("gevent.websocket.exceptions", "InvalidTextError"),
    "ProtocolError": ("gevent.websocket.exceptions", "ProtocolError"),
    "WebSocketError": ("gevent.websocket.exceptions", "WebSocketError"),
    "config": ("gevent._config", "config"),
    "apply_spawn_settings": ("gevent._config", "apply_spawn_settings"),
    "Hub": ("gevent.hub", "Hub"),
    "ThreadState": ("gevent._hub_local", "ThreadState"),
    "ThreadEnd": ("gevent._hub_local", "ThreadEnd"),
    "link": ("gevent.compat.links", "link"),
    "unlink": ("gevent.compat.links", "unlink"),
    "spawn_linked": ("gevent.compat.links", "spawn_linked"),
    "await_greenlet": ("gevent.aio._awaiting", "await_greenlet"),
    "Conditions": ("gevent._queue_conditions", "Conditions"),
    "socket": ("gevent._socket3", "socket"),
    "_wrefsocket": ("gevent._socket3", "_wrefsocket"),
    "_closedsocket": ("gevent._socket3", "_closedsocket"),
    "SSLSocket": ("gevent._sslsocket", "SSLSocket"),
    "server_steps": ("gevent.server", "_OWN_STEPS"),
    "headers_factory": ("gevent._http", "headers_factory"),
    "error_response": ("gevent._http", "error_response"),
    "message_of": ("gevent._http", "message_of"),
    "NoopLog": ("gevent._http", "NoopLog"),
}


def register() -> None:
    """Give the engine the table."""
    set_objects(OBJECTS)
