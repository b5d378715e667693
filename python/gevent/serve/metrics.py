"""The numbers of all workers in one place, where the setting ``inspect`` asks for views.

Each worker opens a view of its own (:mod:`gevent.inspect`), at the path of the supervisor's with a
dot and its number behind it. The supervisor listens at the path itself, or at the loopback
address, and answers ``/metrics`` with the sums over the workers and ``/health`` with status 200 if
all are well. It reads requests without waiting for a client, and forks a process for each answer
that needs numbers of the workers, so that a worker that does not answer holds nothing else up.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from gevent._inspect_address import (
    Address,
    InspectError,
    ask,
    ask_json,
    default_path,
    make_private_folder,
    parse_address,
)
from gevent._inspect_http import Answer, HttpService, Request, encode_answer
from gevent._inspect_server import listen, wrong_token
from gevent._metrics import METRICS_TYPE, metrics_of, open_metrics

__all__ = ["Metrics"]

#: The number of answers that are made at a time.
_MOST = 4
#: The time that one worker may take to answer, and a client to take an answer, in seconds.
_WORKER_WITHIN = 2.0
_TAKEN_WITHIN = 10.0


class Metrics:
    """The supervisor's socket for requests for the numbers of all workers.

    :param setting: The address, in the form of ``gevent.config.inspect``.
    :raises InspectError: The address cannot be used.
    """

    def __init__(self, setting: str) -> None:
        listener, address = listen(parse_address(setting))
        self.address: Address = address
        self._service = HttpService(listener, self._respond)
        #: The token that a request over loopback must have; ``None`` for a Unix socket.
        self.token: str | None = None
        if self.address.path is None:
            self.token = os.environ.get("GEVENT_INSPECT_TOKEN") or secrets.token_hex(24)
        self._base = self.address.path or default_path()
        if self.address.path is None:
            make_private_folder(os.path.dirname(self._base))
        self._answering: set[int] = set()
        self._workers: list[int] = []

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when :meth:`step` has something to do."""
        return self._service.fileno()

    def timeout(self) -> float | None:
        """Return the seconds until :meth:`step` must be called in any case, ``None`` for never."""
        return self._service.timeout()

    def address_of(self, pid: int) -> str:
        """Return the value of the setting ``inspect`` for the worker with process number *pid*."""
        return f"unix:{self._base}.{pid}"

    def step(self, workers: list[int]) -> None:
        """Read requests; for each complete one, a new process asks *workers* and answers."""
        self.reap()
        self._workers = workers
        self._service.step()

    def reap(self) -> None:
        """Collect the exit statuses of processes that have given their answers."""
        for pid in list(self._answering):
            with suppress(ChildProcessError):
                if not os.waitpid(pid, os.WNOHANG)[0]:
                    continue
            self._answering.discard(pid)

    def forget(self) -> None:
        """Close the descriptors in a worker; the supervisor keeps its own."""
        self._service.close()

    def close(self) -> None:
        """Stop answering, and remove the socket."""
        self._service.close()
        if self.address.path is not None:
            with suppress(OSError):
                os.unlink(self.address.path)

    def _refuse(self, request: Request) -> Answer | None:
        """Return the answer to a request if no worker has to be asked for it, else ``None``."""
        if refusal := wrong_token(request, self.token):
            return refusal
        if request.path not in ("/metrics", "/health"):
            return _text(404, "the supervisor answers /metrics and /health")
        if request.method != "GET":
            return _text(405, "the supervisor answers GET")
        return None

    def _respond(self, request: Request, take: Callable[[], Any]) -> Answer | None:
        if refusal := self._refuse(request):
            return refusal
        if len(self._answering) >= _MOST:
            return _text(503, "too many requests at a time")
        # The socket is taken before the fork, as parent and child share the epoll set that it is
        # removed from.
        with take() as connection:
            try:
                pid = os.fork()
            except OSError as error:
                refusal = _text(503, f"no process for the answer: {error.strerror}")
                with suppress(OSError):
                    connection.send(encode_answer(refusal))
                return None
            if pid:
                self._answering.add(pid)
                return None
            try:
                _send(connection, self._collect(request.path))
            finally:
                os._exit(0)

    def _collect(self, path: str) -> Answer:
        """Ask the workers, and return the answer. This runs in a process of its own."""
        views = [(pid, Address(f"{self._base}.{pid}")) for pid in self._workers]
        if path == "/metrics":
            found = []
            for _, view in views:
                # A worker that is starting or ending has no view.
                with suppress(InspectError):
                    stats = ask_json(view, "/stats.json?waits=1", timeout=_WORKER_WITHIN)
                    found.append(metrics_of(stats))
            return Answer(200, METRICS_TYPE, open_metrics(found).encode())
        for pid, view in views:
            try:
                body = ask(view, "/health", timeout=_WORKER_WITHIN)
            except InspectError as error:
                return _text(503, f"worker {pid}: {error}")
            if b'"ok"' not in body:
                return Answer(503, "application/json", body)
        return Answer(200, "application/json", b'{"status": "ok"}\n')


def _text(status: int, text: str) -> Answer:
    return Answer(status, "text/plain", f"{text}\n".encode())


def _send(connection: Any, answer: Answer) -> None:
    with connection, suppress(OSError):
        connection.settimeout(_TAKEN_WITHIN)
        connection.sendall(encode_answer(answer))
        # Wait until the client closes its end too: a reset could take the answer back.
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(1.0)
        while connection.recv(65536):
            pass
