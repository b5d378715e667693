"""The workers of `python -m gevent.serve` are watched, replaced, reloaded and ended."""

import os
import re
import signal
import socket
import threading
import time
from pathlib import Path

import pytest
from ports import free_port
from serve_support import APPLICATION, Serving, ask, has_ended, until

HERE = ("program:app", "--bind", "127.0.0.1:0")

STUCK = """
import os, time
def app(environ, start_response):
    path = environ["PATH_INFO"]
    while path == "/stuck":
        pass
    end = time.monotonic() + 20
    while path == "/busy" and time.monotonic() < end and not os.path.exists("go"):
        pass
    start_response("200 OK", [("Content-Length", str(len(str(os.getpid()))))])
    return [str(os.getpid()).encode()]
"""


def workers_of(serving: Serving) -> list[int]:
    pid = serving.process.pid
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(one) for one in file.read().split()]


def send(address: tuple[str, int], path: str) -> socket.socket:
    sock = socket.create_connection(address, timeout=30)
    sock.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
    return sock


@pytest.mark.parametrize("number", [2, 1])
def test_a_worker_in_an_endless_loop_is_replaced(serve_program, tmp_path, number):
    (tmp_path / "program.py").write_text(STUCK)
    serving = serve_program(*HERE, "--timeout", "1", "--workers", str(number))
    address = serving.address()
    descriptors = len(os.listdir(f"/proc/{serving.process.pid}/fd"))
    for _ in range(2):
        with send(address, "/stuck"):
            pid = serving.wait_for(r"worker (\d+) has not let other greenlets run for \d+ s")[1]
            until(lambda pid=pid: has_ended(int(pid)))
        assert ask(address)[0] != pid
    # It wrote where it was stuck.
    serving.wait_for('File ".*program.py", line [56] in app')
    until(lambda: len(os.listdir(f"/proc/{serving.process.pid}/fd")) == descriptors)


def test_a_worker_that_is_stopped_is_replaced(serve_program, tmp_path):
    serving = serve_program(*HERE, "--timeout", "1")
    address = serving.address()
    before = ask(address)[1]
    os.kill(int(before), signal.SIGSTOP)
    serving.wait_for(f"worker {before} has not let other greenlets run")
    assert ask(address)[1] != before
    until(lambda: has_ended(int(before)))


def test_a_supervisor_that_was_stopped_replaces_nobody(serve_program):
    serving = serve_program(*HERE, "--timeout", "2")
    address = serving.address()
    before = ask(address)[1]
    pids = [serving.process.pid, *workers_of(serving)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(5)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    time.sleep(1.5)
    assert ask(address)[1] == before


def test_without_a_timeout_a_worker_may_be_busy(serve_program, tmp_path):
    (tmp_path / "program.py").write_text(STUCK)
    serving = serve_program(*HERE, "--timeout", "0")
    address = serving.address()
    (before,) = workers_of(serving)
    with send(address, "/busy") as sock:
        time.sleep(3)
        (tmp_path / "go").touch()
        assert sock.recv(65536).endswith(str(before).encode())


def test_a_worker_that_does_not_start_is_given_up(serve_program, tmp_path):
    (tmp_path / "program.py").write_text("import time\ntime.sleep(60)")
    serving = serve_program(*HERE, "--start-timeout", "1")
    serving.wait_for(r"worker \d+ did not start within 1 s and is killed")
    assert serving.process.wait(60) == 1


def test_a_reload_that_hangs_is_given_up_and_the_next_one_follows(serve_program, tmp_path):
    serving = serve_program(*HERE, "--start-timeout", "6", "--workers", "2")
    address = serving.address()
    hung = tmp_path / "hung"
    (tmp_path / "program.py").write_text(
        "import time\nopen('hung', 'a').write('x')\ntime.sleep(60)\n"
    )
    serving.process.send_signal(signal.SIGHUP)
    until(lambda: hung.exists() and hung.read_text() == "xx")
    (tmp_path / "program.py").write_text(APPLICATION.replace("first", "second"))
    for _ in range(5):
        serving.process.send_signal(signal.SIGHUP)
        time.sleep(0.05)
        assert len(workers_of(serving)) == 4
    assert ask(address)[0] == "first"
    serving.wait_for("the reload failed; the workers that serve stay")
    serving.wait_for("reloaded")
    until(lambda: ask(address)[0] == "second")


def test_a_reload_fails_as_a_whole(serve_program, tmp_path):
    serving = serve_program(*HERE, "--workers", "3")
    address = serving.address()
    # Of the new workers, one alone can import the application.
    (tmp_path / "program.py").write_text(
        "import os\nos.mkdir('taken')\n" + APPLICATION.replace("first", "second")
    )
    before = set(workers_of(serving))
    serving.process.send_signal(signal.SIGHUP)
    serving.wait_for("cannot import program: FileExistsError.*\n.*the reload failed")
    until(lambda: set(workers_of(serving)) == before)
    assert {ask(address)[0] for _ in range(20)} == {"first"}


def test_a_reload_whose_worker_is_told_to_end_fails(serve_program, tmp_path):
    serving = serve_program(*HERE, "--workers", "2")
    address = serving.address()
    # One new worker is ready and waits for the other, which imports the application for long.
    (tmp_path / "program.py").write_text(
        "import os, time\n"
        "try:\n    os.mkdir('first')\n"
        "except FileExistsError:\n    open('slow', 'w').close(); time.sleep(60)\n"
        "else:\n    open('ready', 'w').write(str(os.getpid()))\n" + APPLICATION
    )
    serving.process.send_signal(signal.SIGHUP)
    until((tmp_path / "slow").exists)
    ready = tmp_path / "ready"
    until(lambda: ready.exists() and ready.read_text())
    time.sleep(1)
    os.kill(int(ready.read_text()), signal.SIGTERM)
    serving.wait_for("the reload failed; the workers that serve stay")
    until(lambda: len(workers_of(serving)) == 2)
    assert ask(address)[0] == "first"


def test_a_stuck_worker_does_not_hold_up_the_end(serve_program, tmp_path):
    (tmp_path / "program.py").write_text(STUCK)
    serving = serve_program(*HERE, "--timeout", "2", "--graceful-timeout", "600")
    with send(serving.address(), "/stuck"):
        time.sleep(0.5)
        assert serving.stop() == 0


def test_a_worker_that_is_told_to_end_is_replaced_before_it_has_ended(serve_program, tmp_path):
    slow = "while not os.path.exists('go'): time.sleep(0.05)"
    (tmp_path / "program.py").write_text(APPLICATION.replace("time.sleep(1)", slow))
    serving = serve_program(*HERE)
    address = serving.address()
    (before,) = workers_of(serving)
    with send(address, "/slow") as sock:
        time.sleep(0.3)
        os.kill(before, signal.SIGTERM)
        until(lambda: ask(address)[1] != str(before))
        assert not has_ended(before)
        (tmp_path / "go").touch()
        assert b"200 OK" in sock.recv(65536)
    until(lambda: has_ended(before))


def test_a_first_worker_that_dies_by_a_signal_is_told(serve_program, tmp_path):
    (tmp_path / "program.py").write_text("import os\nos.kill(os.getpid(), 9)")
    serving = serve_program(*HERE, "--workers", "2")
    assert serving.process.wait(60) == 1
    assert re.fullmatch(
        r"gevent\.serve: worker \d+ ended by signal SIGKILL while it started\n", serving.rest()
    )


def test_a_worker_is_replaced_after_its_share_of_requests(serve_program):
    serving = serve_program(*HERE, "--max-requests", "5", "--max-requests-jitter", "3")
    address = serving.address()
    pids = [ask(address)[1] for _ in range(5)]
    assert len(set(pids)) == 1
    for _ in range(3):
        ask(address)
    assert serving.wait_for(r"worker (\d+) has had [5-8] requests; starting")[1] == pids[0]
    until(lambda: ask(address)[1] != pids[0])
    until(lambda: has_ended(int(pids[0])))


def test_a_worker_that_takes_too_much_memory_is_replaced(serve_program, tmp_path):
    (tmp_path / "program.py").write_text(
        APPLICATION.replace(
            'if path == "/slow"',
            'if path == "/grow": kept.append(b"x" * 200_000_000)\n    elif path == "/slow"',
        )
        + "\nkept = []\n"
    )
    serving = serve_program(*HERE, "--max-memory", "200")
    address = serving.address()
    before = ask(address, "/grow")[1]
    serving.wait_for(f"worker {before} occupies 2\\d\\d MiB; starting another")
    until(lambda: ask(address)[1] != before)


def test_signals_change_the_number_of_workers(serve_program):
    serving = serve_program(*HERE)
    address = serving.address()
    serving.process.send_signal(signal.SIGTTIN)
    serving.wait_for("2 workers from now on")
    until(lambda: len({ask(address)[1] for _ in range(10)}) == 2)
    serving.process.send_signal(signal.SIGTTOU)
    serving.wait_for("1 worker from now on")
    until(lambda: len(workers_of(serving)) == 1)
    serving.process.send_signal(signal.SIGTTOU)
    serving.wait_for("1 worker from now on")
    assert ask(address)[0] == "first"


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGALRM,
        signal.SIGVTALRM,
        signal.SIGPROF,
        signal.SIGIO,
        signal.SIGWINCH,
    ],
)
def test_other_signals_do_no_harm(serve_program, number):
    serving = serve_program(*HERE, "--workers", "2")
    address = serving.address()
    before = set(workers_of(serving))
    for pid in (serving.process.pid, *before):
        os.kill(pid, number)
    time.sleep(0.3)
    assert ask(address)[0] == "first"
    assert set(workers_of(serving)) == before
    assert serving.stop() == 0


def test_a_busy_worker_does_not_keep_the_service_open(serve_program, tmp_path):
    (tmp_path / "program.py").write_text(STUCK)
    bind = f"127.0.0.1:{free_port()}"
    serving = serve_program("program:app", "--bind", bind, "--workers", "2")
    address = serving.address()
    with send(address, "/busy") as sock:
        time.sleep(0.5)
        serving.process.send_signal(signal.SIGTERM)

        def is_refused() -> bool:
            try:
                socket.create_connection(address, timeout=10).close()
            except ConnectionRefusedError:
                return True
            return False

        until(is_refused)
        assert not has_ended(serving.process.pid)
        (tmp_path / "go").touch()
        assert b"200 OK" in sock.recv(65536)
    assert serving.process.wait(60) == 0


@pytest.mark.parametrize("kind", ["tcp", "unix", "limited"])
def test_connections_that_wait_when_the_service_ends_are_answered(
    serve_program, tmp_path, socket_folder, kind
):
    # The one worker is busy, so that they wait in the queue of the listening socket.
    (tmp_path / "program.py").write_text(STUCK.replace("+ 20", "+ 0.7"))
    path = str(socket_folder / "socket")
    bind = f"unix:{path}" if kind == "unix" else "127.0.0.1:0"
    options = ("--max-connections", "1") if kind == "limited" else ()
    serving = serve_program("program:app", "--bind", bind, *options)
    if kind == "unix":
        serving.wait_for("listening at")
        address = path
    else:
        address = serving.address()
    answers = []
    busy = threading.Thread(target=lambda: answers.append(ask(address, "/busy")))
    busy.start()
    time.sleep(0.3)
    waiting = [threading.Thread(target=lambda: answers.append(ask(address))) for _ in range(10)]
    for thread in waiting:
        thread.start()
    time.sleep(0.1)
    assert serving.stop() == 0
    for thread in (busy, *waiting):
        thread.join(30)
    assert len(answers) == 11


def test_idle_connections_make_room_for_those_that_wait_when_the_service_ends(serve_program):
    serving = serve_program(*HERE, "--max-connections", "1")
    address = serving.address()
    with socket.create_connection(address, timeout=30) as idle:
        idle.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b"200 OK" in idle.recv(65536)
        with send(address, "/") as waiting:
            assert serving.stop() == 0
            assert b"200 OK" in waiting.recv(65536)


def test_connections_that_wait_when_all_workers_have_died_are_answered(serve_program, tmp_path):
    (tmp_path / "program.py").write_text("import time\ntime.sleep(0.5)\n" + APPLICATION)
    serving = serve_program(*HERE)
    address = serving.address()
    (before,) = workers_of(serving)
    os.kill(before, signal.SIGKILL)
    with send(address, "/") as sock:
        assert serving.stop() == 0
        assert b"200 OK" in sock.recv(65536)


def test_a_second_signal_ends_at_once(serve_program, tmp_path):
    (tmp_path / "program.py").write_text(STUCK)
    serving = serve_program(*HERE)
    with send(serving.address(), "/stuck"):
        time.sleep(0.3)
        serving.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert serving.stop() == 0


def test_workers_know_of_each_other(serve_program, tmp_path):
    (tmp_path / "program.py").write_text(
        "def app(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return [str(environ['wsgi.multiprocess']).encode()]\n"
    )
    for number, flag in (("1", "False"), ("2", "True")):
        serving = serve_program(*HERE, "--workers", number)
        assert ask(serving.address()) == [flag]


def test_reload_watches_more_files(serve_program, tmp_path):
    (tmp_path / "pages").mkdir()
    page = tmp_path / "pages" / "one.html"
    page.write_text("1")
    options = ("--reload", "--reload-extra", "pages/*.html")
    serving = serve_program(*HERE, *options)
    serving.address()
    for change in (lambda: page.write_text("22"), lambda: page.with_name("two.html").touch()):
        time.sleep(1)
        change()
        serving.wait_for("reloaded")
    time.sleep(1)
    page.unlink()
    serving.wait_for("reloaded")


def test_what_a_worker_starts_inherits_no_ignored_signals(serve_program, tmp_path):
    (tmp_path / "program.py").write_text(
        "import subprocess\n"
        "def app(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    done = subprocess.run(['cat', '/proc/self/status'], capture_output=True)\n"
        "    return [next(line for line in done.stdout.splitlines() if b'SigIgn' in line)]\n"
    )
    serving = serve_program(*HERE)
    ignored = int(ask(serving.address())[1], 16)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGALRM):
        assert not ignored & 1 << (number - 1), number


def test_the_socket_is_shared(serve_program):
    serving = serve_program(*HERE, "--workers", "3")
    port = serving.address()[1]
    table = Path("/proc/net/tcp").read_text().splitlines()
    listening = [line.split() for line in table if f"0100007F:{port:04X} 00000000:0000 0A" in line]
    assert len(listening) == 1
