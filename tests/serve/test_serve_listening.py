"""The addresses of `python -m gevent.serve`, and settings of its process as a whole."""

import grp
import os
import pwd
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from serve_support import APPLICATION, Serving, ask, has_ended, until

HERE = ("program:app", "--bind", "127.0.0.1:0")


def test_several_addresses(serve_program, socket_folder):
    path = str(socket_folder / "socket")
    serving = serve_program(*HERE, "--bind", f"unix:{path}", "--bind", "127.0.0.1:0")
    found = serving.wait_for(r"listening at http://(\S+):(\d+) and unix:\S+ and http://\S+:(\d+) ")
    for address in ((found[1], int(found[2])), path, (found[1], int(found[3]))):
        assert ask(address)[0] == "first"
    assert serving.stop() == 0


@pytest.mark.parametrize(("option", "mode"), [((), 0o755), (("--socket-mode", "622"), 0o622)])
def test_permissions_of_a_unix_socket(serve_program, socket_folder, option, mode):
    path = socket_folder / "socket"
    options = ("--bind", f"unix:{path}", "--umask", "022", *option)
    serve_program("program:app", *options).wait_for("listening at")
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_unix_socket_of_a_successor_stays(serve_program, socket_folder):
    path = socket_folder / "socket"
    first = serve_program("program:app", "--bind", f"unix:{path}")
    first.wait_for("listening at")
    path.rename(socket_folder / "aside")
    second = serve_program("program:app", "--bind", f"unix:{path}")
    second.wait_for("listening at")
    assert first.stop() == 0
    assert ask(str(path))[0] == "first"
    assert second.stop() == 0
    assert not path.exists()


def test_a_unix_socket_of_another_server_is_not_taken(serve_program, socket_folder):
    path = socket_folder / "socket"
    first = serve_program("program:app", "--bind", f"unix:{path}")
    first.wait_for("listening at")
    second = serve_program("program:app", "--bind", f"unix:{path}")
    assert second.process.wait(60) == 1
    assert "Address already in use" in second.rest()
    assert ask(str(path))[0] == "first"


def passed_on(
    tmp_path: Path, environment: dict[str, str], *arguments: str, **extra: str
) -> tuple[subprocess.Popen, socket.socket]:
    """Start the server with a listening socket as descriptor 3, as systemd does."""
    (tmp_path / "program.py").write_text(APPLICATION)
    listener = socket.create_server(("127.0.0.1", 0))
    program = (
        "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ['LISTEN_PID'] = str(os.getpid());"
        "os.execv(sys.executable, [sys.executable, '-m', 'gevent.serve', *sys.argv[2:]])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(listener.fileno()), "program:app", *arguments],
        cwd=tmp_path,
        env=environment | extra,
        stdin=subprocess.DEVNULL,
        pass_fds=[listener.fileno()],
    )
    return process, listener


@pytest.mark.parametrize("explicit", [True, False])
def test_sockets_of_systemd(tmp_path, socket_folder, own_environment, explicit):
    states = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    states.bind(str(socket_folder / "notify"))
    states.settimeout(30)
    process, listener = passed_on(
        tmp_path,
        own_environment,
        *(("--bind", "fd://3") if explicit else ()),
        LISTEN_FDS="1",
        NOTIFY_SOCKET=str(socket_folder / "notify"),
        WATCHDOG_USEC="400000",
    )

    def state(wanted: bytes) -> bytes:
        while not (got := states.recv(4096)).startswith(wanted):
            pass
        return got

    with listener, states:
        try:
            address = listener.getsockname()
            assert f"MAINPID={process.pid}".encode() in state(b"READY=1\nSTATUS=listening at ")
            assert ask(address)[0] == "first"
            state(b"WATCHDOG=1")
            state(b"WATCHDOG=1")
            process.send_signal(signal.SIGHUP)
            assert b"MONOTONIC_USEC=" in state(b"RELOADING=1")
            state(b"READY=1")
            process.terminate()
            state(b"STOPPING=1")
            assert process.wait(60) == 0
            # The socket is systemd's: what comes now waits for the next start.
            socket.create_connection(address, timeout=30).close()
        finally:
            process.kill()
            process.wait()


def test_a_descriptor_that_is_no_listening_socket(serve_program):
    for number, message in (("0", "non-socket"), ("77", "Bad file descriptor")):
        serving = serve_program("program:app", "--bind", f"fd://{number}")
        assert serving.process.wait(60) == 1
        assert message in serving.rest()


def test_pid_file(serve_program, tmp_path):
    path = tmp_path / "pid"
    serving = serve_program(*HERE, "--pid-file", "pid")
    serving.address()
    assert int(path.read_text()) == serving.process.pid
    other = serve_program(*HERE, "--pid-file", "pid")
    assert other.process.wait(60) == 1
    assert f"cannot write pid: process {serving.process.pid} is already running" in other.rest()
    # A worker that ends leaves it.
    _, worker, _ = ask(("127.0.0.1", _port(serving)))
    os.kill(int(worker), signal.SIGTERM)
    until(lambda: has_ended(int(worker)))
    assert path.exists()
    assert serving.stop() == 0
    assert not path.exists()
    path.write_text(str(other.process.pid))
    third = serve_program(*HERE, "--pid-file", "pid")
    third.address()
    assert int(path.read_text()) == third.process.pid


def _port(serving: Serving) -> int:
    """Return a port that a server listens at, as the kernel tells."""
    inodes = set()
    for number in os.listdir(f"/proc/{serving.process.pid}/fd"):
        inodes.add(os.readlink(f"/proc/{serving.process.pid}/fd/{number}"))
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        if words[3] == "0A" and f"socket:[{words[9]}]" in inodes:
            return int(words[1].partition(":")[2], 16)
    raise AssertionError("it does not listen")


def test_directory_and_umask(serve_program, tmp_path):
    below = tmp_path / "below"
    below.mkdir()
    (below / "inner.py").write_text(
        "import os\nopen('made', 'w').close()\n" + APPLICATION.replace("first", "inner")
    )
    options = ("--chdir", "below", "--umask", "077", "--bind", "127.0.0.1:0")
    assert ask(serve_program("inner:app", *options).address())[0] == "inner"
    assert stat.S_IMODE((below / "made").stat().st_mode) == 0o600
    serving = serve_program(*HERE, "--chdir", "nowhere")
    assert serving.process.wait(60) == 1
    assert "cannot change to nowhere: No such file or directory" in serving.rest()


def test_user_and_group(serve_program, own_environment):
    """With the rights to become somebody else, workers do; without, they stay who they are."""
    root = os.getuid() == 0
    user = pwd.getpwnam("nobody") if root else pwd.getpwuid(os.getuid())
    group = grp.getgrgid(user.pw_gid).gr_name
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        path = Path(folder) / "socket"
        (Path(folder) / "program.py").write_text(
            "import os\n"
            "def app(environ, start_response):\n"
            "    start_response('200 OK', [])\n"
            "    return [f'{os.getresuid()} {os.getresgid()}'.encode()]\n"
        )
        names = ("--user", user.pw_name, "--group", group)
        bind = ("--bind", f"unix:{path}", "--socket-mode", "600")
        serving = Serving(Path(folder), own_environment, "program:app", *bind, *names)
        try:
            serving.wait_for("listening at")
            assert path.stat().st_uid == user.pw_uid
            found = " ".join(ask(str(path)))
            assert found == f"{(user.pw_uid,) * 3} {(user.pw_gid,) * 3}"
        finally:
            assert serving.stop() == 0
            serving.process.communicate()


def test_a_user_that_is_not_there(serve_program):
    for option, message in (("--user", "there is no user"), ("--group", "there is no group")):
        serving = serve_program(*HERE, option, "no-such-name")
        assert serving.process.wait(60) == 1
        assert f"{message} no-such-name" in serving.rest()


def test_a_port_may_be_shared_when_both_say_so(serve_program):
    first = serve_program(*HERE, "--reuse-port")
    port = first.address()[1]
    second = serve_program("program:app", "--bind", f"127.0.0.1:{port}", "--reuse-port")
    assert second.address()[1] == port
