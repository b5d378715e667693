"""Our sockets and servers against programs that others wrote: openssl, curl and socat."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from paths import CERTIFICATE

import gevent
from gevent import socket, ssl, subprocess
from gevent.server import DatagramServer, StreamServer

PAYLOAD = os.urandom(3_000_000)
VERSIONS = ["tls1_2", "tls1_3"]


@pytest.fixture
def run(require_program) -> Callable[..., tuple[int, bytes, bytes]]:
    """Run a program to its end while greenlets run: `run(name, *argv, input=b"")`.

    Returns its exit status, output and error output.
    """

    def run(name: str, *argv: str, input: bytes = b"") -> tuple[int, bytes, bytes]:
        with subprocess.Popen(
            [require_program(name), *argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            try:
                output, errors = process.communicate(input, timeout=60)
            finally:
                if process.poll() is None:
                    process.kill()
            return process.returncode, output, errors

    return run


@pytest.fixture
def listening(require_program) -> Callable[..., tuple[str, int]]:
    """Start a program that says where it listens: `with listening(pattern, name, *argv) as found`.

    The pattern finds that in a line it prints; what it finds is given.
    """

    @contextmanager
    def start(pattern: str, name: str, *argv: str) -> Iterator[re.Match[str]]:
        with subprocess.Popen(
            [require_program(name), *argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as process:
            try:
                with gevent.Timeout(30):
                    while not (found := re.search(pattern, process.stdout.readline().decode())):
                        assert process.poll() is None
                yield found
            finally:
                process.kill()

    return start


@pytest.fixture
def context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


def echo(sock: socket.socket, _address: object) -> None:
    while data := sock.recv(65536):
        sock.sendall(data)
    if isinstance(sock, ssl.SSLSocket):
        sock.unwrap()


@contextmanager
def serving(
    handle: Callable, failing: type[BaseException] | None = None, **options: object
) -> Iterator[str]:
    """A server on loopback; gives its address. Handling fails as told, or not at all."""
    failures = []
    hub = gevent.get_hub()
    hub.handle_error = lambda _context, kind, *_: failures.append(kind)
    try:
        with StreamServer(("127.0.0.1", 0), handle, spawn=100, **options) as server:
            server.stop_timeout = 10
            server.start()
            yield f"{server.server_host}:{server.server_port}"
    finally:
        del hub.handle_error
    assert failures == ([failing] if failing else [])


# openssl


@pytest.mark.parametrize("version", VERSIONS)
def test_openssl_client(version, context, run):
    seen = []

    def serve(sock: ssl.SSLSocket, _address: object) -> None:
        seen.append((sock.version(), sock.selected_alpn_protocol()))
        sock.sendall(sock.recv(100).upper())
        sock.unwrap()

    context.set_alpn_protocols(["http/1.1", "h2"])
    with serving(serve, ssl_context=context) as address:
        status, output, errors = run(
            *("openssl", "s_client", "-connect", address, "-servername", "localhost"),
            *("-CAfile", CERTIFICATE, "-verify_return_error", "-verify_hostname", "localhost"),
            *(f"-{version}", "-alpn", "spdy/1,http/1.1", "-ign_eof"),
            input=b"hello, server\n",
        )
    assert status == 0, errors
    assert b"HELLO, SERVER" in output
    assert b"Verification: OK" in output
    assert b"ALPN protocol: http/1.1" in output
    assert seen == [("TLSv1.2" if version == "tls1_2" else "TLSv1.3", "http/1.1")]


def test_openssl_client_with_a_certificate(context, run):
    names = []

    def serve(sock: ssl.SSLSocket, _address: object) -> None:
        names.append(sock.getpeercert()["subject"])
        sock.unwrap()

    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(CERTIFICATE)
    with serving(serve, ssl_context=context) as address:
        status, _, errors = run(
            *("openssl", "s_client", "-connect", address, "-cert", CERTIFICATE, "-ign_eof")
        )
    assert status == 0, errors
    assert names == [((("commonName", "localhost"),),)]


def test_openssl_client_takes_its_session_up_again(context, run):
    reused = []

    def serve(sock: ssl.SSLSocket, _address: object) -> None:
        reused.append(sock.session_reused)
        assert sock.recv(10) == b""

    # Connects six times, with the session of the first.
    with serving(serve, ssl_context=context) as address:
        status, output, errors = run(
            "openssl", "s_client", "-connect", address, "-tls1_2", "-reconnect"
        )
    assert status == 0, errors
    assert output.count(b"\nReused, ") == 5
    assert reused == [False] + [True] * 5


def test_openssl_client_that_will_not_have_us(context, run):
    with serving(echo, failing=ssl.SSLError, ssl_context=context) as address:
        status, _, errors = run(
            "openssl", "s_client", "-connect", address, "-verify_return_error", "-tls1_3"
        )
    assert status == 1
    assert b"certificate verify failed" in errors


@pytest.mark.parametrize("version", VERSIONS)
def test_openssl_server(version, listening):
    context = ssl.create_default_context(cafile=CERTIFICATE)
    # It answers each line with its reverse.
    with (
        listening(
            *(r"ACCEPT ([\d.]+):(\d+)", "openssl", "s_server", "-accept", "127.0.0.1:0"),
            *("-cert", CERTIFICATE, "-rev", f"-{version}"),
        ) as found,
        socket.create_connection(found.groups(), timeout=30) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as client,
    ):
        assert client.version() == ("TLSv1.2" if version == "tls1_2" else "TLSv1.3")
        lines = client.makefile("rw")
        for word in ("stressed", "x" * 5000, "drawer"):
            lines.write(word + "\n")
            lines.flush()
            assert lines.readline() == word[::-1] + "\n"
        lines.write("CLOSE\n")
        lines.flush()
        assert client.recv(10) == b""
        assert client.unwrap() is client


# curl


def serve_http(sock: socket.socket, _address: object) -> None:
    """Answer each request with its method, path and body, as often as the client likes."""
    with sock.makefile("rb") as lines:
        while request := lines.readline():
            method, path, _ = request.split()
            headers = {}
            for line in iter(lines.readline, b"\r\n"):
                name, _, value = line.partition(b":")
                headers[name.lower()] = value.strip()
            if headers.get(b"expect") == b"100-continue":
                sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            body = lines.read(int(headers.get(b"content-length", 0)))
            text = b"%b %b " % (method, path) + body
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text) + text)


@pytest.fixture(params=["http", "https"])
def site(request, context) -> Iterator[tuple[str, list[str]]]:
    """The beginning of addresses, and curl's options for them."""
    options = {"ssl_context": context} if request.param == "https" else {}
    with serving(serve_http, **options) as address:
        url = f"{request.param}://{address}".replace("127.0.0.1", "localhost")
        yield url, ["-sS", "-4", "--max-time", "60", "--cacert", CERTIFICATE]


def test_curl_gets_pages_over_one_connection(site, run):
    url, options = site
    status, output, errors = run("curl", *options, "-w", "%{num_connects} ", f"{url}/[1-5]")
    assert (status, errors) == (0, b"")
    assert output == b"GET /1 1 GET /2 0 GET /3 0 GET /4 0 GET /5 0 "


def test_curl_gets_pages_over_many_connections(site, run):
    url, options = site
    status, output, errors = run(
        "curl",
        *options,
        "--parallel",
        "--parallel-immediate",
        "--no-progress-meter",
        f"{url}/[1-40]",
    )
    assert (status, errors) == (0, b"")
    assert sorted(output.split(b"GET /")[1:], key=int) == [b"%d " % n for n in range(1, 41)]


def test_curl_uploads(site, run):
    url, options = site
    status, output, errors = run(
        "curl",
        *options,
        "-T",
        "-",
        "-H",
        "Transfer-Encoding:",
        "-H",
        f"Content-Length: {len(PAYLOAD)}",
        f"{url}/file",
        input=PAYLOAD,
    )
    assert (status, errors) == (0, b"")
    assert output == b"PUT /file " + PAYLOAD


# socat


@pytest.mark.parametrize("kind", ["TCP", "OPENSSL", "UNIX-CONNECT"])
def test_socat_client(kind, context, run, socket_folder):
    options = {"ssl_context": context} if kind == "OPENSSL" else {}
    path = str(socket_folder / "socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        with serving(echo, **options) as address, StreamServer(listener, echo) as at_path:
            at_path.start()
            where = path if kind == "UNIX-CONNECT" else address
            secure = f",cafile={CERTIFICATE},commonname=localhost" if options else ""
            status, output, errors = run(
                "socat", "-t", "30", "-", f"{kind}:{where}{secure}", input=PAYLOAD
            )
    assert (status, errors) == (0, b"")
    assert output == PAYLOAD


def talk(sock: socket.socket) -> None:
    """Send everything to an echo, and see it come back whole and end."""
    sock.settimeout(30)
    writer = gevent.spawn(sock.sendall, PAYLOAD)
    received = bytearray()
    while len(received) < len(PAYLOAD):
        received += sock.recv(65536)
    writer.get(timeout=20)
    assert received == PAYLOAD
    sock.shutdown(socket.SHUT_WR)
    assert sock.recv(1) == b""


def test_socat_server_over_tcp(listening):
    with (
        listening(
            *(r"listening on AF=2 ([\d.]+):(\d+)", "socat", "-d", "-d"),
            *("TCP-LISTEN:0,bind=127.0.0.1", "EXEC:cat"),
        ) as found,
        socket.create_connection(found.groups()) as client,
    ):
        talk(client)


def test_socat_server_over_a_unix_socket(listening, socket_folder):
    path = str(socket_folder / "socket")
    with (
        listening("listening on AF=1", "socat", "-d", "-d", f"UNIX-LISTEN:{path}", "EXEC:cat"),
        socket.socket(socket.AF_UNIX) as client,
    ):
        client.connect(path)
        talk(client)


def test_socat_sends_datagrams(run):
    class Reverser(DatagramServer):
        def handle(self, data: bytes, address: tuple[str, int]) -> None:
            self.sendto(data[::-1], address)

    with Reverser(("127.0.0.1", 0)) as server:
        server.start()
        status, output, errors = run(
            *("socat", "-t", "2", "-", f"UDP:127.0.0.1:{server.server_port}"), input=b"parts"
        )
    assert (status, output, errors) == (0, b"strap", b"")


def test_socat_answers_datagrams(listening):
    with (
        listening(
            *(r"listening on UDP AF=2 ([\d.]+):(\d+)", "socat", "-d", "-d"),
            *("UDP-LISTEN:0,bind=127.0.0.1", "PIPE"),
        ) as found,
        socket.socket(type=socket.SOCK_DGRAM) as client,
    ):
        client.settimeout(30)
        client.connect((found[1], int(found[2])))
        for message in (b"one", b"two" * 1000):
            client.send(message)
            assert client.recv(65536) == message
