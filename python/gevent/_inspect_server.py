"""The view of a process: the answer of each path, in a native thread beside the program's."""

from __future__ import annotations

import atexit
import hmac
import json
import os
import secrets
import socket as _socket
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from time import perf_counter, thread_time
from typing import Any

from gevent._blocking import BlockingSampler
from gevent._inspect_address import Address, InspectError, default_path, make_private_folder
from gevent._inspect_greenlets import MOST, KillRefused, Listing
from gevent._inspect_http import Answer, HttpService, Request
from gevent._metrics import METRICS_TYPE, metrics_of, open_metrics
from gevent._stats import stats
from gevent.monkey import get_original

__all__ = ["View", "listen", "wrong_token"]

#: The seconds that a loop may be blocked before the process counts as unhealthy.
_UNWELL = 5.0
#: The connections that may wait until they are accepted.
_BACKLOG = 1024


def listen(address: Address) -> tuple[Any, Address]:
    """Return a socket that listens at *address*, and the true address of the socket.

    :raises InspectError: The address cannot be used.
    """
    family = _socket.AF_UNIX
    if address.path is None:
        family = _socket.AF_INET6 if ":" in address.host else _socket.AF_INET
    listener = get_original("socket", "socket")(family, _socket.SOCK_STREAM)
    try:
        if address.path is None:
            listener.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
            listener.bind((address.host, address.port))
            address = Address(None, *listener.getsockname()[:2])
        else:
            address = Address(_bind_path(listener, address.path))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        # A path that is too long has no strerror.
        raise InspectError(f"cannot listen at {address}: {error.strerror or error}") from None
    except BaseException:
        listener.close()
        raise
    return listener, address


def _bind_path(listener: Any, path: str) -> str:
    if path == default_path():
        make_private_folder(os.path.dirname(path))
    if os.path.lexists(path) and not _is_left_over(path):
        path = f"{path}.{os.getpid()}"
    with suppress(FileNotFoundError):
        if _is_left_over(path):
            os.unlink(path)
    listener.bind(path)
    # No client can connect before the socket listens, so other users never can.
    os.chmod(path, 0o600)
    return path


def _is_left_over(path: str) -> bool:
    """Return true if *path* is the socket of a process that has ended.

    :raises InspectError: *path* exists and is not a socket.
    """
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        raise InspectError(f"{path} exists and is not a socket")
    with get_original("socket", "socket")(_socket.AF_UNIX, _socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False


def _text(status: int, text: str) -> Answer:
    return Answer(status, "text/plain", f"{text}\n".encode())


def wrong_token(request: Request, token: str | None) -> Answer | None:
    """Return the refusal of a request without *token*, or ``None`` if its token is right."""
    given = request.token.encode("utf-8", "replace")
    if token is None or hmac.compare_digest(given, token.encode()):
        return None
    return _text(403, "wrong token" if given else "the view asks for a token")


class View:
    """The view of this process at *address*, from now until :meth:`close` or the program's end.

    :param token: The token that a request over loopback must have; a random one by default.
    :param kill: True to let clients have greenlets killed.
    """

    def __init__(self, address: Address, token: str | None = None, kill: bool = True) -> None:
        #: The token that a request over loopback must have, ``None`` for a Unix socket.
        self.token = None if address.path is not None else token or secrets.token_hex(24)
        #: True if clients may have greenlets killed.
        self.may_kill = kill
        #: True while the view answers.
        self.is_open = True
        #: The address of the view.
        self.address: Address
        self._listener, self.address = listen(address)
        self._service = HttpService(self._listener, self._respond)
        self._listing = Listing()
        self._pid = os.getpid()
        self._begun = perf_counter()
        self._sampler = BlockingSampler().start()
        self._paths: dict[str, Callable[[Request], Answer]] = {
            "/": self._page,
            "/stats.json": self._stats,
            "/greenlets.json": self._greenlets,
            "/stack.json": self._stack,
            "/metrics": self._metrics,
            "/health": self._health,
        }
        atexit.register(self.close)
        os.register_at_fork(after_in_child=self._leave_to_the_parent)
        get_original("_thread", "start_new_thread")(self._serve, ())

    def __enter__(self) -> View:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.address} {'open' if self.is_open else 'closed'}>"

    @property
    def url(self) -> str | None:
        """The URL to open in a browser; ``None`` for a Unix socket."""
        if self.address.path is not None:
            return None
        host = str(self.address).removeprefix("tcp:")
        return f"http://{host}/?token={self.token}"

    def close(self) -> None:
        """End the view, and remove its socket."""
        if not self.is_open or self._pid != os.getpid():
            return
        self.is_open = False
        self._sampler.stop()
        if self.address.path is not None:
            with suppress(OSError):
                os.unlink(self.address.path)
        # The shutdown wakes the view's thread, which closes its descriptors itself.
        with suppress(OSError):
            self._listener.shutdown(_socket.SHUT_RDWR)
        atexit.unregister(self.close)

    def _leave_to_the_parent(self) -> None:
        if self.is_open and self._pid != os.getpid():
            self.is_open = False
            self._sampler.stop()
            self._service.close()

    def _serve(self) -> None:
        try:
            while self.is_open:
                self._service.step(None)
        finally:
            self._service.close()

    def _respond(self, request: Request, _take: object) -> Answer:
        if refusal := wrong_token(request, self.token):
            return refusal
        if request.path == "/kill":
            return self._kill(request)
        page = self._paths.get(request.path)
        if page is None:
            return _text(404, "there is no such page; see gevent.inspect")
        if request.method != "GET":
            return _text(405, "the view answers GET here")
        return page(request)

    # The answers of the paths

    def _page(self, _request: Request) -> Answer:
        with open(os.path.join(os.path.dirname(__file__), "_inspect_page.html"), "rb") as file:
            return Answer(200, "text/html", file.read())

    def _json(self, make: Callable[[], dict[str, Any]]) -> Answer:
        """Return a JSON answer that includes its cost in processor time, for frequent clients.

        A client that waits 400 times as long before it asks again costs the program a quarter of a
        percent.
        """
        begun = thread_time()
        body = json.dumps(make())
        cost = thread_time() - begun
        return Answer(200, "application/json", f'{{"cost": {cost:.6f}, {body[1:]}'.encode())

    def _stats(self, request: Request) -> Answer:
        def make() -> dict[str, Any]:
            found = stats(waits="waits" in request.query)
            found["uptime"] = perf_counter() - self._begun
            found["command"] = " ".join(sys.orig_argv)
            found["may_kill"] = self.may_kill
            return found

        return self._json(make)

    def _greenlets(self, request: Request) -> Answer:
        stacks = request.query.get("stacks") != ["0"]
        most = request.query.get("most", [str(MOST)])[0]
        if not most.isdecimal() or len(most) > 9:
            return _text(400, "most is a number")
        return self._json(lambda: self._listing.all(stacks, min(int(most), MOST)))

    def _stack(self, request: Request) -> Answer:
        number = _number_in(request)
        if number is None:
            return _text(400, "number is that of a greenlet of /greenlets.json")
        lines = self._listing.stack(number)
        if lines is None:
            return _text(404, "that greenlet has ended")
        return self._json(lambda: {"stack": lines})

    def _kill(self, request: Request) -> Answer:
        if request.method != "POST":
            return _text(405, "the view answers POST here")
        if not self.may_kill:
            return _text(403, "this view does not kill greenlets (setting inspect_kill)")
        if self.token is not None and not request.token_in_field:
            # Links and forms of other sites cannot set that field, so they cannot kill a greenlet.
            return _text(403, "a kill brings the token in the field Authorization")
        number = _number_in(request)
        if number is None:
            return _text(400, "number is that of a greenlet of /greenlets.json")
        try:
            name = self._listing.kill(number)
        except KillRefused as refused:
            return _text(409, str(refused))
        # The original stderr is used, as a replacement may be code of the program that waits.
        with suppress(AttributeError, OSError, ValueError):
            sys.__stderr__.write(f"gevent.inspect: {name} is killed by order at {self.address}\n")  # type: ignore[union-attr]
        return Answer(202, "application/json", json.dumps({"killed": name}).encode())

    def _metrics(self, request: Request) -> Answer:
        found = stats(waits=request.query.get("waits") != ["0"])
        return Answer(200, METRICS_TYPE, open_metrics([metrics_of(found)]).encode())

    def _health(self, _request: Request) -> Answer:
        blocked = [entry for entry in self._sampler.blocked() if entry[0] > _UNWELL]
        if not blocked:
            return Answer(200, "application/json", b'{"status": "ok"}\n')
        seconds, place = max(blocked)
        state = {"status": "blocked", "seconds": round(seconds, 1), "place": place}
        return Answer(503, "application/json", json.dumps(state).encode() + b"\n")


def _number_in(request: Request) -> int | None:
    text = request.query.get("number", [""])[0]
    return int(text) if text.isdecimal() and len(text) < 20 else None
