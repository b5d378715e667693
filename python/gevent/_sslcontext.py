"""The class :class:`gevent.ssl.SSLContext`, and functions that make the original cooperative."""

from __future__ import annotations

import ssl
from _ssl import _SSLContext
from abc import ABCMeta
from collections.abc import Iterator
from ssl import CERT_NONE, PROTOCOL_TLS
from types import CellType, FunctionType
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from gevent._sslsocket import SSLSocket

__all__ = ["SSLContext", "StdlibContext", "adopt_original_class", "context_of", "wrap_socket"]


#: The context class of the standard library, whatever has replaced it in :mod:`ssl` by now.
if TYPE_CHECKING:
    StdlibContext = ssl.SSLContext
else:
    StdlibContext = next(cls for cls in ssl.SSLContext.__mro__ if _SSLContext in cls.__bases__)
_StdlibSocket = next(cls for cls in ssl.SSLSocket.__mro__ if cls.__module__ == "ssl")
_names = vars(ssl) | {"SSLContext": StdlibContext}


def _own_setters() -> Iterator[tuple[str, property]]:
    """Yield the settable properties of the original class, with setters that find it.

    The standard library's setters find their base by the global name of the class. Once that
    names another class they call themselves without end.
    """
    for name, attribute in vars(StdlibContext).items():
        setter = getattr(attribute, "fset", None)
        if isinstance(setter, FunctionType):
            code, closure = setter.__code__, setter.__closure__
            yield name, attribute.setter(FunctionType(code, _names, name, closure=closure))


def _green_class(cls: type) -> type:
    """Return the class of green sockets for *cls*, the ``sslsocket_class`` of a context.

    A class that was derived from the original :class:`ssl.SSLSocket` before patching is made
    again, with the same methods, as a class derived from :class:`SSLSocket`.
    """
    if issubclass(cls, SSLSocket) or not issubclass(cls, _StdlibSocket):
        return cls
    if cls is _StdlibSocket:
        return SSLSocket
    known = _green_classes.get(cls)
    if known is None:
        # Their `super()` finds the class in this cell.
        own_class = CellType()
        names = {
            name: _moved(value, own_class)
            for name, value in vars(cls).items()
            if name not in ("__dict__", "__weakref__")
        }
        bases = tuple(_green_class(base) for base in cls.__bases__)
        metaclass: Any = type(cls)
        known = _green_classes[cls] = metaclass(cls.__name__, bases, names)
        own_class.cell_contents = known
    return known


_green_classes: WeakKeyDictionary[type, type] = WeakKeyDictionary()


def _moved(value: Any, own_class: CellType) -> Any:
    """Return an attribute of a class for use in another one, which is in the cell *own_class*."""
    if isinstance(value, classmethod | staticmethod):
        return type(value)(_moved(value.__func__, own_class))
    if isinstance(value, property):
        parts = (value.fget, value.fset, value.fdel)
        getter, setter, deleter = (_moved(part, own_class) for part in parts)
        return property(getter, setter, deleter, value.__doc__)
    if not isinstance(value, FunctionType) or "__class__" not in value.__code__.co_freevars:
        return value
    closure = tuple(
        own_class if name == "__class__" else cell
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
    )
    moved = FunctionType(value.__code__, value.__globals__, value.__name__, None, closure)
    moved.__kwdefaults__ = value.__kwdefaults__
    moved.__defaults__ = value.__defaults__
    moved.__dict__.update(value.__dict__)
    return moved


class SSLContext(StdlibContext, metaclass=ABCMeta):
    """A :class:`ssl.SSLContext` that makes sockets of :class:`gevent.ssl.SSLSocket`.

    In a patched process all contexts count as instances of this class, those of the original
    class too, as they make such sockets as well.
    """

    __slots__ = ()

    sslsocket_class: type = SSLSocket

    @classmethod
    def __subclasshook__(cls, other: type) -> Any:
        made: type = StdlibContext.sslsocket_class
        if cls is SSLContext and made is SSLSocket:
            return issubclass(other, StdlibContext) or NotImplemented
        return NotImplemented

    def wrap_socket(  # type: ignore[override]
        self,
        sock: Any,
        server_side: bool = False,
        do_handshake_on_connect: bool = True,
        suppress_ragged_eofs: bool = True,
        server_hostname: str | None = None,
        session: Any = None,
    ) -> SSLSocket:
        """Return a socket that takes the connection of *sock* over and speaks TLS.

        :param do_handshake_on_connect: True to negotiate as soon as it is connected.
        :param suppress_ragged_eofs: True if an end without the closing alert is an ordinary one.
        :param server_hostname: The name to check the server's certificate against.
        :raises ssl.SSLError: The handshake failed.
        """
        green: Any = _green_class(self.sslsocket_class)
        wrapped: SSLSocket = green(
            sock=sock,
            server_side=server_side,
            do_handshake_on_connect=do_handshake_on_connect,
            suppress_ragged_eofs=suppress_ragged_eofs,
            server_hostname=server_hostname,
            _session=session,
            _context=self,
        )
        return wrapped


for _name, _property in _own_setters():
    setattr(SSLContext, _name, _property)


def adopt_original_class() -> None:
    """Make the contexts of the original class cooperative, those that exist included.

    Programs and libraries keep contexts, the class and classes derived from it from before
    patching.
    """
    for name, own in _own_setters():
        setattr(StdlibContext, name, own)
    patched: Any = StdlibContext
    patched.sslsocket_class = SSLSocket
    patched.wrap_socket = SSLContext.wrap_socket
    SSLContext._abc_caches_clear()  # type: ignore[attr-defined]


def context_of(
    server_side: bool,
    keyfile: str | None,
    certfile: str | None,
    cert_reqs: int,
    ssl_version: int,
    ca_certs: str | None,
    ciphers: str | None,
) -> SSLContext:
    """Return the context of a socket that is made without one, with the arguments of old.

    :raises ValueError: A server without *certfile*, or *keyfile* without it.
    """
    if server_side and not certfile:
        raise ValueError("certfile must be specified for server-side operations")
    if keyfile and not certfile:
        raise ValueError("certfile must be specified")
    context = SSLContext(ssl_version)
    context.check_hostname = False
    context.verify_mode = cert_reqs  # type: ignore[assignment]
    if ca_certs:
        context.load_verify_locations(ca_certs)
    if certfile:
        context.load_cert_chain(certfile, keyfile)
    if ciphers:
        context.set_ciphers(ciphers)
    return context


def wrap_socket(
    sock: Any,
    keyfile: str | None = None,
    certfile: str | None = None,
    server_side: bool = False,
    cert_reqs: int = CERT_NONE,
    ssl_version: int = PROTOCOL_TLS,
    ca_certs: str | None = None,
    do_handshake_on_connect: bool = True,
    suppress_ragged_eofs: bool = True,
    ciphers: str | None = None,
) -> SSLSocket:
    """Return a TLS socket over *sock* with a context of its own; see :class:`SSLContext`.

    It checks no host name, and no certificate unless *cert_reqs* says so.

    :raises ValueError: A server without *certfile*, or *keyfile* without it.
    """
    context = context_of(server_side, keyfile, certfile, cert_reqs, ssl_version, ca_certs, ciphers)
    return context.wrap_socket(sock, server_side, do_handshake_on_connect, suppress_ragged_eofs)
