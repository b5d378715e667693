"""TLS over sockets that let other greenlets run while they wait.

The names are those of the standard library's :mod:`ssl`, the private ones included, which
programs use to choose what ``https`` does.
"""

from __future__ import annotations

import ssl as __ssl__
from collections.abc import Callable

# All constants and errors, and what works without a socket.
from ssl import *  # noqa: F403
from types import FunctionType, ModuleType
from typing import Any, TypeVar

from gevent._module_getattr import names_of
from gevent._sslcontext import SSLContext as SSLContext
from gevent._sslcontext import StdlibContext as _StdlibContext
from gevent._sslcontext import adopt_original_class as _adopt_original_class
from gevent._sslcontext import wrap_socket as wrap_socket  # type: ignore[assignment,unused-ignore]
from gevent._sslsocket import SSLSocket as SSLSocket
from gevent.socket import create_connection as create_connection

_F = TypeVar("_F", bound=Callable[..., Any])


class SSLObject(__ssl__.SSLObject):  # type: ignore[no-redef]
    """TLS over memory, as :meth:`SSLContext.wrap_bio` makes it. It never waits for anything.

    In addition to what the standard library's has, it takes a timeout, as all that may have one
    did in gevent 0.13; there is nothing for it to limit.
    """

    _timeout: float | None = None

    def settimeout(self, value: float | None) -> None:
        """Set the timeout in seconds, which :meth:`gettimeout` returns.

        :raises ValueError: *value* is negative.
        """
        if value is not None and value < 0:
            raise ValueError("Timeout value out of range")
        self._timeout = None if value is None else float(value)

    def gettimeout(self) -> float | None:
        """Return the timeout in seconds, or ``None``."""
        return self._timeout


SSLContext.sslobject_class = SSLObject

# The functions below are the standard library's, and find these names here.
_names = {
    **vars(__ssl__),
    "SSLContext": SSLContext,
    "SSLSocket": SSLSocket,
    "create_connection": create_connection,
}


def _with_our_classes(original: _F) -> _F:
    """Return a function of :mod:`ssl` that makes contexts and connections of ours.

    The code is the original's, so that the policy is that of each Python version.
    """
    adopted: Any = FunctionType(original.__code__, _names, original.__name__, original.__defaults__)
    adopted.__kwdefaults__ = original.__kwdefaults__
    adopted.__doc__ = original.__doc__
    adopted.__module__ = __name__
    return adopted  # type: ignore[no-any-return]


create_default_context = _with_our_classes(__ssl__.create_default_context)
_create_unverified_context = _with_our_classes(__ssl__._create_unverified_context)
_create_stdlib_context = _names["_create_stdlib_context"] = _create_unverified_context
_create_default_https_context = create_default_context
get_server_certificate = _with_our_classes(__ssl__.get_server_certificate)

__implements__: list[str] = ["SSLContext", "SSLSocket", "get_server_certificate"]
if hasattr(__ssl__, "wrap_socket"):  # until CPython 3.11
    __implements__.append("wrap_socket")
__imports__: list[str] = sorted(
    name
    for name, value in vars(__ssl__).items()
    if not name.startswith("__") and name not in globals() and not isinstance(value, ModuleType)
)
__all__ = sorted(
    {
        *__implements__,
        "wrap_socket",
        *(
            name
            for name, value in vars(__ssl__).items()
            if not name.startswith("__") and not isinstance(value, ModuleType)
        ),
    }
)


def _gevent_will_monkey_patch(
    target: ModuleType, items: list[str], warn: Callable[[str], None], **kwargs: Any
) -> None:
    if target.SSLContext not in (_StdlibContext, SSLContext):
        # A class that a program put there, such as truststore's, makes cooperative sockets too.
        items.remove("SSLContext")


def _gevent_did_monkey_patch(
    target: ModuleType, items: list[str], warn: Callable[[str], None], **kwargs: Any
) -> None:
    _adopt_original_class()


__getattr__: Callable[[str], Any] = names_of(__ssl__, __name__)
