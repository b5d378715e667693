"""The errors of WebSockets. Each is a `WebSocketError`, which is an `OSError`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

__all__ = [
    "FrameTooLargeException",
    "HandshakeError",
    "InvalidTextError",
    "ProtocolError",
    "WebSocketError",
]


class WebSocketError(OSError):
    """The connection is closed, or cannot be used."""


class ProtocolError(WebSocketError):
    """The other side broke the protocol. The connection is closed with `code`."""

    code: ClassVar[int] = 1002


class InvalidTextError(ProtocolError):
    """The other side sent text that is not UTF-8."""

    code: ClassVar[int] = 1007


class FrameTooLargeException(ProtocolError):
    """The other side sent a message larger than allowed, before or after decompression."""

    code: ClassVar[int] = 1009


class HandshakeError(WebSocketError):
    """The opening handshake failed.

    `status` is the HTTP status: for a server the one to answer with, for a client the one it was
    answered with, or None where the answer was malformed. `headers` are those of a server's answer.
    """

    def __init__(
        self, message: str, status: int | None = None, headers: Iterable[tuple[str, str]] = ()
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers: list[tuple[str, str]] = list(headers)
