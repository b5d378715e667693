"""Text in place of bytes, and names that Python has dropped, for the modules of the suite.

They read and write text where Python 3 has bytes: on sockets, files of sockets and responses, and
in WSGI applications. For them, and for nobody else, these convert, one character being one byte;
what gevent itself does is not touched.
"""

from __future__ import annotations

import html
import http.client
import os
import sys
import types
import unittest
import urllib.parse
import urllib.request
import wsgiref.validate
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["install"]

_SUITE = os.environ.get("SUITE_0_13", "")


def _of_the_suite() -> bool:
    """Return whether the caller of our caller is a module of the suite."""
    return sys._getframe(2).f_code.co_filename.startswith(_SUITE)


def _bytes(data: Any) -> Any:
    return data.encode("latin-1") if isinstance(data, str) else data


def _text(data: Any) -> Any:
    return data.decode("latin-1") if isinstance(data, bytes | bytearray) else data


class _Raw:
    """The socket under a file, whose ``close`` ends the connection whatever else refers to it."""

    def __init__(self, sock: Any, held: Any) -> None:
        self._socket = sock
        self._held = held

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def close(self) -> None:
        """Close the connection."""
        self._held.close()
        self._socket.close()


class TextFile:
    """A file of a socket, as ``socket.makefile`` made it under Python 2.

    It keeps the connection as long as it is open; closing it leaves the socket to others.
    """

    def __init__(self, sock: Any, mode: str = "r", bufsize: int = -1) -> None:
        self._held = sock._makefile_of_today("rwb", 0)
        self._sock = _Raw(sock, self._held)
        self._result = bytes if "b" in mode else _text
        self._received = b""

    def _take(self, size: int) -> Any:
        taken, self._received = self._received[:size], self._received[size:]
        return self._result(taken)

    def _receive(self) -> bool:
        data = self._sock.recv(8192)
        self._received += data
        return bool(data)

    def read(self, size: int = -1) -> Any:
        """Read all that comes, or so many letters."""
        while (size < 0 or len(self._received) < size) and self._receive():
            pass
        return self._take(size if size >= 0 else len(self._received))

    def readline(self, size: int = -1) -> Any:
        """Read a line."""
        while b"\n" not in self._received and self._receive():
            pass
        end = self._received.find(b"\n") + 1 or len(self._received)
        return self._take(end if size < 0 else min(end, size))

    def write(self, data: Any) -> None:
        """Send at once."""
        self._sock.sendall(_bytes(data))

    def flush(self) -> None:
        """Do nothing: all is sent."""

    def close(self) -> None:
        """Let go of the connection."""
        self._held.close()

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._held.closed

    def __iter__(self) -> Iterator[Any]:
        return iter(self.readline, self._result(b""))


def _convert_sockets() -> None:
    from gevent import socket as module

    kind = module.socket
    makefile_of_today = kind._makefile_of_today = kind.makefile

    def sending(method: Callable[..., Any]) -> Callable[..., Any]:
        def send(self: Any, data: Any, *args: Any) -> Any:
            return method(self, _bytes(data), *args)

        return send

    def receiving(method: Callable[..., Any]) -> Callable[..., Any]:
        def receive(self: Any, *args: Any) -> Any:
            data = method(self, *args)
            return _text(data) if _of_the_suite() else data

        return receive

    def makefile(self: Any, mode: str = "r", bufsize: int = -1, **kwargs: Any) -> Any:
        if _of_the_suite():
            return TextFile(self, mode, bufsize)
        return makefile_of_today(self, mode, bufsize if bufsize >= 0 else None, **kwargs)

    module._fileobject = TextFile
    for name in "send", "sendall", "sendto":
        setattr(kind, name, sending(getattr(kind, name)))
    kind.recv = receiving(kind.recv)
    kind.makefile = makefile


class _Body:
    """The result of an application, whose parts become bytes."""

    def __init__(self, result: Any) -> None:
        self._result = result

    def __iter__(self) -> Iterator[bytes]:
        return map(_bytes, self._result)

    def close(self) -> None:
        """Close the result, if it can be."""
        if hasattr(self._result, "close"):
            self._result.close()


class _Input:
    """``wsgi.input``, which gives text."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def read(self, *args: Any) -> str:
        """Read text."""
        return _text(self._file.read(*args))

    def readline(self, *args: Any) -> str:
        """Read a line."""
        return _text(self._file.readline(*args))

    def readlines(self, *args: Any) -> list[str]:
        """Read lines."""
        return list(map(_text, self._file.readlines(*args)))

    def __iter__(self) -> Iterator[str]:
        return map(_text, self._file)


def _with_text(application: Any) -> Any:
    def respond(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        def start(*args: Any) -> Any:
            write = start_response(*args)
            return lambda data: write(_bytes(data))

        environ["wsgi.input"] = _Input(environ["wsgi.input"])
        result = application(environ, start)
        if isinstance(result, list | tuple):
            return list(map(_bytes, result))
        return result if result is None else _Body(result)

    respond.converts = True
    return respond


def _convert_wsgi() -> None:
    from gevent import pywsgi
    from gevent.compat import per_request

    original = pywsgi.WSGIHandler

    class Handler(original):
        """The handler of the suite's servers."""

        def run_application(self) -> None:
            """Call the application, which yields text."""
            module = getattr(self.application, "__module__", None) or ""
            if not hasattr(self.application, "converts") and not module.startswith("gevent."):
                self.application = _with_text(self.application)
            super().run_application()

    pywsgi.WSGIServer.handler_class = Handler
    buffered = per_request.buffered
    per_request.buffered = lambda application: buffered(_with_text(application))
    validator = wsgiref.validate.validator

    def validate(application: Any) -> Any:
        checked = validator(_with_text(application))
        checked.converts = True
        return checked

    wsgiref.validate.validator = validate


def _convert_clients() -> None:
    read = http.client.HTTPResponse.read

    def read_text(self: Any, *args: Any) -> Any:
        data = read(self, *args)
        return _text(data) if _of_the_suite() else data

    http.client.HTTPResponse.read = read_text
    open_ = urllib.request.OpenerDirector.open

    def open_with_text(self: Any, url: Any, data: Any = None, *args: Any, **kwargs: Any) -> Any:
        return open_(self, url, _bytes(data), *args, **kwargs)

    urllib.request.OpenerDirector.open = open_with_text
    make = urllib.request.Request.__init__

    def make_of_text(self: Any, url: Any, data: Any = None, *args: Any, **kwargs: Any) -> None:
        make(self, url, _bytes(data), *args, **kwargs)

    urllib.request.Request.__init__ = make_of_text


def _add_names() -> None:
    case = unittest.TestCase
    for old, new in {
        "assertEquals": "assertEqual",
        "assertNotEquals": "assertNotEqual",
        "assert_": "assertTrue",
        "failUnless": "assertTrue",
        "failIf": "assertFalse",
        "failUnlessEqual": "assertEqual",
        "failUnlessRaises": "assertRaises",
    }.items():
        if not hasattr(case, old):
            setattr(case, old, getattr(case, new))
    for name in ("_TestCase__testMethodName",):
        if not hasattr(case, name):
            setattr(case, name, property(lambda self: self._testMethodName))
    cgi = sys.modules["cgi"] = types.ModuleType("cgi")
    cgi.parse_qs = urllib.parse.parse_qs
    cgi.escape = html.escape
    sendfile = sys.modules["sendfile"] = types.ModuleType("sendfile")
    sendfile.sendfile = lambda out, in_, offset, count: (
        offset,
        os.sendfile(out, in_, offset, count),
    )


def install() -> None:
    """Prepare the process."""
    _add_names()
    _convert_clients()
    _convert_sockets()
    _convert_wsgi()
