"""The requests of `data/http`, sent to a server whole, byte by byte, and behind a good one."""

import re
import tomllib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from paths import DATA

import gevent
from gevent import socket
from gevent.pool import Pool
from gevent.pywsgi import WSGIServer

FOLDER = DATA / "http"
GOOD = b"POST /good HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok"
#: Sent byte by byte, a longer request would only take longer.
LONGEST = 5000


def octets(value: str | list | dict[str, Any]) -> bytes:
    """Return the bytes that the corpus means."""
    if isinstance(value, list):
        return b"".join(map(octets, value))
    if isinstance(value, dict):
        return octets(value["repeat"]) * value["times"]
    return value.encode("latin-1")


def cases() -> list[dict[str, Any]]:
    found = []
    for path in sorted(FOLDER.glob("*.toml")):
        found += tomllib.loads(path.read_text())["case"]
    assert len({case["name"] for case in found}) == len(found) > 100
    return found


each_case = pytest.mark.parametrize("case", cases(), ids=lambda case: case["name"])


class Echo:
    """A server whose application answers with the body it was sent."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.answered: list[str] = []
        self.server = WSGIServer(("127.0.0.1", 0), self.application, log=None, error_log=self)
        self.server.start()

    def application(self, environ: dict, start_response: Callable) -> list[bytes]:
        body = environ["wsgi.input"].read()
        self.answered.append(environ["PATH_INFO"])
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]

    def write(self, text: str) -> None:
        self.errors.append(text)

    def flush(self) -> None:
        """Nothing is kept back."""

    def ask(self, request: bytes, step: int, complete: bool, twice: bool = False) -> bytes:
        """Return all that is answered to a request sent `step` bytes at a time, or in two parts.

        After a complete request the client ends its side; after any other the server has to end.
        """
        with socket.create_connection(self.server.address, timeout=20) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            answer = gevent.spawn(self._read, sock)
            try:
                starts = (0, step) if twice else range(0, len(request), step)
                for at in starts:
                    end = len(request) if twice and at else at + step
                    sock.sendall(request[at:end])
                    gevent.sleep(0)
                if complete:
                    sock.shutdown(socket.SHUT_WR)
            except (BrokenPipeError, ConnectionResetError):
                # It refused before it had everything.
                assert not complete
            return answer.get(timeout=20)

    @staticmethod
    def _read(sock: socket.socket) -> bytes:
        answer = b""
        try:
            while more := sock.recv(65536):
                answer += more
        except ConnectionResetError:
            # What it did not read any more makes the kernel end the connection this way.
            pass
        return answer


@pytest.fixture(scope="module")
def echo() -> Iterator[Echo]:
    made = Echo()
    yield made
    made.server.stop()


def responses(answer: bytes) -> list[tuple[int, bytes]]:
    """Return status and body of each response, but those that only say to go on."""
    found = []
    while answer:
        head, separator, rest = answer.partition(b"\r\n\r\n")
        assert separator, answer
        status = re.match(rb"HTTP/1\.[01] (\d{3}) ", head)
        assert status, head
        if status[1] == b"100":
            answer = rest
            continue
        length = re.search(rb"(?i)^content-length: *(\d+)", head, re.MULTILINE)
        if length is None:
            # After CONNECT, what follows is no response.
            found.append((int(status[1]), rest))
            break
        found.append((int(status[1]), rest[: int(length[1])]))
        answer = rest[int(length[1]) :]
    return found


def check(echo: Echo, case: dict[str, Any], before: bytes, step: int) -> None:
    good = "refusal" not in case
    answer = echo.ask(before + octets(case["request"]), step, complete=good)
    seen = responses(answer)
    assert b"Traceback" not in answer
    if before:
        assert seen.pop(0) == (200, b"ok")
    assert [status for status, _ in seen] == [case["status"]]
    if good:
        assert seen[0][1] == octets(case.get("body", ""))
    # Whatever came, the next one is served.
    echo.answered.clear()
    assert responses(echo.ask(GOOD, len(GOOD), complete=True)) == [(200, b"ok")]
    assert echo.answered == ["/good"]


@each_case
def test_whole(echo, case):
    check(echo, case, b"", 1 << 30)


@each_case
def test_behind_a_good_request(echo, case):
    check(echo, case, GOOD, 1 << 30)


@each_case
def test_cut_in_two_at_every_byte(echo, case):
    request = octets(case["request"])
    good = "refusal" not in case
    cuts = range(1, len(request), max(1, len(request) // 150))

    def ask(cut: int) -> list[int]:
        return [
            status for status, _ in responses(echo.ask(request, cut, complete=good, twice=True))
        ]

    for statuses in Pool(20).imap_unordered(ask, cuts):
        assert statuses == [case["status"]]


@each_case
def test_byte_by_byte(echo, case):
    size = len(octets(case["request"]))
    check(echo, case, b"", 1 if size <= LONGEST else size // 100)
