"""The settings of ``python -m gevent.serve``, each stated once.

A setting is a field of :class:`Options`. Its option on the command line, its environment variable
and its key in the configuration file all follow from the field's name: ``max_requests`` is
``--max-requests``, ``GEVENT_SERVE_MAX_REQUESTS`` and ``max-requests``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any

from gevent.serve import converters

#: The address that is served when none is given.
DEFAULT_BIND = "127.0.0.1:8000"


@dataclass(frozen=True)
class Setting:
    """The properties of a setting beside its name and default.

    :param help: One line for ``--help``.
    :param convert: Turns a text into a value; see :mod:`gevent.serve.converters`.
    :param metavar: The placeholder of the value in ``--help``.
    :param many: True if the setting may be given several times, or as a list with commas.
    """

    help: str
    convert: Callable[[str], Any] = str
    metavar: str = "VALUE"
    many: bool = False

    @property
    def is_flag(self) -> bool:
        """True if the option on the command line takes no value."""
        return self.convert is converters.truth


def setting(
    text: str,
    convert: Callable[[str], Any] = str,
    *,
    default: Any = None,
    metavar: str = "VALUE",
    many: bool = False,
) -> Any:
    """Return a field of :class:`Options`."""
    return field(default=default, metadata={"setting": Setting(text, convert, metavar, many)})


_SECONDS: dict[str, Any] = {"metavar": "SECONDS"}
_BYTES: dict[str, Any] = {"metavar": "BYTES"}
_FILE: dict[str, Any] = {"metavar": "FILE"}
_NUMBER: dict[str, Any] = {"metavar": "N"}
_TIMEOUT = converters.optional(converters.seconds)


@dataclass(frozen=True)
class Options:
    """All settings: the application, the addresses, and the way in which it is served."""

    app: str | None = setting(
        "the application: package.module:app, or package.module:make() with the call that makes it",
        converters.application,
        metavar="app",
    )
    bind: tuple[str, ...] = setting(
        "HOST:PORT, [HOST]:PORT, unix:PATH or fd://NUMBER; may be given several times "
        f"(default: the sockets that systemd passes, or {DEFAULT_BIND})",
        metavar="ADDRESS",
        many=True,
        default=(),
    )
    workers: int = setting("how many processes serve", converters.positive, default=1, **_NUMBER)

    # The watching and the replacement of workers.
    timeout: float = setting(
        "replace a worker that has not let other greenlets run for so long; 0: never",
        converters.seconds,
        default=30.0,
        **_SECONDS,
    )
    start_timeout: float = setting(
        "how long a worker may take to import the application; 0: any time",
        converters.seconds,
        default=30.0,
        **_SECONDS,
    )
    graceful_timeout: float = setting(
        "how long requests in flight may take when a worker ends",
        converters.seconds,
        default=30.0,
        **_SECONDS,
    )
    max_requests: int = setting(
        "replace a worker after so many requests; 0: never", converters.whole, default=0, **_NUMBER
    )
    max_requests_jitter: int = setting(
        "add a random number up to N to --max-requests, for each worker anew",
        converters.whole,
        default=0,
        **_NUMBER,
    )
    max_memory: int = setting(
        "replace a worker that occupies more than so many MiB of memory; 0: never",
        converters.whole,
        default=0,
        metavar="MIB",
    )
    reload: bool = setting(
        "reload when a source file of the program changes", converters.truth, default=False
    )
    reload_extra: tuple[str, ...] = setting(
        "with --reload, watch the files that match this pattern too",
        metavar="PATTERN",
        many=True,
        default=(),
    )

    # The application.
    factory: bool = setting(
        "call the application's name without arguments to get the application",
        converters.truth,
        default=False,
    )
    handler: str = setting(
        "class that handles connections: package.module:Class, plain, websocket, or auto: "
        "websocket when the application uses WebSockets",
        converters.handler,
        metavar="CLASS",
        default="auto",
    )
    patch: bool = setting(
        "make the standard library cooperative (gevent.monkey.patch_all)",
        converters.truth,
        default=True,
    )

    # Listening sockets.
    backlog: int = setting(
        "connections that may wait to be accepted", converters.positive, default=1024, **_NUMBER
    )
    socket_mode: int | None = setting(
        "permissions of Unix sockets, in octal", converters.octal, metavar="MODE"
    )
    reuse_port: bool = setting(
        "let other programs listen at the same port (SO_REUSEPORT)", converters.truth, default=False
    )

    # TLS.
    tls_cert: str | None = setting("certificate and chain, for HTTPS (PEM)", **_FILE)
    tls_key: str | None = setting("its key, if in a file of its own (PEM)", **_FILE)
    tls_key_password_file: str | None = setting(
        "the file whose first line decrypts the key; without it the terminal is asked once", **_FILE
    )
    tls_client_ca: str | None = setting(
        "demand client certificates that one of these authorities signed (PEM)", **_FILE
    )
    tls_min_version: str = setting(
        "the oldest version of TLS that is spoken: 1.2 or 1.3",
        converters.one_of("1.2", "1.3"),
        default="1.2",
        metavar="VERSION",
    )
    tls_ciphers: str | None = setting(
        "ciphers of TLS 1.2, as OpenSSL lists them", metavar="CIPHERS"
    )

    # The process.
    chdir: str | None = setting("the directory to serve from", metavar="DIRECTORY")
    user: str | None = setting("the user that workers run as", metavar="USER")
    group: str | None = setting("the group that workers run as", metavar="GROUP")
    umask: int | None = setting(
        "permissions that new files do not get, in octal", converters.octal, metavar="MASK"
    )
    pid_file: str | None = setting("write the supervisor's process number to FILE", **_FILE)

    # Logs.
    access_log: str | None = setting("log requests to FILE, or - for the standard output", **_FILE)
    access_log_format: str = setting(
        "text, or json: an object in a line",
        converters.one_of("text", "json"),
        default="text",
        metavar="FORMAT",
    )
    error_log: str | None = setting(
        "log messages and errors to FILE; by default to the standard error", **_FILE
    )
    log_level: str = setting(
        f"the least important messages that are logged: {', '.join(converters.LEVELS)}",
        converters.one_of(*converters.LEVELS),
        default="info",
        metavar="LEVEL",
    )

    # Proxies in front.
    trusted_proxies: tuple[str, ...] = setting(
        "addresses or networks of proxies whose word about the client counts, or unix",
        converters.network,
        metavar="NETWORK",
        many=True,
        default=(),
    )
    proxy_header: str = setting(
        "the fields that these proxies set: x-forwarded (X-Forwarded-*) or forwarded (RFC 7239)",
        converters.one_of("x-forwarded", "forwarded"),
        default="x-forwarded",
        metavar="FIELDS",
    )

    # Limits of connections and requests: attributes of `gevent.pywsgi.WSGIServer`.
    max_connections: int | None = setting(
        "how many connections each worker has at once; more wait",
        converters.optional(converters.positive),
        **_NUMBER,
    )
    max_per_address: int | None = setting(
        "how many connections one address has at once with each worker; more are closed",
        converters.optional(converters.positive),
        **_NUMBER,
    )
    strict: bool = setting(
        "refuse requests that current rules call invalid though older servers accept them",
        converters.truth,
        default=True,
    )
    idle_timeout: float | None = setting(
        "how long a connection may be idle", _TIMEOUT, default=75.0, **_SECONDS
    )
    header_timeout: float | None = setting(
        "how long the head of a request may take", _TIMEOUT, default=30.0, **_SECONDS
    )
    body_timeout: float | None = setting(
        "how long to wait for more of a request's body", _TIMEOUT, default=60.0, **_SECONDS
    )
    write_timeout: float | None = setting(
        "how long to wait for a client to take more of a response",
        _TIMEOUT,
        default=60.0,
        **_SECONDS,
    )
    min_rate: float | None = setting(
        "how many bytes that a client sends or takes earn it another second, or none: any",
        converters.optional(converters.rate),
        default=100.0,
        **_BYTES,
    )
    linger_time: float | None = setting(
        "how long to read on after the last response, for clients that still send; 0: not at all",
        _TIMEOUT,
        default=30.0,
        **_SECONDS,
    )
    linger_timeout: float | None = setting(
        "for how much of that a client may be silent", _TIMEOUT, default=5.0, **_SECONDS
    )
    max_request_line: int = setting(
        "how long a request line may be", converters.positive, default=8192, **_BYTES
    )
    max_header_bytes: int = setting(
        "how long the header fields of a request may be",
        converters.positive,
        default=65536,
        **_BYTES,
    )
    max_headers: int = setting(
        "how many header fields a request may have", converters.positive, default=100, **_NUMBER
    )
    max_body: int | None = setting(
        "how long the body of a request may be, or none",
        converters.optional(converters.whole),
        **_BYTES,
    )
    max_discard: int = setting(
        "how much of a body that the application did not read is skipped to keep the connection",
        converters.whole,
        default=1 << 20,
        **_BYTES,
    )

    # Options of the command line alone.
    check: bool = setting(
        "import the application, report if it could serve, and end", converters.truth, default=False
    )


#: Settings of the process as a whole, which a reload leaves as they are.
LASTING = (
    *("bind", "backlog", "socket_mode", "reuse_port", "chdir", "umask", "user", "group"),
    *("pid_file", "error_log", "log_level", "check", "tls_key_password_file"),
)


def settings() -> dict[str, tuple[Field[Any], Setting]]:
    """Return every setting by the name of its field."""
    return {each.name: (each, each.metadata["setting"]) for each in fields(Options)}


def default_of(each: Field[Any]) -> Any:
    """Return the default of a field, None without one."""
    return None if each.default is MISSING else each.default
