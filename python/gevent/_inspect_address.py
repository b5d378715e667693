"""Addresses of views: their forms, how one is found, and requests to a view."""

from __future__ import annotations

import ipaddress
import json
import os
import socket as _socket
import stat
import time
from contextlib import suppress
from typing import Any, NamedTuple

__all__ = [
    "Address",
    "InspectError",
    "ask",
    "ask_json",
    "default_path",
    "find_address",
    "make_private_folder",
    "order",
    "parse_address",
]

# An address of Linux holds 107 bytes. A process that finds the path taken adds a dot and its
# number, which has up to seven digits.
_LONGEST_PATH = 107 - 8


class InspectError(Exception):
    """A view cannot be opened or asked. The message is one line for people."""


class Address(NamedTuple):
    """The address of a view: a path, or a host and a port."""

    path: str | None
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"tcp:{host}:{self.port}"


def default_path(pid: int | None = None) -> str:
    """Return the default path of the view of a process, by default of this process."""
    base = os.environ.get("XDG_RUNTIME_DIR") or "/tmp"
    return f"{base}/gevent-inspect-{os.getuid()}/{os.getpid() if pid is None else pid}.sock"


def make_private_folder(folder: str) -> None:
    """Make the folder of the default paths. It must belong to this user only.

    :raises InspectError: Another user owns it, or it cannot be made.
    """
    try:
        with suppress(FileExistsError):
            os.mkdir(folder, 0o700)
        found = os.lstat(folder)
    except OSError as error:
        raise InspectError(f"cannot make {folder}: {error.strerror}") from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise InspectError(f"{folder} is not a folder that only this user can enter")


def parse_address(text: str) -> Address:
    """Parse *text* as an address.

    :raises InspectError: *text* is not an address.
    """
    kind, colon, rest = text.strip().partition(":")
    if not colon and kind.lower() in ("1", "on", "yes", "true", "unix"):
        return Address(default_path())
    if kind == "unix" and rest:
        path = os.path.abspath(rest.replace("{pid}", str(os.getpid())))
        if len(os.fsencode(path)) > _LONGEST_PATH:
            raise InspectError(f"the path of a Unix socket is too long: {path}")
        return Address(path)
    if kind in ("tcp", "http"):
        host, colon, port = rest.strip("/").rpartition(":")
        host = host.strip("[]")
        host = "127.0.0.1" if host == "localhost" else host
        try:
            loopback = ipaddress.ip_address(host).is_loopback
        except ValueError:
            loopback = False
        if not loopback:
            raise InspectError(f"not a loopback address: {text!r}")
        if port.isdecimal() and int(port) < 65536:
            return Address(None, host, int(port))
    raise InspectError(f"not an address (unix:PATH, tcp:127.0.0.1:PORT or on): {text!r}")


def _address_of_process(pid: int) -> Address | None:
    candidates = [default_path(pid)]
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            environ = dict(
                entry.split(b"=", 1) for entry in file.read().split(b"\0") if b"=" in entry
            )
        folder = os.readlink(f"/proc/{pid}/cwd")
    except FileNotFoundError:
        raise InspectError(f"there is no process {pid}") from None
    except OSError as error:
        raise InspectError(f"cannot inspect process {pid}: {error.strerror}") from None
    runtime = os.fsdecode(environ.get(b"XDG_RUNTIME_DIR", b"") or b"/tmp")
    candidates.append(f"{runtime}/gevent-inspect-{os.stat(f'/proc/{pid}').st_uid}/{pid}.sock")
    setting = os.fsdecode(environ.get(b"GEVENT_INSPECT", b""))
    if setting.startswith("unix:"):
        path = os.path.join(folder, setting.removeprefix("unix:").replace("{pid}", str(pid)))
        # The path itself may belong to another process, which opened its view first.
        candidates += [f"{path}.{pid}", path]
    elif setting.startswith("tcp:"):
        return parse_address(setting)
    for path in candidates:
        with suppress(OSError):
            if stat.S_ISSOCK(os.stat(path).st_mode):
                return Address(path)
    return None


def find_address(target: str) -> Address:
    """Return the address of the view of *target*: a process's number, a path or an address.

    :raises InspectError: There is no view, or *target* is not valid.
    """
    if target.isdecimal():
        found = _address_of_process(int(target))
        if found is None:
            raise InspectError(
                f"process {target} has no view open; start it with GEVENT_INSPECT=on"
            )
        return found
    if target.startswith(("unix:", "tcp:", "http:")):
        return parse_address(target)
    if os.sep in target or os.path.exists(target):
        return parse_address(f"unix:{target}")
    raise InspectError(f"neither a process, a path nor an address: {target!r}")


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        # It has been removed meanwhile.
        return True


def _connect(address: Address, timeout: float) -> Any:
    where = address.path or f"{address.host}:{address.port}"
    family = _socket.AF_UNIX
    if address.path is None:
        family = _socket.AF_INET6 if ":" in address.host else _socket.AF_INET
    connection = _socket.socket(family, _socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout)
        _connect_soon(connection, address.path or (address.host, address.port), timeout)
    except (FileNotFoundError, NotADirectoryError):
        connection.close()
        raise InspectError(f"there is no socket {where}") from None
    except ConnectionRefusedError:
        connection.close()
        # The kernel refuses a connection to a file of another kind, too.
        if address.path is not None and not _is_socket(address.path):
            raise InspectError(f"{where} is not a socket") from None
        raise InspectError(f"nobody listens at {where}; the process has ended") from None
    except OSError as error:
        connection.close()
        # A timeout has no strerror, nor has a path that is too long.
        raise InspectError(f"cannot connect to {where}: {error.strerror or error}") from None
    return connection


def _connect_soon(connection: Any, where: Any, timeout: float) -> None:
    end = time.monotonic() + timeout
    while True:
        try:
            connection.connect(where)
        except BlockingIOError:
            # The queue of the Unix socket's listener is full.
            if time.monotonic() > end:
                raise
            time.sleep(0.02)
        else:
            return


def ask(address: Address, target: str, token: str | None = None, timeout: float = 10) -> bytes:
    """Return the body of the answer of the view at *address* to a request for *target*.

    :raises InspectError: There is no view, or it does not answer, or it refuses the request.
    """
    return _request("GET", address, target, token, timeout)


def order(address: Address, target: str, token: str | None = None, timeout: float = 10) -> Any:
    """Send the order *target* to the view at *address*; return its answer, decoded from JSON.

    :raises InspectError: There is no view, or it does not answer, or it refuses the request.
    """
    return _json(_request("POST", address, target, token, timeout))


def _request(
    method: str, address: Address, target: str, token: str | None, timeout: float
) -> bytes:
    head = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\n"
    if token is not None:
        if not token.isprintable() or not token.isascii():
            raise InspectError("wrong token")
        head += f"Authorization: Bearer {token}\r\n"
    answer = bytearray()
    with _connect(address, timeout) as connection:
        try:
            connection.sendall(f"{head}\r\n".encode())
            while data := connection.recv(65536):
                answer += data
        except TimeoutError:
            raise InspectError(f"the process does not answer within {timeout:g} s") from None
        except OSError as error:
            raise InspectError(f"the process does not answer: {error.strerror}") from None
    if not answer:
        raise InspectError("the process ended while it answered")
    head_end = answer.find(b"\r\n\r\n")
    if not answer.startswith(b"HTTP/1.") or head_end < 0 or not answer[9:12].isdigit():
        raise InspectError(f"the server at {address} is not a view of gevent")
    status, body = int(answer[9:12]), bytes(answer[head_end + 4 :])
    # An unhealthy process answers with status 503, and its body is returned all the same.
    if status not in (200, 202) and not (status == 503 and target == "/health"):
        first_line = body.decode(errors="replace").strip().partition("\n")[0]
        raise InspectError(first_line or f"refused with status {status}")
    return body


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        raise InspectError("the process ended while it answered") from None


def ask_json(address: Address, target: str, token: str | None = None, timeout: float = 10) -> Any:
    """Return the answer that :func:`ask` gets, decoded from JSON.

    :raises InspectError: :func:`ask` raised it, or the answer is cut off.
    """
    return _json(ask(address, target, token, timeout))
