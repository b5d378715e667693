"""The HTTP server of a process's view, in a native thread that the program does not wait for."""

from __future__ import annotations

import atexit
import hmac
import json
import os
import secrets
import socket as _socket
import stat
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from time import perf_counter
from typing import Any
from urllib.parse import parse_qs, urlsplit

from greenlet import getcurrent

from gevent._blocking import BlockingSampler
from gevent._inspect_address import Address, InspectError, default_path, make_private_folder
from gevent._stats import all_hubs, metrics_of, open_metrics, stats
from gevent._waits import WaitGraph, all_greenlets, named
from gevent.monkey import get_original

__all__ = ["METRICS_TYPE", "View", "answer", "greenlets", "listen"]

#: A status, the type of a body, and the body.
Answer = tuple[int, str, bytes]

#: The type of the text that Prometheus reads.
METRICS_TYPE = "application/openmetrics-text; version=1.0.0"

#: The longest request head that is read, in bytes, and for how many seconds.
_LONGEST_HEAD = 8192
_PATIENCE = 5.0
#: For how many seconds a loop may be blocked before the process counts as unwell.
_UNWELL = 5.0
#: The greenlets that one answer has at most.
_MOST = 5000


def _root_of(greenlet: Any) -> Any:
    while greenlet.parent is not None:
        greenlet = greenlet.parent
    return greenlet


def _spawner_of(greenlet: Any) -> Any:
    spawner = getattr(greenlet, "spawning_greenlet", None)
    spawner = spawner() if spawner is not None and not hasattr(spawner, "parent") else spawner
    return greenlet.parent if spawner is None else spawner


def greenlets(stacks: bool = True, most: int = _MOST) -> dict[str, Any]:
    """Return the living greenlets of the process, without calling any of the program's code.

    :param stacks: Whether to tell where each is.
    :param most: How many to tell of; ``"left_out"`` says how many more there are.
    """
    mine = getcurrent()
    living = [one for one in all_greenlets() if (one or one.parent is None) and one is not mine]
    graph = WaitGraph(living)
    hubs = {id(hub): hub for hub in all_hubs()}
    frames = sys._current_frames()
    threads = {id(_root_of(hub)): hub.thread_ident for hub in hubs.values()}
    active = {hub.loop.active_ident for hub in hubs.values() if not hub.loop.polling}
    told = []
    for one in living[:most]:
        thread = threads.get(id(_root_of(one)))
        if thread is None:
            # A thread without a hub, such as the one of the view.
            continue
        wait = graph.wait(one)
        entry: dict[str, Any] = {
            "id": f"{id(one):#x}",
            "name": "the hub" if id(one) in hubs else _title(one),
            "spawned_by": None if one.parent is None else f"{id(_spawner_of(one)):#x}",
            "thread": thread,
            "state": "waiting" if wait else "running" if id(one) in active else "ready",
            "wait": None,
            "seconds": None,
        }
        if id(one) in hubs and hubs[id(one)].loop.polling:
            entry["state"] = "polling"
        if wait is not None:
            entry["wait"] = wait.text(graph.others(one)).partition(" s in ")[2]
            entry["seconds"] = round(wait.seconds, 3)
        if stacks:
            frame = one.gr_frame
            if frame is None and id(one) in active:
                frame = frames.get(thread)
            entry["stack"] = [] if frame is None else traceback.format_stack(frame)
        told.append(entry)
    return {"greenlets": told, "left_out": max(0, len(living) - most)}


def _title(greenlet: Any) -> str:
    if greenlet.parent is None:
        return "the main greenlet"
    frame = greenlet.gr_frame
    body = ""
    while frame is not None:
        body, frame = frame.f_code.co_qualname, frame.f_back
    return f"{named(greenlet)[1:-1].partition(' at 0x')[0]} {body}".strip()


def listen(address: Address) -> tuple[Any, Address]:
    """Return a socket that listens at *address*, and the address that it became.

    :raises InspectError: The address cannot be had.
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
        listener.listen(8)
    except OSError as error:
        listener.close()
        raise InspectError(f"cannot listen at {address}: {error.strerror}") from None
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
    # Nobody can connect before it listens, so there is no moment at which others can.
    os.chmod(path, 0o600)
    return path


def _is_left_over(path: str) -> bool:
    """Return whether *path* is the socket of a process that has ended.

    :raises InspectError: It is something else than a socket.
    """
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        raise InspectError(f"{path} is there and is no socket")
    with get_original("socket", "socket")(_socket.AF_UNIX, _socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False


def answer(connection: Any, respond: Callable[[str, str, dict[str, list[str]]], Answer]) -> None:
    """Read a request and send what *respond* makes of its path, its token and its query.

    :raises OSError: The client is slow or gone.
    """
    connection.settimeout(_PATIENCE)
    head = bytearray()
    until = perf_counter() + _PATIENCE
    while b"\r\n\r\n" not in head:
        data = connection.recv(4096)
        head += data
        if not data or len(head) > _LONGEST_HEAD or perf_counter() > until:
            return
    lines = head.decode("latin-1").split("\r\n")
    method, _, rest = lines[0].partition(" ")
    target = urlsplit(rest.partition(" ")[0])
    query = parse_qs(target.query)
    token = query.get("token", [""])[0]
    for field in lines[1:]:
        name, _, value = field.partition(":")
        if name.lower() == "authorization":
            token = value.strip().removeprefix("Bearer ").strip()
    try:
        status, kind, body = (
            respond(target.path, token, query)
            if method == "GET"
            else (405, "text/plain", b"the view only answers GET\n")
        )
    except Exception as error:
        # Whatever happens here is the view's own affair, never the program's.
        status, kind, body = 500, "text/plain", f"the view failed: {error!r}\n".encode()
    reasons = {200: "OK", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed"}
    reason = reasons.get(status, "Unavailable")
    connection.sendall(
        f"HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\nCache-Control: no-store\r\n"
        "X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n\r\n".encode()
        + body
    )


class View:
    """The view of this process at *address*, from now until :meth:`close` or the program's end."""

    def __init__(self, address: Address, token: str | None = None) -> None:
        #: What a request over loopback has to bring, ``None`` for a Unix socket.
        self.token = None if address.path is not None else token or secrets.token_urlsafe(24)
        #: True while it answers.
        self.is_open = True
        #: The address of the view.
        self.address: Address
        self._listener, self.address = listen(address)
        self._pid = os.getpid()
        self._begun = perf_counter()
        self._sampler = BlockingSampler().start()
        self._paths: dict[str, Callable[[dict[str, list[str]]], Answer]] = {
            "/": self._page,
            "/stats.json": self._stats,
            "/greenlets.json": self._greenlets,
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
        """The address to open in a browser; ``None`` for a Unix socket."""
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
        with suppress(OSError):
            self._listener.shutdown(_socket.SHUT_RDWR)
        self._listener.close()
        if self.address.path is not None:
            with suppress(OSError):
                os.unlink(self.address.path)
        atexit.unregister(self.close)

    def _leave_to_the_parent(self) -> None:
        if self.is_open and self._pid != os.getpid():
            self.is_open = False
            self._sampler.stop()
            self._listener.close()

    def _serve(self) -> None:
        while self.is_open:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                answer(connection, self._respond)

    def _respond(self, path: str, token: str, query: dict[str, list[str]]) -> Answer:
        if self.token is not None and not hmac.compare_digest(token.encode(), self.token.encode()):
            return 403, "text/plain", b"wrong token\n"
        page = self._paths.get(path)
        if page is None:
            return 404, "text/plain", b"there is no such page; see gevent.inspect\n"
        return page(query)

    # What each path gives

    def _page(self, _query: dict[str, list[str]]) -> Answer:
        with open(os.path.join(os.path.dirname(__file__), "_inspect_page.html"), "rb") as file:
            return 200, "text/html", file.read()

    def _stats(self, query: dict[str, list[str]]) -> Answer:
        found = stats(waits="waits" in query)
        found["uptime"] = perf_counter() - self._begun
        found["command"] = " ".join(sys.orig_argv)
        return 200, "application/json", json.dumps(found).encode()

    def _greenlets(self, query: dict[str, list[str]]) -> Answer:
        found = greenlets(stacks=query.get("stacks") != ["0"])
        return 200, "application/json", json.dumps(found).encode()

    def _metrics(self, _query: dict[str, list[str]]) -> Answer:
        text = open_metrics([metrics_of(stats())])
        return 200, METRICS_TYPE, text.encode()

    def _health(self, _query: dict[str, list[str]]) -> Answer:
        blocked = [entry for entry in self._sampler.blocked() if entry[0] > _UNWELL]
        if not blocked:
            return 200, "application/json", b'{"status": "ok"}\n'
        seconds, place = max(blocked)
        told = {"status": "blocked", "seconds": round(seconds, 1), "place": place}
        return 503, "application/json", json.dumps(told).encode() + b"\n"
