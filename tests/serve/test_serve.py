"""`python -m gevent.serve`: real processes, talked to over real sockets."""

import os
import re
import signal
import socket
import ssl
import time

import pytest
from paths import CERTIFICATE
from serve_support import APPLICATION, ask, has_ended, until


def test_serves_with_several_workers_and_ends_when_told(serve_program):
    serving = serve_program("program:app", "--bind", "127.0.0.1:0", "--workers", "2")
    address = serving.address()
    seen = set()
    until(lambda: seen.add(ask(address)[1]) or len(seen) == 2)
    assert str(serving.process.pid) not in seen
    assert serving.stop() == 0
    until(lambda: all(has_ended(int(pid)) for pid in seen))


def test_an_attribute_of_an_attribute(serve_program):
    serving = serve_program("program:holder.app", "--bind", "127.0.0.1:0")
    assert ask(serving.address())[0] == "first"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_in_flight_is_answered_before_the_end(serve_program, number):
    serving = serve_program("program:app", "--bind", "127.0.0.1:0")
    with socket.create_connection(serving.address()) as sock:
        sock.sendall(b"GET /slow HTTP/1.0\r\n\r\n")
        time.sleep(0.3)
        assert serving.stop(number) == 0
        assert sock.recv(65536).startswith(b"HTTP/1.1 200 OK")


def test_the_graceful_timeout_bounds_the_end(serve_program, tmp_path):
    (tmp_path / "program.py").write_text(APPLICATION.replace("sleep(1)", "sleep(30)"))
    serving = serve_program("program:app", "--bind", "127.0.0.1:0", "--graceful-timeout", "0")
    with socket.create_connection(serving.address()) as sock:
        sock.sendall(b"GET /slow HTTP/1.0\r\n\r\n")
        time.sleep(0.3)
        assert serving.stop() == 0
        assert b"200 OK" not in sock.recv(65536)


def test_a_worker_that_dies_is_replaced(serve_program):
    serving = serve_program("program:app", "--bind", "127.0.0.1:0")
    address = serving.address()
    _, before, _ = ask(address)
    with socket.create_connection(address) as sock:
        sock.sendall(b"GET /die HTTP/1.0\r\n\r\n")
        serving.wait_for(f"worker {before} ended with status 9")
    _, after, _ = ask(address)
    assert after != before


def test_a_worker_that_is_killed_is_replaced(serve_program):
    serving = serve_program("program:app", "--bind", "127.0.0.1:0")
    address = serving.address()
    _, before, _ = ask(address)
    os.kill(int(before), signal.SIGKILL)
    serving.wait_for(f"worker {before} ended by signal SIGKILL")
    assert ask(address)[1] != before


def test_workers_end_with_their_supervisor(serve_program):
    serving = serve_program("program:app", "--bind", "127.0.0.1:0")
    _, pid, _ = ask(serving.address())
    serving.process.kill()
    until(lambda: has_ended(int(pid)))


def test_hup_reloads_and_loses_no_request(serve_program):
    serving = serve_program("program:app", "--bind", "127.0.0.1:0", "--workers", "2")
    address = serving.address()
    assert ask(address)[0] == "first"
    (serving.folder / "program.py").write_text(APPLICATION.replace("first", "second"))
    serving.process.send_signal(signal.SIGHUP)
    words = []
    until(lambda: words.append(ask(address)[0]) or words[-20:] == ["second"] * 20)
    assert set(words) <= {"first", "second"}


def test_a_reload_that_fails_keeps_the_old_workers(serve_program):
    serving = serve_program("program:app", "--bind", "127.0.0.1:0")
    address = serving.address()
    (serving.folder / "program.py").write_text("import nowhere_to_be_found")
    serving.process.send_signal(signal.SIGHUP)
    serving.wait_for("cannot import program: ModuleNotFoundError.*nowhere_to_be_found")
    assert ask(address)[0] == "first"
    assert serving.stop() == 0


def test_reload_watches_the_files(serve_program):
    serving = serve_program("program:app", "--bind", "127.0.0.1:0", "--reload")
    address = serving.address()
    # As soon as it says that it serves, a change is seen.
    (serving.folder / "program.py").write_text(APPLICATION.replace("first", "second"))
    serving.wait_for("reloading")
    until(lambda: ask(address)[0] == "second")


def test_tls(serve_program):
    pem = CERTIFICATE
    serving = serve_program("program:app", "--bind", "127.0.0.1:0", "--tls-cert", pem)
    context = ssl.create_default_context(cafile=pem)
    context.set_alpn_protocols(["h2", "http/1.1"])
    seen = []

    def wrap(sock):
        wrapped = context.wrap_socket(sock, server_hostname="localhost")
        seen.append(wrapped.selected_alpn_protocol())
        return wrapped

    assert ask(serving.address(), wrap=wrap)[2] == "https"
    assert seen == ["http/1.1"]


def test_unix_socket(serve_program, socket_folder):
    path = str(socket_folder / "socket")
    serving = serve_program("program:app", "--bind", f"unix:{path}", "--workers", "2")
    serving.wait_for(f"listening at unix:{re.escape(path)} with 2 workers")
    assert ask(path)[0] == "first"
    assert serving.stop() == 0
    assert not os.path.exists(path)


def test_a_stale_unix_socket_is_replaced(serve_program, socket_folder):
    path = str(socket_folder / "socket")
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)
    serving = serve_program("program:app", "--bind", f"unix:{path}")
    serving.wait_for("listening at unix:")
    assert ask(path)[0] == "first"


@pytest.mark.parametrize("target", ["-", "access.log"])
def test_access_log(serve_program, target):
    serving = serve_program("program:app", "--bind", "127.0.0.1:0", "--access-log", target)
    ask(serving.address(), "/marked")
    assert serving.stop() == 0
    log = serving.process.stdout.read().decode()
    if target != "-":
        assert log == ""
        log = (serving.folder / target).read_text()
    assert re.fullmatch(r'127\.0\.0\.1 - - \[.*\] "GET /marked HTTP/1\.0" 200 .*\n', log)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere:app"], "cannot import nowhere: ModuleNotFoundError: No module named 'nowhere'"),
        (["program:missing"], "there is no missing in program"),
        (["program:number"], "program:number cannot be called: 5"),
        (["program:app", "--bind", "nonsense"], "not of the form HOST:PORT or unix:PATH"),
        (["program:app", "--bind", "127.0.0.1:99999"], "not of the form HOST:PORT"),
        (["program:app", "--bind", "unix:/no/such/folder/socket"], "No such file or directory"),
        (["program:app", "--tls-cert", "missing.pem"], "missing.pem: No such file or directory"),
        (["program:app", "--tls-cert", "program.py"], "cannot use the certificate of program.py"),
        (["program:app", "--access-log", "no/folder"], "cannot log to no/folder"),
        (["broken:app"], r"cannot import broken: SyntaxError: .*\(broken.py, line 1\)"),
        (["raising:app"], r"cannot import raising: KeyError: 'x' \(.*raising.py:2\)"),
    ],
)
def test_what_cannot_start_is_one_line_and_status_1(serve_program, tmp_path, arguments, message):
    (tmp_path / "broken.py").write_text("def (:")
    (tmp_path / "raising.py").write_text("\n{}['x']")
    if "--bind" not in arguments:
        arguments += ["--bind", "127.0.0.1:0"]
    serving = serve_program(*arguments)
    _, stderr = serving.process.communicate(timeout=30)
    lines = stderr.decode().splitlines()
    assert len(lines) == 1
    assert re.search(message, lines[0])
    assert serving.process.returncode == 1


def test_a_port_in_use(serve_program):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        serving = serve_program("program:app", "--bind", f"127.0.0.1:{port}")
        _, stderr = serving.process.communicate(timeout=30)
    assert stderr.decode() == (
        f"gevent.serve: cannot listen at 127.0.0.1:{port}: Address already in use\n"
    )
    assert serving.process.returncode == 1


def test_a_port_of_another_server_of_the_same_kind(serve_program):
    first = serve_program("program:app", "--bind", "127.0.0.1:0")
    port = first.address()[1]
    second = serve_program("program:app", "--bind", f"127.0.0.1:{port}")
    _, stderr = second.process.communicate(timeout=30)
    assert b"Address already in use" in stderr
    assert second.process.returncode == 1


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["program"],
        ["program:app", "--workers", "0"],
        ["program:app", "--workers", "many"],
        ["program:app", "--tls-key", "key.pem"],
        ["program:app", "--graceful-timeout", "nan"],
    ],
)
def test_a_wrong_command_line(serve_program, arguments):
    serving = serve_program(*arguments)
    _, stderr = serving.process.communicate(timeout=30)
    assert b"python -m gevent.serve --help" in stderr
    assert stderr.count(b"\n") == 2
    assert serving.process.returncode == 2
