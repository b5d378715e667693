"""The programs of the how-to guides that talk to redis, PostgreSQL, or each other."""

import json
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import ExitStack

import pages
import pytest
from child_environment import clean_environment
from ports import free_port

from gevent import websocket


@pytest.fixture
def database(postgres):
    """The words of a PostgreSQL connection, by name."""
    return dict(word.split("=", 1) for word in postgres.split())


@pytest.mark.parametrize(
    ("page", "program", "printed"),
    [
        ("how-to/postgresql", "psycopg_pool_of_ten.py", 2450),
        ("how-to/postgresql", "psycopg2_greenlets.py", 380),
        ("how-to/sqlalchemy", "engine.py", 2450),
    ],
)
def test_postgresql(page, program, printed, postgres, tmp_path):
    pages.files(page, tmp_path, program)
    assert pages.run(tmp_path, program, DATABASE=postgres) == f"{printed}\n"


def test_django(database, tmp_path):
    pages.files("how-to/django", tmp_path, "site_of_one_file.py")
    words = ("-m", "gevent.serve", "site_of_one_file:application", "--bind", "127.0.0.1:0")
    settings = {f"PG{name.upper()}": database[name] for name in ("host", "user")}
    settings |= {"PGDATABASE": database["dbname"], "SECRET_KEY": "of the test"}
    answers = []

    def ask(port):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/slow", timeout=60) as response:
            answers.append(json.load(response)["process"])

    with pages.started(tmp_path, *words, **settings) as serving:
        port = pages.port_of(serving)
        threads = [threading.Thread(target=ask, args=(port,)) for _ in range(30)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        serving.terminate()
        assert serving.wait(30) == 0
    assert len(answers) == 30
    assert 1 < len(set(answers)) <= 10


def test_redis(redis_server, tmp_path):
    pages.files("how-to/redis", tmp_path, "counters.py")
    assert pages.run(tmp_path, "counters.py", REDIS_URL=f"{redis_server}/14") == "4950\n"


def test_celery_on_two_machines(redis_server, tmp_path):
    pages.files("how-to/celery", tmp_path, "tasks.py", "send.py")
    where = {"REDIS_URL": f"{redis_server}/13"}
    pool = (
        "--loglevel",
        "INFO",
        "--pool",
        "gevent",
        "--concurrency",
        "10",
        "--prefetch-multiplier",
        "1",
    )
    command = ("-m", "celery", "--app", "tasks", "worker", *pool)
    with ExitStack() as stack:
        for name in ("one", "two"):
            worker = pages.started(tmp_path, *command, "--hostname", f"{name}@%h", **where)
            pages.said(stack.enter_context(worker), "ready")
        assert pages.run(tmp_path, "send.py", **where) == "780 2\n"


def test_locust_on_two_machines(http_url, tmp_path):
    pages.files("how-to/locust", tmp_path, "locustfile.py", replace={'"/"': '"/bytes/10"'})
    port = str(free_port())
    master = ("--master", "--headless", "--expect-workers", "2", "--master-bind-port", port)
    load = ("--users", "20", "--spawn-rate", "20", "--run-time", "2s", "--host", http_url)
    found = ("--json-file", "found", "--only-summary")
    command = (sys.executable, "-m", "locust")
    settings = {"cwd": tmp_path, "env": clean_environment(), "stdin": subprocess.DEVNULL}
    settings |= {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    worker = (*command, "--worker", "--master-host", "127.0.0.1", "--master-port", port)
    processes = [subprocess.Popen(worker, **settings) for _ in range(2)]
    try:
        processes.append(subprocess.Popen([*command, *master, *load, *found], **settings))
        assert processes[-1].wait(60) == 0
        assert [each.wait(30) for each in processes[:-1]] == [0, 0]
    finally:
        for process in processes:
            process.kill()
            process.wait(30)
    (stats,) = json.loads((tmp_path / "found.json").read_text())
    assert stats["num_requests"] > 20
    assert stats["num_failures"] == 0


def test_room_of_two_processes(redis_server, tmp_path):
    pages.files("how-to/scale", tmp_path, "shared_room.py")
    words = ("shared_room:application", "--bind", "127.0.0.1:0", "--workers", "2")
    with pages.started(
        tmp_path, "-m", "gevent.serve", *words, REDIS_URL=f"{redis_server}/12"
    ) as serving:
        port = pages.port_of(serving)
        guests = {}
        end = time.monotonic() + 30
        while len(guests) < 2:
            assert time.monotonic() < end
            guest = websocket.connect(f"ws://127.0.0.1:{port}/")
            guests.setdefault(guest.receive(), guest)
        # Each process listens to redis before long.
        one, other = guests.values()
        heard = pages.eventually(lambda: said_by(one, other))
        assert heard == "hello"
        for guest in guests.values():
            guest.close()
        serving.terminate()
        assert serving.wait(30) == 0


def said_by(one, other):
    """Return what the other guest hears of what one says."""
    import gevent

    one.send("hello")
    with gevent.Timeout(1, AssertionError("nothing was heard")):
        return other.receive()
