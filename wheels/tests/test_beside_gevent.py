"""gevent-rs and gevent in one environment, installed in every order by pip and by uv."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from environments import GEVENT, Venv, clean_environment

DEPENDENTS = (
    *("flask-socketio", "gevent-websocket", "gunicorn[gevent]", "locust", "celery[gevent]"),
)

#: Patches, which loads the entry points that gevent's distribution declares, and lets a patched
#: thread and a child process run.
PROGRAM = """
from gevent import monkey; monkey.patch_all()
import subprocess, sys, threading, time, gevent
thread = threading.Thread(target=time.sleep, args=(0.01,)); thread.start(); thread.join()
print(subprocess.check_output([sys.executable, "-c", "print('child')"], text=True).strip())
print(gevent.__implementation__.split()[0])
"""


def both_work(venv: Venv) -> None:
    """Check that an import gives ours and by the variable gevent's, both of them whole."""
    assert venv.imported() == venv.ours
    assert venv.imported(GEVENT_RS="off") == venv.gevents
    assert (venv.damaged("gevent"), venv.damaged("gevent_rs")) == ([], [])
    assert venv.version("gevent") == GEVENT
    assert venv.output("-c", PROGRAM).split() == ["child", "gevent-rs"]
    venv.check()


def test_gevent_afterwards(venv: Venv, wheel: Path) -> None:
    venv.install(wheel)
    assert venv.imported() == venv.ours
    venv.install(f"gevent=={GEVENT}")
    both_work(venv)


def test_gevent_before(venv: Venv, wheel: Path) -> None:
    venv.install(f"gevent=={GEVENT}")
    venv.install(wheel)
    both_work(venv)


def test_one_command(venv: Venv, wheel: Path) -> None:
    venv.install(f"gevent=={GEVENT}", wheel)
    both_work(venv)


def test_gevent_is_upgraded(venv: Venv, wheel: Path) -> None:
    venv.install("gevent==25.9.1", wheel)
    assert venv.version("gevent") == "25.9.1"
    venv.install("--upgrade", f"gevent=={GEVENT}")
    both_work(venv)


def test_gevent_rs_is_installed_again(venv: Venv, wheel: Path) -> None:
    venv.install(f"gevent=={GEVENT}", wheel)
    venv.install("--reinstall" if venv.installer == "uv" else "--force-reinstall", wheel)
    both_work(venv)


def test_gevent_is_uninstalled(venv: Venv, wheel: Path) -> None:
    venv.install(f"gevent=={GEVENT}", wheel)
    venv.uninstall("gevent")
    assert venv.imported() == venv.ours
    assert venv.damaged("gevent_rs") == []
    venv.check()


def test_going_back(venv: Venv, wheel: Path) -> None:
    venv.install(f"gevent=={GEVENT}", wheel)
    venv.uninstall("gevent-rs")
    assert venv.imported() == venv.gevents
    assert venv.damaged("gevent") == []
    assert not list(venv.packages.glob("*gevent_rs*"))
    venv.check()


def test_the_report_names_both(venv: Venv, wheel: Path) -> None:
    venv.install(f"gevent=={GEVENT}", wheel)
    report = venv.output("-m", "gevent_rs")
    assert f"import gevent gives gevent-rs, in {venv.ours}" in report
    assert f"installed beside gevent-rs: gevent {GEVENT}, in {venv.gevents}" in report


def test_packages_that_ask_for_gevent_in_one_command(venv: Venv, wheel: Path) -> None:
    venv.install(wheel, *DEPENDENTS)
    assert venv.imported() == venv.ours
    assert (venv.damaged("gevent"), venv.damaged("gevent_rs")) == ([], [])
    venv.check()
    for module in ("geventwebsocket.handler", "celery.concurrency.gevent", "flask_socketio"):
        venv.output("-c", f"from gevent import monkey; monkey.patch_all(); import {module}")
    assert "locust" in venv.output("-m", "locust", "--version")
    for setting, answer in (("", "gevent-rs"), ("off", "gevent")):
        with gunicorn(venv, setting) as address:
            assert get(address) == answer


APPLICATION = """
import gevent

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [getattr(gevent, "__implementation__", "gevent").split()[0].encode()]
"""


@contextlib.contextmanager
def gunicorn(venv: Venv, setting: str) -> Iterator[str]:
    """Run gunicorn with its gevent worker and GEVENT_RS set to *setting*; yield its address."""
    (venv.folder / "which_gevent.py").write_text(APPLICATION)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        bind = ["--bind", f"fd://{listener.fileno()}"]
        server = subprocess.Popen(
            [venv.python, "-m", "gunicorn", "-k", "gevent", *bind, "which_gevent:application"],
            cwd=venv.folder,
            env=clean_environment(GEVENT_RS=setting),
            pass_fds=[listener.fileno()],
        )
        try:
            yield "http://{}:{}".format(*listener.getsockname())
        finally:
            server.terminate()
            server.wait(60)


def get(address: str) -> str:
    # The socket listens from the start, so that the request waits until a worker accepts it.
    with urllib.request.urlopen(address, timeout=60) as response:
        return response.read().decode()
