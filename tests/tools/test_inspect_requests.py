"""What clients may do to a view: nothing of it holds up others, ends it, or touches the program."""

import os
import socket
import stat
import threading
import time
from urllib.parse import quote

import pytest
from descriptors import open_descriptors
from inspect_support import get, program

from gevent import inspect
from gevent._inspect_address import (
    InspectError,
    ask,
    ask_json,
    default_path,
    find_address,
    parse_address,
)


@pytest.fixture
def view(socket_folder):
    with inspect.open_view(f"unix:{socket_folder}/view") as view:
        yield view


@pytest.fixture
def loopback():
    with inspect.open_view("tcp:127.0.0.1:0", token="secret") as view:
        yield view


def connected(view):
    client = socket.socket(socket.AF_UNIX)
    client.connect(view.address.path)
    client.settimeout(20)
    return client


def answer_to(view, data):
    """Return all that comes back after *data* was sent."""
    with connected(view) as client:
        client.sendall(data)
        found = b""
        while more := client.recv(65536):
            found += more
    return found


HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"


def is_well(view):
    # The loop of these tests is blocked by them, which the answer may say.
    return b'"status": ' in ask(view.address, "/health", view.token, timeout=60)


class TestRequests:
    @pytest.mark.parametrize(
        "data",
        [
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"\0" * 100,
            b"\r\n\r\n",
            b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
            b"GET\r\n\r\n",
            b"GET / HTTP/2.0\r\n\r\n",
            b"GET http://[ HTTP/1.1\r\n\r\n",
            b"get /health\r\n\r\n",
            "GÉT / HTTP/1.1\r\n\r\n".encode("latin-1") + b"\xff",
        ],
    )
    def test_no_http(self, view, data):
        found = answer_to(view, data)
        assert found.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 405 ")), found
        assert found.partition(b"\r\n\r\n")[2].count(b"\n") == 1
        assert is_well(view)

    @pytest.mark.parametrize("size", [8_300, 1_000_000])
    def test_huge_heads(self, view, size):
        found = answer_to(view, b"GET / HTTP/1.1\r\nX: " + b"x" * size)
        assert found.startswith(b"HTTP/1.1 431 ")
        assert found.endswith(b"the request is too long\n")

    def test_a_body_is_not_read_and_takes_no_answer_away(self, view):
        head = b"GET /health HTTP/1.1\r\nContent-Length: 300000\r\n\r\n"
        assert b'"status": ' in answer_to(view, head + b"x" * 300_000)

    def test_pipelining_gets_one_answer(self, view):
        found = answer_to(view, HEALTH * 50)
        assert found.count(b"HTTP/1.1 ") == 1
        assert b'"status": ' in found
        assert b"Connection: close\r\n" in found

    def test_byte_by_byte(self, view):
        with connected(view) as client:
            for byte in HEALTH:
                client.sendall(bytes([byte]))
            assert client.recv(1000).startswith(b"HTTP/1.1 200 ")

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "OPTIONS"])
    def test_other_methods(self, view, method):
        found = answer_to(view, f"{method} /health HTTP/1.1\r\n\r\n".encode())
        assert found.startswith(b"HTTP/1.1 405 ")

    def test_a_fault_of_the_view_is_an_answer(self, view, monkeypatch):
        def fail(**_):
            raise OSError("on purpose")

        monkeypatch.setattr("gevent._inspect_server.stats", fail)
        found = answer_to(view, b"GET /stats.json HTTP/1.1\r\n\r\n")
        assert found.startswith(b"HTTP/1.1 500 ")
        assert is_well(view)


class TestSlowClients:
    def test_silence_holds_up_nobody(self, view):
        silent = [connected(view) for _ in range(20)]
        assert is_well(view)
        for client in silent:
            client.close()

    def test_silence_has_an_end(self, view, monkeypatch):
        monkeypatch.setattr("gevent._inspect_http._HEAD_WITHIN", 0.1)
        with connected(view) as client:
            assert client.recv(1000) == b""
        with connected(view) as client:
            client.sendall(b"GET /hea")
            assert client.recv(1000).startswith(b"HTTP/1.1 408 ")

    def test_a_client_that_does_not_read(self, view, monkeypatch):
        monkeypatch.setattr("gevent._inspect_http._TAKEN_WITHIN", 0.2)
        monkeypatch.setattr("gevent._inspect_server.stats", lambda **_: {"much": "x" * 5_000_000})
        with connected(view) as client:
            client.sendall(b"GET /stats.json HTTP/1.1\r\n\r\n")
            assert is_well(view)
            end = time.monotonic() + 20
            while len(view._service):
                # Only a step of the service, which an answer is, finds the deadline passed.
                assert time.monotonic() < end
                time.sleep(0.05)

    def test_a_thousand_connections(self, view):
        clients = []
        try:
            for _ in range(1000):
                clients.append(connected(view))
            assert is_well(view)
            assert len(view._service) <= 64
        finally:
            for client in clients:
                client.close()
        assert is_well(view)

    def test_clients_that_reset(self, view):
        for _ in range(50):
            client = connected(view)
            client.sendall(b"GET /greenlets.json HTTP/1.1\r\n\r\n")
            client.close()
        assert is_well(view)

    def test_no_descriptor_left(self, socket_folder):
        source = """
            import gevent, os, resource
            from gevent import inspect
            view = inspect.open_view("on")
            gevent.sleep(0.01)
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
            kept = []
            try:
                while True:
                    kept.append(os.open(os.devnull, os.O_RDONLY))
            except OSError:
                pass
            print("ready", flush=True)
            gevent.sleep(1.5)
            for number in kept:
                os.close(number)
            gevent.sleep(60)
        """
        with program(source, XDG_RUNTIME_DIR=str(socket_folder)) as process:
            address = find_address(str(process.pid))
            # It waits in the listener's queue until there are descriptors again.
            assert ask(address, "/health", timeout=30) == b'{"status": "ok"}\n'


class TestTokens:
    @pytest.mark.parametrize("path", ["/", "/stats.json", "/metrics", "/health", "/nothing"])
    @pytest.mark.parametrize("token", ["wrong", "secre", "secret2", "SECRET", "s\u00e9cret"])
    def test_wrong_in_the_query(self, loopback, path, token):
        status, text = get(loopback, f"{path}?token={quote(token)}", "")
        assert (status, text) == (403, "wrong token\n")

    def test_none(self, loopback):
        assert get(loopback, "/", "") == (403, "the view asks for a token\n")

    def test_right_in_the_query(self, loopback):
        assert get(loopback, "/health?token=secret", "")[0] == 200

    def test_the_field_counts_before_the_query(self, loopback):
        assert get(loopback, "/health?token=secret", "wrong")[0] == 403

    def test_it_is_not_in_answers(self, loopback):
        for path in ("/", "/stats.json", "/greenlets.json?stacks=0"):
            status, text = get(loopback, path)
            assert status == 200
            assert "secret" not in text.replace('token="secret"', "")

    def test_made_up_ones_differ(self):
        tokens = set()
        for _ in range(3):
            with inspect.open_view("tcp:127.0.0.1:0") as view:
                tokens.add(view.token)
                assert len(view.token) >= 32
        assert len(tokens) == 3


class TestKill:
    def test_takes_the_token_in_the_field(self, loopback):
        status, text = get(loopback, "/kill?number=1&token=secret", "", method="POST")
        assert status == 403
        assert "Authorization" in text

    def test_is_no_look(self, loopback):
        assert get(loopback, "/kill?number=1")[0] == 405

    @pytest.mark.parametrize("number", ["", "x", "-1", "1" * 30, "0x10"])
    def test_bad_numbers(self, loopback, number):
        assert get(loopback, f"/kill?number={number}", method="POST")[0] == 400

    def test_unknown_numbers(self, loopback):
        status, text = get(loopback, "/kill?number=99999", method="POST")
        assert (status, text) == (409, "that greenlet has ended\n")

    def test_forbidden(self):
        with inspect.open_view("tcp:127.0.0.1:0", kill=False) as view:
            assert get(view, "/kill?number=1", method="POST")[0] == 403
            assert '"may_kill": false' in get(view, "/stats.json")[1]


class TestSockets:
    def test_of_another_user(self, socket_folder):
        if os.getuid() != 0:
            pytest.skip("only root can become another user")
        socket_folder.chmod(0o711)
        with inspect.open_view(f"unix:{socket_folder}/view") as view:
            assert stat.S_IMODE(os.stat(view.address.path).st_mode) == 0o600
            ours, theirs = os.pipe()
            pid = os.fork()
            if pid == 0:
                try:
                    os.setuid(65534)
                    ask(view.address, "/health")
                    os.write(theirs, b"answered")
                except InspectError as error:
                    os.write(theirs, str(error).encode())
                finally:
                    os._exit(0)
            os.waitpid(pid, 0)
            message = os.read(ours, 1000).decode()
            os.close(ours)
            os.close(theirs)
        assert message == f"cannot connect to {socket_folder}/view: Permission denied"

    def test_folder_of_somebody_else(self, tmp_path, monkeypatch):
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
        folder = tmp_path / f"gevent-inspect-{os.getuid()}"
        folder.mkdir(mode=0o777)
        folder.chmod(0o777)
        with pytest.raises(InspectError, match="only this user"):
            inspect.open_view("on")

    def test_folder_that_is_a_link(self, tmp_path, monkeypatch):
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
        other = tmp_path / "other"
        other.mkdir(mode=0o700)
        (tmp_path / f"gevent-inspect-{os.getuid()}").symlink_to(other)
        with pytest.raises(InspectError, match="only this user"):
            inspect.open_view("on")

    def test_a_path_relative_to_the_folder_of_the_process(self, socket_folder, monkeypatch):
        monkeypatch.chdir(socket_folder)
        with program(GEVENT_INSPECT="unix:view-{pid}") as process:
            monkeypatch.chdir("/")
            address = find_address(str(process.pid))
            assert ask_json(address, "/stats.json")["pid"] == process.pid

    @pytest.mark.parametrize("length", [100, 107, 108])
    def test_a_long_default_path(self, socket_folder, monkeypatch, length):
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(socket_folder))
        longer = socket_folder / ("x" * (length - len(default_path()) - 1))
        longer.mkdir()
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(longer))
        assert len(default_path()) == length
        if length > 107:
            with pytest.raises(InspectError, match="sock: AF_UNIX path too long"):
                inspect.open_view("on")
            return
        with inspect.open_view("on") as view:
            assert is_well(view)
            assert find_address(str(os.getpid())) == view.address

    def test_a_left_over_socket_of_a_killed_process(self, socket_folder):
        path = socket_folder / "view"
        with program(GEVENT_INSPECT=f"unix:{path}") as process:
            process.kill()
            process.wait()
        assert path.exists()
        with program(GEVENT_INSPECT=f"unix:{path}") as process:
            assert ask_json(parse_address(f"unix:{path}"), "/stats.json")["pid"] == process.pid

    def test_opened_and_closed_again_and_again(self, socket_folder):
        before = open_descriptors()
        for _ in range(20):
            with inspect.open_view(f"unix:{socket_folder}/view") as view:
                assert is_well(view)
        end = time.monotonic() + 20
        # The view's thread closes what it used when it has noticed.
        while open_descriptors() > before:
            assert time.monotonic() < end
            time.sleep(0.01)

    def test_asked_by_many_at_once(self, view):
        seen = []

        def ask_often():
            for _ in range(5):
                seen.append(ask_json(view.address, "/stats.json")["pid"])

        threads = [threading.Thread(target=ask_often) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert seen == [os.getpid()] * 40
