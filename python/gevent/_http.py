"""The parts of the WSGI server that its engine takes from Python: messages, errors, answers."""

from __future__ import annotations

from collections.abc import Iterable
from http.client import HTTPMessage, parse_headers
from typing import Any

__all__ = [
    "BodyTimeout",
    "InvalidClientInput",
    "InvalidClientRequest",
    "NoopLog",
    "OldMessage",
    "error_response",
    "headers_factory",
    "message_of",
]


class InvalidClientInput(OSError):
    """Raised in an application that reads a body which is malformed or cut short.

    :param code: The status to answer with.
    """

    def __init__(self, *args: Any) -> None:
        message, *code = args
        super().__init__(message)
        self.code: int = code[0] if code else 400


class BodyTimeout(TimeoutError):
    """Raised in an application that reads a body which does not come in time."""

    code = 408


class InvalidClientRequest(ValueError):
    """The bytes from a client are not a request that can be served.

    :param formatted_message: The fault of the request.
    :param code: The status to answer with.
    :param reason: Its reason phrase.
    """

    def __init__(
        self, formatted_message: str, code: int = 400, reason: str = "Bad Request"
    ) -> None:
        super().__init__(formatted_message)
        self.formatted_message = formatted_message
        self.code = code
        self.reason = reason


class OldMessage(HTTPMessage):
    """The fields of a request, with the names of Python 2's messages beside today's."""

    status: str | None = ""
    _headers: list[tuple[str, str]]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.status = ""

    def getheader(self, name: str, default: Any = None) -> Any:
        """Return the value of the first field of a name, in any case."""
        return self.get(name, default)

    @property
    def headers(self) -> Iterable[str]:
        """The fields as lines."""
        for name, value in self._headers:
            yield f"{name}: {value}\r\n"

    @property
    def typeheader(self) -> str | None:
        """The value of ``Content-Type``."""
        return self.get("content-type")


def message_of(pairs: Iterable[tuple[str, str]] | None) -> OldMessage:
    """Return the message of these fields."""
    message = OldMessage()
    for name, value in pairs or ():
        message._headers.append((name, value))
    return message


def headers_factory(fp: Any, *args: Any) -> OldMessage:
    """Return the message that a binary file holds."""
    message = parse_headers(fp, _class=OldMessage)
    return message


class NoopLog:
    """A log that drops its lines."""

    def write(self, data: str) -> None:
        """Do nothing."""

    def writelines(self, lines: Iterable[str]) -> None:
        """Do nothing."""

    def flush(self) -> None:
        """Do nothing."""


_REASONS = {
    400: "Bad Request",
    408: "Request Timeout",
    413: "Content Too Large",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
}


def error_response(code: int) -> tuple[str, list[tuple[str, str]], bytes]:
    """Return status, header fields and body of the answer to an error."""
    reason = _REASONS.get(code, "Bad Request")
    body = reason.encode() if code == 500 else b""
    headers = [
        ("Content-Type", "text/plain"),
        ("Connection", "close"),
        ("Content-Length", str(len(body))),
    ]
    return f"{code} {reason}", headers, body
