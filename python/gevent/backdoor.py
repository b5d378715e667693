"""A Python prompt inside a running program, reached over a socket."""

from __future__ import annotations

import builtins
import code
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from greenlet import GreenletExit, getcurrent

from gevent import pool as _pool  # noqa: F401
from gevent import socket as _socket  # noqa: F401
from gevent.pool import Pool
from gevent.server import StreamServer

__all__ = ["BackdoorServer"]

_NAMES = ("stdin", "stdout", "stderr")


class _ClientOutput(io.TextIOBase):
    """The stream that the client sees, flushed at each write, as prompts end no line."""

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, sock: Any) -> None:
        self._sock = sock

    def fileno(self) -> int:
        number: int = self._sock.fileno()
        return number

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self._sock.sendall(text.encode(self.encoding, self.errors))
        return len(text)


#: The streams of each greenlet that talks to a client, by their names in :mod:`sys`.
_clients: dict[Any, dict[str, Any]] = {}


class _Router:
    """Stands for a stream of :mod:`sys`: a client's greenlet has its own, all others the usual."""

    def __init__(self, name: str, usual: Any) -> None:
        self._name = name
        self._usual = usual

    def _stream(self) -> Any:
        streams = _clients.get(getcurrent())
        return self._usual if streams is None else streams[self._name]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream(), name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._stream())


@contextmanager
def _redirected(streams: dict[str, Any]) -> Iterator[None]:
    """Let *streams* be those of :mod:`sys` for the current greenlet."""
    greenlet = getcurrent()
    _clients[greenlet] = streams
    for name in _NAMES:
        usual = getattr(sys, name)
        if not isinstance(usual, _Router):
            setattr(sys, name, _Router(name, usual))
    try:
        yield
    finally:
        del _clients[greenlet]
        for name in _NAMES:
            router = getattr(sys, name)
            # Other code may have replaced the stream meanwhile.
            if not _clients and isinstance(router, _Router):
                setattr(sys, name, router._usual)


class InteractiveConsole(code.InteractiveConsole):
    """The standard one, over a client's *streams*; a killed greenlet leaves it."""

    def __init__(self, names: dict[str, Any], streams: dict[str, Any]) -> None:
        super().__init__(names)
        self._streams = streams

    def raw_input(self, prompt: str = "") -> str:
        self.write(prompt)
        line = self._streams["stdin"].readline()
        if not line:
            raise EOFError
        text: str = line.removesuffix("\n")
        return text

    def write(self, data: str) -> None:
        self._streams["stderr"].write(data)

    def runsource(self, *args: Any, **kwargs: Any) -> bool:
        with _redirected(self._streams):
            return super().runsource(*args, **kwargs)

    def runcode(self, code: Any) -> None:
        try:
            exec(code, self.locals)
        except (SystemExit, GreenletExit):
            raise
        except BaseException:
            self.showtraceback()


class BackdoorServer(StreamServer):
    """A server that gives every client a Python prompt, to inspect a running program.

    Anyone who can connect can do all that the process can: there is no password and no limit.
    Listen on loopback or a Unix socket only. Then, with a server at port 5001,
    ``telnet 127.0.0.1 5001`` shows the prompt; ``quit()`` or the end of input ends it.

    While a client's code runs, ``sys.stdin``, ``sys.stdout`` and ``sys.stderr`` are objects that
    pass everything on: a client's greenlet reads from and writes to the client, every other one
    uses what was there before. Stopping the server ends all prompts, and what they run.

    :param listener: See :class:`gevent.server.StreamServer`.
    :param locals: Names that every client finds at the prompt. Each has a namespace of its own.
    :param banner: The text that greets a client; by default Python's.
    :param server_args: Arguments of :class:`gevent.server.StreamServer`, except *spawn*.
    """

    def __init__(
        self,
        listener: Any,
        locals: dict[str, Any] | None = None,
        banner: str | None = None,
        **server_args: Any,
    ) -> None:
        super().__init__(listener, spawn=Pool(), **server_args)
        self.locals: dict[str, Any] = {"__doc__": None, "__name__": "__console__", **(locals or {})}
        self.banner = banner

    def _create_interactive_locals(self) -> dict[str, Any]:
        # As a module, as its representation is shorter than that of its dictionary.
        return {**self.locals, "builtins": builtins, "__builtins__": builtins}

    def handle(self, conn: Any, _address: Any) -> None:
        """Serve one client, until it leaves; its connection is closed then.

        :param conn: The connection.
        """
        output = _ClientOutput(conn)
        lines = conn.makefile("r", encoding="utf-8", errors="replace")
        streams = {"stdin": lines, "stdout": output, "stderr": output}
        console = InteractiveConsole(self._create_interactive_locals(), streams)
        try:
            # A client that is gone needs no report.
            with suppress(SystemExit, ConnectionError):
                console.interact(banner=self.banner, exitmsg="")
        finally:
            lines.close()
            conn.close()
