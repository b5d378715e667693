"""gevent.top: one picture, JSON, the live picture and its keys, the order to kill, bad targets."""

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest
from inspect_support import program, run_top

import gevent
from gevent import inspect, top
from gevent._inspect_address import ask_json, find_address


@pytest.fixture
def view():
    with inspect.open_view("tcp:127.0.0.1:0") as view:
        yield view


@pytest.fixture
def watched(socket_folder):
    """Run the program whose three greenlets wait for a queue."""
    with program(GEVENT_INSPECT="on", XDG_RUNTIME_DIR=str(socket_folder)) as process:
        yield process


def consumers_of(process):
    listed = ask_json(find_address(str(process.pid)), "/greenlets.json?stacks=0")["greenlets"]
    return [one for one in listed if "'a consumer'" in one["name"]]


def wait_until(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


class Live:
    """The live picture in a terminal of its own."""

    def __init__(self, *arguments):
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gevent.top", *map(str, arguments), "--interval", "0.1"],
            stdin=theirs,
            stdout=theirs,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"},
        )
        os.close(theirs)
        self._shown = b""
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        try:
            while data := os.read(self._ours, 65536):
                with self._more:
                    self._shown += data
                    self._more.notify_all()
        except OSError:
            # The terminal's other end is closed.
            pass

    def expect(self, text):
        """Wait until *text* is shown, and forget what came before."""

        def shown():
            plain = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", self._shown)
            return text.encode() in plain

        with self._more:
            assert self._more.wait_for(shown, 50), self._shown[-3000:]
            self._shown = b""

    def press(self, keys):
        os.write(self._ours, keys.encode())

    def end(self):
        """Return the status and the errors once it has ended."""
        _, errors = self.process.communicate(timeout=50)
        self._reader.join()
        os.close(self._ours)
        return self.process.returncode, errors


@contextmanager
def live(*arguments):
    pytest.importorskip("rich", reason="Rich is not here")
    shown = Live(*arguments)
    try:
        yield shown
    finally:
        shown.process.kill()


class TestPictures:
    def test_once_and_json(self, watched):
        status, text, _ = run_top(watched.pid, "--once")
        assert status == 0
        assert f"process {watched.pid}" in text
        assert "waiting in Queue.get 3" in text
        assert text.count("'a consumer' consumer") == 3
        assert "for which 2 others wait" in text
        status, text, _ = run_top(watched.pid, "--json")
        assert status == 0
        assert json.loads(text)["stats"]["pid"] == watched.pid

    def test_in_this_process(self, view, capsys):
        # One that begins with a dash would be taken for an option.
        assert view.token.isalnum()
        arguments = [str(view.address), "--once", "--token", view.token]
        assert gevent.get_hub().threadpool.apply(top.main, (arguments,)) == 0
        assert "the main greenlet" in capsys.readouterr().out

    def test_a_reader_that_goes_away(self, watched):
        command = [sys.executable, "-m", "gevent.top", str(watched.pid), "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as shown:
            shown.stdout.close()
            assert shown.stderr.read() == b""


class TestLive:
    def test_ends_with_the_program(self, watched):
        with live(watched.pid) as shown:
            shown.expect("Queue.get")
            watched.kill()
            status, errors = shown.end()
        assert status == 1
        assert errors.startswith("gevent.top: ")
        assert errors.count("\n") == 1

    def test_q_ends_it(self, watched):
        with live(watched.pid) as shown:
            shown.expect("q ends")
            shown.press("q")
            assert shown.end() == (0, "")
        assert watched.poll() is None

    def test_enter_shows_a_stack(self, watched):
        with live(watched.pid) as shown:
            shown.expect("q ends")
            # Behind the main greenlet.
            for _ in range(8):
                shown.press("\x1b[B")
                time.sleep(0.05)
            shown.press("\r")
            shown.expect("line ")
            shown.press("q")
            assert shown.end()[0] == 0

    def test_k_kills_after_a_question(self, watched):
        assert len(consumers_of(watched)) == 3
        with live(watched.pid) as shown:
            shown.expect("q ends")
            for _ in range(8):
                # Where the last row is, a key more changes nothing.
                shown.press("\x1b[B")
                time.sleep(0.05)
            shown.press("k")
            shown.expect("Kill Greenlet 'a consumer' consumer? y/n")
            shown.press("n")
            shown.expect("nothing was killed")
            assert len(consumers_of(watched)) == 3
            shown.press("k")
            shown.expect("y/n")
            shown.press("y")
            shown.expect("killed Greenlet 'a consumer' consumer")
            wait_until(lambda: len(consumers_of(watched)) == 2)
            shown.press("q")
            assert shown.end()[0] == 0
        assert watched.poll() is None


class TestKill:
    def test_without_a_question(self, watched):
        chosen = consumers_of(watched)[0]
        status, out, errors = run_top(watched.pid, "--kill", chosen["number"], "--yes")
        assert (status, errors) == (0, "")
        assert out == "killed Greenlet 'a consumer' consumer\n"
        wait_until(lambda: len(consumers_of(watched)) == 2)
        assert chosen["number"] not in [one["number"] for one in consumers_of(watched)]
        watched.send_signal(signal.SIGTERM)
        assert "is killed by order at unix:" in watched.stderr.read()

    def test_a_question_that_nobody_can_answer(self, watched):
        number = consumers_of(watched)[0]["number"]
        status, _, errors = run_top(watched.pid, "--kill", number)
        assert (status, errors.count("\n")) == (1, 1)
        assert "--yes" in errors
        assert len(consumers_of(watched)) == 3

    def test_an_unknown_number(self, watched):
        status, _, errors = run_top(watched.pid, "--kill", "987654", "--yes")
        assert (status, errors) == (1, "gevent.top: there is no greenlet 987654\n")

    def test_the_main_greenlet(self, watched):
        listed = ask_json(find_address(str(watched.pid)), "/greenlets.json?stacks=0")["greenlets"]
        for one in listed:
            if not one["killable"]:
                status, _, errors = run_top(watched.pid, "--kill", one["number"], "--yes")
                assert (status, errors.count("\n")) == (1, 1)
                assert "cannot be killed" in errors
        assert watched.poll() is None

    def test_forbidden(self, socket_folder):
        settings = {"GEVENT_INSPECT": "on", "GEVENT_INSPECT_KILL": "0"}
        with program(XDG_RUNTIME_DIR=str(socket_folder), **settings) as process:
            number = consumers_of(process)[0]["number"]
            status, _, errors = run_top(process.pid, "--kill", number, "--yes")
            assert (status, errors.count("\n")) == (1, 1)
            assert "inspect_kill" in errors
            assert len(consumers_of(process)) == 3


class TestBadTargets:
    @pytest.mark.parametrize(
        ("target", "message"),
        [
            ("/no/such/socket", "there is no socket /no/such/socket"),
            ("999999999", "there is no process 999999999"),
            ("this process", "has no view open"),
            ("nonsense", "neither a process, a path nor an address"),
            ("tcp:10.1.2.3:80", "not a loopback address"),
        ],
    )
    def test_one_line(self, target, message):
        target = str(os.getpid()) if target == "this process" else target
        status, out, errors = run_top(target, "--once")
        assert (status, out) == (1, "")
        assert message in errors
        assert errors.count("\n") == 1

    @pytest.mark.parametrize("how", [(), ("--json",), ("--kill=1",)])
    def test_one_line_however_asked(self, how):
        status, out, errors = run_top("/no/such/socket", *how)
        assert (status, out) == (1, "")
        assert errors == "gevent.top: there is no socket /no/such/socket\n"

    @pytest.mark.parametrize("token", ["", "\u20ac"])
    def test_wrong_token(self, view, token):
        results = gevent.get_hub().threadpool.apply(
            run_top, (str(view.address), "--once", "--token", token)
        )
        assert results[:2] == (1, "")
        assert results[2] in (
            "gevent.top: wrong token\n",
            "gevent.top: the view asks for a token\n",
        )

    def test_no_token(self, view):
        results = gevent.get_hub().threadpool.apply(run_top, (str(view.address), "--once"))
        assert results == (1, "", "gevent.top: the view asks for a token\n")

    def test_something_else_answers(self, socket_folder):
        path = str(socket_folder / "other")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()

            def serve():
                connection, _ = listener.accept()
                with connection:
                    connection.recv(1000)
                    connection.sendall(b"220 mail\r\n")

            thread = threading.Thread(target=serve)
            thread.start()
            status, _, errors = run_top(path, "--once")
            thread.join()
        assert (status, errors) == (
            1,
            f"gevent.top: the server at unix:{path} is not a view of gevent\n",
        )

    def test_a_socket_that_nobody_serves(self, socket_folder):
        path = str(socket_folder / "left")
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(path)
        status, _, errors = run_top(path, "--once")
        assert (status, errors.count("\n")) == (1, 1)
        assert f"nobody listens at {path}" in errors

    @pytest.mark.parametrize("kind", ["a file", "a folder"])
    def test_a_path_that_is_no_socket(self, socket_folder, kind):
        path = socket_folder / "other"
        path.mkdir() if kind == "a folder" else path.touch()
        status, output, errors = run_top(str(path), "--once")
        assert (status, output, errors) == (1, "", f"gevent.top: {path} is not a socket\n")

    def test_a_path_through_a_file(self, socket_folder):
        (socket_folder / "other").touch()
        status, output, errors = run_top(f"unix:{socket_folder}/other/view", "--once")
        line = f"gevent.top: there is no socket {socket_folder}/other/view\n"
        assert (status, output, errors) == (1, "", line)

    def test_a_process_that_ends_while_it_answers(self, socket_folder):
        path = str(socket_folder / "ending")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()

            def serve():
                connection, _ = listener.accept()
                with connection:
                    connection.recv(1000)
                    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
                    connection.sendall(head + b'{"cost": 0.1, "hubs"')

            thread = threading.Thread(target=serve)
            thread.start()
            status, _, errors = run_top(path, "--once")
            thread.join()
        assert (status, errors) == (1, "gevent.top: the process ended while it answered\n")
