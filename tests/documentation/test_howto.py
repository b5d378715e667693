"""The programs and settings of the how-to guides, as far as they need no other server."""

import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
import tomllib
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pages
import pytest
from paths import CERTIFICATE
from ports import free_port

APPLICATION = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{environ['REMOTE_ADDR']} {environ['wsgi.url_scheme']}".encode()]
"""


@pytest.fixture
def web(tmp_path):
    """The application `web:application` in the test's folder."""
    (tmp_path / "web.py").write_text(APPLICATION)
    return tmp_path


def get(port: int, path: str = "/", **settings) -> bytes:
    with urllib.request.urlopen(
        f"http://127.0.0.1:{port}{path}", timeout=30, **settings
    ) as response:
        return response.read()


def test_flask(tmp_path):
    pages.files("how-to/flask", tmp_path, "flask_app.py")
    command = ("-m", "gevent.serve", "flask_app:app", "--bind", "127.0.0.1:0")
    with pages.started(tmp_path, *command) as serving:
        port = pages.port_of(serving)
        check_flask(port)


def test_flask_in_a_program(tmp_path):
    replaced = {"8000": "0"}
    pages.files("how-to/flask", tmp_path, "flask_app.py", "own_server.py", replace=replaced)
    with pages.started(tmp_path, "own_server.py") as serving:
        check_flask(pages.port_of(serving))


def check_flask(port):
    began = time.monotonic()
    with ThreadPoolExecutor(150) as clients:
        answers = list(clients.map(lambda _: json.loads(get(port, "/slow")), range(150)))
    assert answers == [{"done": True}] * 150
    # One after the other they take thirty seconds.
    assert time.monotonic() - began < 25
    assert get(port, "/events") == b"data: 0\n\ndata: 1\n\ndata: 2\n\n"


def test_gunicorn(web):
    port = free_port()
    replaced = {
        '"gevent"': '"gevent_pywsgi"',
        "127.0.0.1:8000": f"127.0.0.1:{port}",
        # gunicorn loses the signal to a worker that has not begun to handle signals.
        "workers = 2": "workers = 1",
    }
    pages.files("how-to/gunicorn", web, "gunicorn.conf.py", replace=replaced)
    command = ("-m", "gunicorn", "--config", "gunicorn.conf.py", "--no-control-socket")
    with pages.started(web, *command, "web:application") as gunicorn:
        assert pages.eventually(lambda: get(port)) == b"127.0.0.1 http"
        gunicorn.terminate()
        assert gunicorn.wait(30) == 0


def test_gunicorn_settings_have_their_names_in_the_table():
    text = (pages.DOCS / "how-to/gunicorn.md").read_text()
    rows = re.findall(r"^\| (`--.+?) \| (.+) \|$", text, re.MULTILINE)
    theirs = {name for left, _ in rows for name in re.findall(r"`(--[\w-]+)`", left)}
    ours = {name for _, right in rows for name in re.findall(r"`(--[\w-]+)`", right)}
    ours |= {n for left, right in rows if right == "the same" for n in re.findall(r"`(.+?)`", left)}
    for module, names in (("gunicorn", theirs), ("gevent.serve", ours)):
        shown = pages.run(pages.DOCS, "-m", module, "--help", errors=True)
        assert names <= set(re.findall(r"--[\w-]+", shown)), module
    assert len(theirs) > 15


def test_systemd(web):
    pages.files("how-to/systemd", web, "web.service", "web.socket", "serve.toml")
    check_settings(web)
    if program := shutil.which("systemd-analyze"):
        # It looks for the program, which is not installed there.
        service = web / "web.service"
        command = f"{shutil.which('true')} -m gevent.serve"
        text = re.sub(r"/srv/web/\S+ -m gevent.serve", command, service.read_text())
        service.write_text(text)
        done = subprocess.run(
            [program, "verify", "--man=no", service, web / "web.socket"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "web.s" not in done.stderr, done.stderr


def check_settings(folder):
    command = ("-m", "gevent.serve", "web:application", "--config", "serve.toml", "--check")
    pages.run(folder, *command, errors=True)


def test_socket_of_systemd(web):
    # As systemd passes it: descriptor 3, and the process number in the environment.
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    pages.files("how-to/systemd", web, "serve.toml", replace={"workers = 4": "workers = 1"})
    program = (
        "import os, sys\n"
        f"os.dup2({listener.fileno()}, 3)\n"
        "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1')\n"
        "words = ['-m', 'gevent.serve', 'web:application', '--config', 'serve.toml']\n"
        "os.execv(sys.executable, [sys.executable, *words])\n"
    )
    (web / "as_systemd.py").write_text(program)
    listener.set_inheritable(True)
    with pages.started(web, "as_systemd.py", inherit=(listener.fileno(),)) as serving:
        listener.close()
        assert get(port) == b"127.0.0.1 http"
        serving.terminate()
        assert serving.wait(30) == 0


def test_container(web):
    (text,) = pages.versions("how-to/containers", "Dockerfile")
    program, *words = json.loads(re.search(r"^CMD (\[.+\])$", text, re.MULTILINE)[1])
    assert program == "python"
    words[words.index("0.0.0.0:8000")] = "127.0.0.1:0"
    with pages.started(web, *words) as serving:
        assert get(pages.port_of(serving)) == b"127.0.0.1 http"
        serving.terminate()
        assert serving.wait(30) == 0


@pytest.mark.parametrize("how", ["serve.toml", "tls_server.py"])
def test_tls(how, web):
    shutil.copy(CERTIFICATE, web / "localhost.pem")
    replaced = {"8443": "0"}
    pages.files("how-to/tls", web, "serve.toml", "tls_server.py", "tls_client.py", replace=replaced)
    words = ("-m", "gevent.serve", "web:application", "--config", "serve.toml")
    with pages.started(web, *(words if how == "serve.toml" else (how,))) as serving:
        port = pages.port_of(serving)
        context = ssl.create_default_context(cafile=CERTIFICATE)
        with urllib.request.urlopen(f"https://localhost:{port}/", context=context, timeout=30) as r:
            assert r.read().endswith(b"https")
        first, second = pages.run(web, "tls_client.py", port).split("\n")[:2]
        assert first.endswith("https")
        assert second.startswith("TLSv1.")


@pytest.mark.parametrize(
    ("page", "program", "pattern"),
    [
        ("how-to/monitor", "watched.py", r"(blocked by compute\n)+"),
        ("how-to/monitor", "own_figures.py", r"True\n"),
    ],
)
def test_monitor(page, program, pattern, tmp_path):
    pages.files(page, tmp_path, program)
    assert re.fullmatch(pattern, pages.run(tmp_path, program))


@pytest.mark.parametrize("program", ["task_group.py", "deadlines.py"])
def test_task_groups(program, tmp_path):
    pages.files("how-to/task-groups", tmp_path, program)
    (block,) = (b for b in pages.blocks("how-to/task-groups") if b.caption == program)
    assert pages.run(tmp_path, program) == block.prints


def test_backdoor(tmp_path):
    port = free_port()
    pages.files("how-to/monitor", tmp_path, "with_backdoor.py", replace={"5001": port})
    with pages.started(tmp_path, "with_backdoor.py") as process:
        pages.said(process, "telnet")
        with socket.create_connection(("127.0.0.1", port), timeout=20) as prompt:
            prompt.sendall(
                b"answer * 2\n"
                b"import sys; from gevent.util import print_run_info\n"
                b"print_run_info(file=sys.stdout)\nquit()\n"
            )
            shown = b"".join(iter(lambda: prompt.recv(65536), b"")).decode()
    assert "84" in shown
    assert "Greenlets" in shown


@pytest.mark.parametrize(
    ("program", "shown"),
    [
        ("prints_greenlets.py", "in wait_for_what_never_comes\n"),
        ("prints_stack.py", "in compute\n"),
    ],
)
def test_hangs(program, shown, tmp_path):
    pages.files("how-to/hangs", tmp_path, program)
    with pages.started(tmp_path, program) as process:
        assert shown in process.stdout.read()
        assert process.wait(20) == 0


def test_profile(tmp_path):
    pytest.importorskip("yappi", reason="yappi cannot be compiled for this version yet")
    pages.files("how-to/profile", tmp_path, "profiled.py")
    assert pages.run(tmp_path, "profiled.py") == "True\n"


def test_pytest(tmp_path):
    pages.files("how-to/pytest", tmp_path, "conftest.py", "test_service.py")
    words = ("-q", "-p", "no:cacheprovider", "-p", "no:xdist")
    assert "3 passed" in pages.run(tmp_path, "-m", "pytest", *words)
    assert "3 passed" in pages.run(
        tmp_path, "-m", "gevent.monkey", "--module", "pytest", *words, errors=True
    )


def test_settings_files_are_toml():
    found = [
        block
        for page in pages.PAGES
        for block in pages.blocks(page)
        if block.language == "toml" and block.caption
    ]
    assert len(found) > 3
    for block in found:
        assert tomllib.loads(block.text), block


def test_nginx(web, socket_folder, require_program):
    nginx = require_program("nginx", "/usr/sbin")
    port, sock = free_port(), socket_folder / "socket"
    replaced = {"listen 80": f"listen 127.0.0.1:{port}", "/run/web/socket": str(sock)}
    pages.files("how-to/nginx", web, "web.conf", "serve.toml", replace=replaced)
    places = "\n".join(
        f"{name}_temp_path {web}/{name};"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root; " if os.getuid() == 0 else ""  # The folder is the test's user's.
    (web / "nginx.conf").write_text(
        f"{user}daemon off; pid {web}/pid; error_log stderr; worker_processes 1; events {{}}\n"
        f"http {{ access_log off; {places}\ninclude web.conf; }}\n"
    )
    words = ("-m", "gevent.serve", "web:application", "--config", "serve.toml")
    proxy = [nginx, "-p", web, "-e", "stderr", "-c", web / "nginx.conf"]
    with pages.started(web, *words) as serving:
        pages.said(serving, "listening")
        with subprocess.Popen(proxy, stderr=subprocess.DEVNULL) as process:
            try:
                assert pages.eventually(lambda: get(port)) == b"127.0.0.1 http"
                answers = []
                threads = [
                    threading.Thread(target=lambda: answers.append(get(port))) for _ in range(20)
                ]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                assert answers == [b"127.0.0.1 http"] * 20
            finally:
                process.terminate()
        serving.terminate()
        assert serving.wait(30) == 0
