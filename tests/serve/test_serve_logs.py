"""The logs of `python -m gevent.serve`: their lines, and where they go."""

import contextlib
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys

import pytest
from serve_support import APPLICATION, ask, until

from gevent.serve.errors import ServeError
from gevent.serve.logs import LogFile, Messages

HERE = ("program:app", "--bind", "127.0.0.1:0")


def test_lines_are_there_when_the_request_was_answered(serve_program, tmp_path):
    serving = serve_program(*HERE, "--access-log", "-")
    address = serving.address()
    for count in (1, 2):
        pid = ask(address, f"/marked/{count}")[1]
        line = b""
        while not line.endswith(b"\n"):
            line += os.read(serving.process.stdout.fileno(), 1)
        assert f"GET /marked/{count} HTTP/1.0".encode() in line
    os.kill(int(pid), signal.SIGKILL)


def test_named_pipe_that_nobody_reads_from(tmp_path):
    path, complaints = tmp_path / "pipe", []
    os.mkfifo(path)
    with pytest.raises(ServeError, match="cannot log to"):
        LogFile(str(path))
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    log = LogFile(str(path), complaints.append)
    log.write("a line\n")
    assert os.read(reader, 100) == b"a line\n"
    # One that is full loses lines and keeps nobody waiting.
    while not complaints:
        log.write("x" * 4095 + "\n")
    os.close(reader)
    log.write("a line\n")
    assert len(complaints) == 1


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&-", "<&- >&- 2>&-"])
def test_closed_standard_streams(own_environment, tmp_path, socket_folder, closed):
    # No socket takes the place of a stream, which the logs would be written to.
    (tmp_path / "program.py").write_text(APPLICATION)
    path = socket_folder / "socket"
    command = [sys.executable, "-m", "gevent.serve", "program:app", "--bind", f"unix:{path}"]
    shell = ["sh", "-c", f'exec "$@" {closed}', "sh", *command, "--access-log", "-"]
    log = subprocess.DEVNULL
    with subprocess.Popen(shell, cwd=tmp_path, env=own_environment, stdout=log) as process:

        def answers() -> bool:
            assert process.poll() is None
            with contextlib.suppress(OSError):
                return ask(str(path))[0] == "first"
            return False

        try:
            until(answers)
            assert answers()
        finally:
            process.terminate()
        assert process.wait(60) == 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_usr1_opens_the_logs_anew(serve_program, tmp_path, workers):
    options = ("--access-log", "access", "--error-log", "errors", "--workers", workers)
    serving = serve_program(*HERE, *options)
    errors, access = tmp_path / "errors", tmp_path / "access"
    until(lambda: errors.exists() and "listening at" in errors.read_text())
    port = int(re.search(r"listening at http://127.0.0.1:(\d+)", errors.read_text())[1])
    ask(("127.0.0.1", port), "/before")
    access.rename(tmp_path / "access.1")
    errors.rename(tmp_path / "errors.1")
    serving.process.send_signal(signal.SIGUSR1)
    until(lambda: errors.exists() and "opening the log files anew" in errors.read_text())
    until(lambda: ask(("127.0.0.1", port), "/after") and access.exists())
    # No worker still writes to the old file.
    until(
        lambda: (
            [ask(("127.0.0.1", port), "/last") for _ in range(5)]
            and "/last" not in (tmp_path / "access.1").read_text()[-200:]
        )
    )
    assert "/before" in (tmp_path / "access.1").read_text()
    assert serving.stop() == 0
    assert serving.rest() == ""


def test_json(serve_program, tmp_path):
    serving = serve_program(*HERE, "--access-log", "access", "--access-log-format", "json")
    address = serving.address()
    with socket.create_connection(address, timeout=30) as sock:
        sock.sendall(
            b'GET /a%20b?c="d" HTTP/1.1\r\nHost: \xe4.example\r\nUser-Agent: "x"\r\n'
            b"Connection: close\r\n\r\n"
        )
        while sock.recv(65536):
            pass
    with socket.create_connection(address, timeout=30) as sock:
        sock.sendall(b"nonsense\r\n\r\n")
        assert b" 400 " in sock.recv(65536)
    assert serving.stop() == 0
    lines = (tmp_path / "access").read_text().splitlines()
    first, *more = [json.loads(line) for line in lines]
    if first["status"] == 200:
        assert first["target"] == '/a%20b?c="d"'
        assert first["agent"] == '"x"'
        assert first["host"] == "\xe4.example"
        assert first["bytes"] > 0
    assert first["client"] == "127.0.0.1"
    assert set(first) == {
        *("time", "client", "method", "target", "protocol", "status", "bytes", "seconds"),
        *("host", "agent", "referer", "worker"),
    }
    for other in more:
        assert other["status"] == 400


def test_levels(serve_program, socket_folder):
    options = ("--bind", f"unix:{socket_folder / 'socket'}", "--log-level", "error")
    serving = serve_program("program:app", *options)

    def answers() -> bool:
        try:
            return bool(ask(str(socket_folder / "socket")))
        except (FileNotFoundError, ConnectionRefusedError):
            return False

    until(answers)
    assert serving.stop() == 0
    assert serving.rest() == ""
    serving = serve_program(*HERE, "--log-level", "debug")
    serving.wait_for(r"worker \d+ starts")


def test_what_the_application_writes_to_wsgi_errors(serve_program, tmp_path):
    (tmp_path / "program.py").write_text(
        "def app(environ, start_response):\n"
        "    environ['wsgi.errors'].writelines(['g\\u00e4nse', '\\n'])\n"
        "    environ['wsgi.errors'].flush()\n"
        "    start_response('200 OK', [])\n"
        "    return [b'first']\n"
    )
    serving = serve_program(*HERE)
    ask(serving.address())
    serving.wait_for("g\u00e4nse\n")


@pytest.mark.parametrize(
    ("app", "options", "status", "text"),
    [
        ("program:app", (), 0, "program:app and its settings are in order"),
        ("raising:app", (), 1, r"cannot import raising: KeyError: 'x' \(.*raising.py:1\)"),
        ("factory:make('a', times=2)", (), 0, "in order"),
        ("factory:make()", (), 1, r"cannot make factory:make\(\): TypeError"),
        ("factory:make(open)", (), 1, "neither a name nor a call with literal arguments"),
        ("factory:broken", ("--factory",), 1, "cannot make factory:broken: ValueError: not made"),
        ("factory:number()", (), 1, r"factory:number\(\) cannot be called: 5"),
        ("program:app", ("--handler", "nowhere:Handler"), 1, "cannot import nowhere"),
        ("program:app", ("--tls-cert", "missing"), 1, "missing: No such file"),
    ],
)
def test_check(serve_program, tmp_path, app, options, status, text):
    (tmp_path / "raising.py").write_text("raise KeyError('x')")
    (tmp_path / "factory.py").write_text(
        "def make(name, *, times=1):\n"
        "    return lambda environ, start_response: []\n"
        "def broken():\n    raise ValueError('not made')\n"
        "number = 5\n"
    )
    serving = serve_program(app, "--check", *options)
    assert serving.process.wait(60) == status
    assert re.search(text, serving.rest())


def test_a_full_disk_is_told_once_and_recovered_from(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    told = []
    log = LogFile(str(tmp_path / "log"), told.append)
    log.write("one\n")
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4, before[1]))
        for _ in range(3):
            assert log.write("two\n") == 4
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert told == [f"cannot log to {tmp_path / 'log'}: File too large; lines are lost"]
    log.write("three\n")
    assert told[1:] == ["logging works again, 3 lines were lost"]
    assert (tmp_path / "log").read_text() == "one\nthree\n"
    os.close(log.fileno())


def test_an_old_file_is_kept_when_the_new_one_cannot_be_opened(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    told = []
    log = LogFile(str(folder / "log"), told.append)
    folder.rename(tmp_path / "moved")
    log.reopen()
    assert told == [f"cannot log to {folder / 'log'}: No such file or directory"]
    log.write("kept\n")
    assert (tmp_path / "moved" / "log").read_text() == "kept\n"
    os.close(log.fileno())


def test_messages_have_a_level_and_in_a_file_a_time(tmp_path):
    messages = Messages(str(tmp_path / "log"), "warning")
    for method in (messages.debug, messages.say, messages.warn, messages.fail):
        method(method.__name__)
    text = (tmp_path / "log").read_text()
    assert re.fullmatch(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d gevent\.serve: (warn|fail)\n){2}", text)
    os.close(messages.file.fileno())


def test_an_encrypted_key_is_asked_for_once(tmp_path, own_environment):
    """On a terminal of its own, with two workers and a reload."""
    if os.system("command -v openssl > /dev/null"):
        pytest.skip("openssl makes the key")
    key = ["-newkey", "rsa:2048", "-passout", "pass:secret", "-keyout", tmp_path / "key.pem"]
    subprocess.run(
        ["openssl", "req", "-x509", *key, "-out", tmp_path / "cert.pem", "-subj", "/CN=localhost"],
        check=True,
        capture_output=True,
    )
    (tmp_path / "program.py").write_text("def app(environ, start_response): ...\n")
    (tmp_path / "password").write_text("secret\n")
    master, slave = os.openpty()
    command = [sys.executable, "-m", "gevent.serve", *HERE, "--workers", "2"]
    tls = ["--tls-cert", "cert.pem", "--tls-key", "key.pem"]
    process = subprocess.Popen(
        [*command, *tls],
        cwd=tmp_path,
        env=own_environment,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        # Opening a terminal without O_NOCTTY makes it the one of the session.
        preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)),
    )
    os.close(slave)
    said = b""

    def wait_for(pattern: bytes) -> None:
        nonlocal said
        while not re.search(pattern, said):
            said += os.read(master, 4096)

    try:
        wait_for(b"pass phrase for key.pem: ")
        os.write(master, b"secret\n")
        wait_for(b"listening at https://")
        process.send_signal(signal.SIGHUP)
        wait_for(b"reloaded")
    finally:
        process.terminate()
        assert process.wait(60) == 0
        os.close(master)
    assert said.count(b"pass phrase") == 1
    for password, status in (("password", 0), ("cert.pem", 1), ("missing", 1)):
        done = subprocess.run(
            [*command, *tls, "--tls-key-password-file", password, "--check"],
            cwd=tmp_path,
            env=own_environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
        )
        assert done.returncode == status, done.stderr
