"""Functions that turn the text of a setting into its value.

Each takes a text from the command line, an environment variable or the configuration file, and
raises :class:`ValueError` with a message for the operator when the text is not valid.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

#: The levels of messages, from the least to the most important.
LEVELS = ("debug", "info", "warning", "error")

_TRUE = ("1", "yes", "true", "on")
_FALSE = ("0", "no", "false", "off")

#: The member of a list of trusted proxies that means every client of a Unix socket.
UNIX_CLIENTS = "unix"


def whole(text: str, least: int = 0) -> int:
    """Return a whole number that is at least *least*."""
    try:
        number = int(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a whole number") from None
    if number < least:
        raise ValueError(f"{number} is less than {least}")
    return number


def positive(text: str) -> int:
    """Return a whole number that is at least 1."""
    return whole(text, 1)


def seconds(text: str) -> float:
    """Return a finite number of seconds that is not negative."""
    return _quantity(text, "seconds")


def rate(text: str) -> float:
    """Return a finite number of bytes that is not negative, with fractions."""
    return _quantity(text, "bytes")


def _quantity(text: str, unit: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise ValueError(f"{text!r} is not a number of {unit}")
    return number


def optional(convert: Callable[[str], T]) -> Callable[[str], T | None]:
    """Return a converter that also knows the word ``none``."""

    def convert_or_none(text: str) -> T | None:
        return None if text.lower() == "none" else convert(text)

    return convert_or_none


def truth(text: str) -> bool:
    """Return true for ``yes`` and its like, and false for ``no`` and its like."""
    word = text.lower()
    if word not in _TRUE + _FALSE:
        raise ValueError(f"{text!r} is neither yes nor no")
    return word in _TRUE


def one_of(*words: str) -> Callable[[str], str]:
    """Return a converter that accepts these words only."""

    def convert(text: str) -> str:
        if text not in words:
            raise ValueError(f"{text!r} is not one of {', '.join(words)}")
        return text

    return convert


def octal(text: str) -> int:
    """Return permissions that are written as an octal number, such as ``660``."""
    try:
        number = int(text.removeprefix("0o"), 8)
    except ValueError:
        number = -1
    if not 0 <= number <= 0o7777:
        raise ValueError(f"{text!r} is not a file mode in octal")
    return number


def application(text: str) -> str:
    """Return *text* when it has the form ``package.module:attribute``."""
    module, colon, attribute = text.partition(":")
    if not (module and colon and attribute):
        raise ValueError(f"{text!r} is not of the form package.module:app")
    return text


def handler(text: str) -> str:
    """Return ``auto``, ``plain``, ``websocket``, or a class as ``package.module:Class``.

    A class may also be written with a dot in place of the colon.
    """
    if text in ("auto", "plain", "websocket"):
        return text
    module, _, name = text.rpartition(":" if ":" in text else ".")
    if not (module and name):
        raise ValueError(f"{text!r} is not auto, plain, websocket or package.module:Class")
    return f"{module}:{name}"


def network(text: str) -> str:
    """Return an address, or a network as ``10.0.0.0/8``, or ``unix``."""
    if text != UNIX_CLIENTS:
        try:
            ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise ValueError(f"{text!r} is neither an address, a network nor unix") from None
    return text
