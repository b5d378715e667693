"""A process that serves: it loads the application, says that it is ready, and serves to the end."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from gevent.serve.listeners import ServeError
from gevent.serve.options import Options

#: What a worker tells the supervisor: that it serves; or, after this, why it cannot.
READY = b"ready"
FAILED = b"failed "

#: Seconds between two looks at the source files.
LOOK = 0.5


def run(options: Options, listener: Any, supervisor: Any, watches_files: bool) -> int:
    """Serve until ``SIGTERM`` comes or the supervisor is gone; return the exit status.

    :param listener: The listening socket; as *supervisor*, one of the standard library.
    :param supervisor: Connected to the supervisor.
    :param watches_files: Whether this is the worker that tells the supervisor of changed files.
    """
    try:
        server = _server(options, listener)
    except ServeError as error:
        supervisor.send(FAILED + str(error).encode())
        return 1

    import gevent
    from gevent.event import Event
    from gevent.socket import socket

    end = Event()
    gevent.signal_handler(signal.SIGTERM, end.set)
    server.start()
    line = socket(fileno=supervisor.detach())
    line.sendall(READY)

    def end_with_supervisor() -> None:
        with suppress(OSError):
            line.recv(1)
        end.set()

    gevent.spawn(end_with_supervisor)
    if watches_files:
        gevent.spawn(_watch_files, gevent.sleep, os.getppid())
    end.wait()
    server.stop(timeout=options.graceful_timeout)
    return 0


def _server(options: Options, listener: Any) -> Any:
    if options.patch:
        from gevent import monkey

        monkey.patch_all()
    from gevent.pywsgi import WSGIServer
    from gevent.socket import socket

    application = _load(options.app)
    tls = {}
    if options.tls_cert:
        tls["ssl_context"] = _tls_context(options.tls_cert, options.tls_key)
    log = _open_log(options.access_log)
    return WSGIServer(socket(fileno=listener.detach()), application, log=log, **tls)


def _load(name: str) -> Any:
    """Return the application called ``package.module:attribute``."""
    module_name, _, attribute = name.partition(":")
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = importlib.import_module(module_name)
    except BaseException as error:
        raise ServeError(f"cannot import {module_name}: {_in_a_line(error)}") from error
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise ServeError(f"there is no {attribute} in {module_name}") from None
    if not callable(found):
        raise ServeError(f"{name} cannot be called: {found!r:.80}")
    return found


def _in_a_line(error: BaseException) -> str:
    what = " ".join(f"{type(error).__name__}: {error}".split())
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1] if frames else None
    if last is None or last.filename.startswith("<frozen"):
        return what
    return f"{what} ({last.filename}:{last.lineno})"


def _tls_context(certificate: str, key: str | None) -> Any:
    from gevent import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        files = f"{certificate} and {key}" if key else certificate
        raise ServeError(f"cannot use the certificate of {files}: {_reason(error)}") from error
    return context


def _open_log(path: str | None) -> Any:
    if path is None:
        return None
    if path == "-":
        return sys.stdout
    try:
        return open(path, "a", buffering=1)
    except OSError as error:
        raise ServeError(f"cannot log to {path}: {_reason(error)}") from error


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def _sources() -> Iterator[str]:
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        if isinstance(path, str):
            yield path


def _changed(known: dict[str, int]) -> bool:
    """Return whether a source file has changed, and take note of all."""
    changed = False
    for path in _sources():
        try:
            time = os.stat(path).st_mtime_ns
        except OSError:
            continue
        changed |= known.setdefault(path, time) != time
        known[path] = time
    return changed


def _watch_files(sleep: Callable[[float], None], supervisor: int) -> None:
    known: dict[str, int] = {}
    while True:
        if _changed(known):
            os.kill(supervisor, signal.SIGHUP)
        sleep(LOOK)
