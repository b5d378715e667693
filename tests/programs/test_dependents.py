"""Packages that build on gevent's names, semi-private ones too."""

import json
import time

import requests
from ports import free_port


def test_celery_worker(result_of, started, redis_server):
    where = {"REDIS_URL": f"{redis_server}/15"}
    command = ("celery", "--app", "celery_tasks", "worker", "--pool", "gevent", "--concurrency", 50)
    with started(*command, **where) as worker:
        seen = result_of("celery_client.py", "use_worker", **where)
        assert worker.wait(30) == 0
    assert seen == {
        "numbers": True,
        "most": 50,
        "greenlets": ["gevent"],
        "failed": "ValueError('on purpose')",
        "loops": True,
        "retried": 2,
        "limited": True,
        "chord": 5,
        "pool": 55,
    }


def test_locust(started, http_url, tmp_path):
    # A master with its pages and two processes of users, which talk by zmq.green.
    web, master = free_port(), free_port()
    options = {
        "--locustfile": "locust_users.py",
        "--host": http_url,
        "--users": 20,
        "--spawn-rate": 20,
        "--run-time": "100s",
        "--processes": 2,
        "--web-host": "127.0.0.1",
        "--web-port": web,
        "--master-bind-port": master,
        "--master-port": master,
        "--autoquit": 0,
        "--json-file": tmp_path / "stats",
    }
    words = (word for option in options.items() for word in option)
    with started("locust", "--autostart", *words) as locust:
        asked = set()
        while locust.poll() is None and asked != {"/echo", "/bytes/100"}:
            try:
                shown = requests.get(f"http://127.0.0.1:{web}/stats/requests", timeout=30).json()
            except requests.ConnectionError:
                shown = {}
            *each, _ = shown.get("stats", [None])
            asked = {entry["name"] for entry in each if entry["num_requests"]}
            time.sleep(0.1)
        locust.terminate()
        assert locust.wait(60) == 0
    stats = json.loads((tmp_path / "stats.json").read_text())
    assert {entry["name"] for entry in stats} == {"/echo", "/bytes/100"}
    assert all(entry["num_requests"] > 0 for entry in stats)
    assert sum(entry["num_failures"] for entry in stats) == 0
    assert {worker["state"] for worker in shown["workers"]} <= {"spawning", "running"}


def test_zmq_green_request_and_reply(result_of):
    seen = result_of("zeromq.py", "request_and_reply")
    assert seen == {"right": 50, "served": 500, "workers": 5}


def test_zmq_green_publish_and_subscribe(result_of):
    # One topic of all, twenty of one each.
    assert result_of("zeromq.py", "publish_and_subscribe") == {"topics": 21, "right": 20}


def test_zmq_green_limits(result_of):
    seen = result_of("zeromq.py", "limits")
    assert seen == {"never": True, "again": True, "polled": 0, "received": True}
