"""The command line of ``python -m gevent.serve``."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """What to serve, and how."""

    #: ``package.module:attribute``, the application.
    app: str
    #: ``HOST:PORT``, ``[HOST]:PORT`` or ``unix:PATH``.
    bind: str
    #: How many processes serve.
    workers: int
    #: A file with the certificate and its chain, and one with the key if that is apart (PEM).
    tls_cert: str | None
    tls_key: str | None
    #: Where to log requests: a file, ``-`` for the standard output, or nowhere.
    access_log: str | None
    #: Whether to reload when a source file changes.
    reload: bool
    #: Whether to patch the standard library before the application is imported.
    patch: bool
    #: How many seconds requests in flight may take when a worker is to end.
    graceful_timeout: float
    #: How many connections may wait to be accepted by each worker.
    backlog: int


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no number of seconds")
    return seconds


def _application(text: str) -> str:
    module, colon, attribute = text.partition(":")
    if not (module and colon and attribute):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form package.module:app")
    return text


def parse(arguments: Sequence[str]) -> Options:
    """Return the options of a command line.

    :raises SystemExit: It is wrong, or asks for help.
    """
    parser = argparse.ArgumentParser(
        prog="python -m gevent.serve", description="Serve a WSGI application."
    )

    def add(name: str, text: str, convert: Callable[[str], object] = str, **more: object) -> None:
        parser.add_argument(name, type=convert, help=text, **more)  # type: ignore[arg-type]

    add("app", "the application, as package.module:app", _application)
    add(
        "--bind",
        "HOST:PORT, [HOST]:PORT or unix:PATH (default: %(default)s)",
        metavar="ADDRESS",
        default="127.0.0.1:8000",
    )
    add("--workers", "how many processes (default: 1)", _at_least_one, metavar="N", default=1)
    add("--tls-cert", "certificate and chain, for HTTPS (PEM)", metavar="FILE")
    add("--tls-key", "its key, if in a file of its own (PEM)", metavar="FILE")
    add("--access-log", "log requests to FILE, or - for the standard output", metavar="FILE")
    add(
        "--graceful-timeout",
        "how long requests in flight may take at the end (default: %(default)s)",
        _seconds,
        metavar="SECONDS",
        default=30.0,
    )
    add(
        "--backlog",
        "connections that may wait, for each worker (default: %(default)s)",
        _at_least_one,
        metavar="N",
        default=1024,
    )
    parser.add_argument(
        "--reload", action="store_true", help="reload when a source file of the program changes"
    )
    parser.add_argument(
        "--no-patch",
        dest="patch",
        action="store_false",
        help="do not make the standard library cooperative (gevent.monkey.patch_all)",
    )
    values = parser.parse_args(arguments)
    if values.tls_key and not values.tls_cert:
        parser.error("--tls-key needs --tls-cert")
    return Options(**vars(values))
