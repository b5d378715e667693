"""The numbers of all workers in one place, where the setting ``inspect`` asks for views.

Each worker opens a view of its own (:mod:`gevent.inspect`), at the path of the supervisor's with a
dot and its number behind it. The supervisor listens at the path itself, or at the loopback
address, and answers ``/metrics`` with the sums over the workers and ``/health`` with whether all
are well. It forks a process for each answer, so that a worker that does not answer holds nothing
else up.
"""

from __future__ import annotations

import hmac
import os
import secrets
import socket
from contextlib import suppress

from gevent._inspect_address import (
    Address,
    InspectError,
    ask,
    ask_json,
    default_path,
    make_private_folder,
    parse_address,
)
from gevent._inspect_server import METRICS_TYPE, Answer, answer, listen
from gevent._stats import metrics_of, open_metrics

__all__ = ["Metrics"]

#: The number of requests that are answered at a time.
_MOST = 4
#: The time that one worker may take to answer, in seconds.
_TIMEOUT = 2.0


class Metrics:
    """The supervisor's socket for them.

    :param setting: The address that ``gevent.config.inspect`` has.
    :raises InspectError: It cannot be had.
    """

    def __init__(self, setting: str) -> None:
        listener, address = listen(parse_address(setting))
        self.address: Address = address
        self._listener: socket.socket = listener
        self._listener.setblocking(False)
        #: What a request over loopback has to bring; ``None`` for a Unix socket.
        self.token: str | None = None
        if self.address.path is None:
            self.token = os.environ.get("GEVENT_INSPECT_TOKEN") or secrets.token_urlsafe(24)
        self._base = self.address.path or default_path()
        if self.address.path is None:
            make_private_folder(os.path.dirname(self._base))
        self._answering: set[int] = set()

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when a client asks."""
        return self._listener.fileno()

    def address_of(self, pid: int) -> str:
        """Return the setting ``inspect`` of a worker."""
        return f"unix:{self._base}.{pid}"

    def answer(self, workers: list[int]) -> None:
        """Have a new process answer the client, with the numbers of the processes *workers*."""
        self.reap()
        if len(self._answering) >= _MOST:
            return
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        with connection:
            try:
                pid = os.fork()
            except OSError:
                return
            if pid:
                self._answering.add(pid)
                return
            try:
                with suppress(OSError):
                    answer(connection, lambda path, token, _: self._respond(path, token, workers))
            finally:
                os._exit(0)

    def reap(self) -> None:
        """Note which answers are given."""
        for pid in list(self._answering):
            with suppress(ChildProcessError):
                if not os.waitpid(pid, os.WNOHANG)[0]:
                    continue
            self._answering.discard(pid)

    def forget(self) -> None:
        """Leave the socket to the supervisor, in a worker."""
        self._listener.close()

    def close(self) -> None:
        """End it, and remove the socket."""
        self._listener.close()
        if self.address.path is not None:
            with suppress(OSError):
                os.unlink(self.address.path)

    def _respond(self, path: str, token: str, workers: list[int]) -> Answer:
        if self.token is not None and not hmac.compare_digest(token.encode(), self.token.encode()):
            return 403, "text/plain", b"wrong token\n"
        views = [Address(f"{self._base}.{pid}") for pid in workers]
        if path == "/metrics":
            found = []
            for view in views:
                # One that is starting or ending has no view.
                with suppress(InspectError):
                    found.append(metrics_of(ask_json(view, "/stats.json", timeout=_TIMEOUT)))
            return 200, METRICS_TYPE, open_metrics(found).encode()
        if path == "/health":
            for pid, view in zip(workers, views, strict=True):
                try:
                    health = ask(view, "/health", timeout=_TIMEOUT)
                except InspectError as error:
                    return 503, "text/plain", f"worker {pid}: {error}\n".encode()
                if b'"ok"' not in health:
                    return 503, "application/json", health
            return 200, "application/json", b'{"status": "ok"}\n'
        return 404, "text/plain", b"the supervisor answers /metrics and /health\n"
