"""python -m gevent.serve with GEVENT_INSPECT: views of workers, and their numbers summed."""

import os
import socket
import threading
import time
import urllib.error
import urllib.request

import pytest
from serve_support import APPLICATION, Serving

from gevent._inspect_address import InspectError, ask, order, parse_address


@pytest.fixture
def serving(tmp_path):
    (tmp_path / "application.py").write_text(APPLICATION)
    running = []

    def start(inspect, *arguments, **environment):
        environment = {**os.environ, "GEVENT_INSPECT": inspect, **environment}
        command = ["application:app", "--bind", "127.0.0.1:0", "--workers", "2", *arguments]
        running.append(Serving(tmp_path, environment, *command))
        return running[-1]

    yield start
    for one in running:
        one.process.kill()
        one.process.communicate()


def answered(address, path, wanted):
    """Return an answer that has *wanted* in it, when the workers have come that far."""
    end = time.monotonic() + 30
    while True:
        text = ask(address, path).decode()
        if wanted in text:
            return text
        assert time.monotonic() < end, text
        time.sleep(0.05)


def test_sums_over_workers(serving, socket_folder):
    path = socket_folder / "view"
    service = serving(f"unix:{path}")
    service.wait_for("metrics of all workers at unix:")
    host, port = service.address()
    address = parse_address(f"unix:{path}")
    text = answered(address, "/metrics", "gevent_processes 2")
    parser = pytest.importorskip(
        "prometheus_client.openmetrics.parser", reason="prometheus_client is not here"
    )
    families = {one.name: one for one in parser.text_string_to_metric_families(text)}
    # A thread of a pool may have a hub too.
    assert families["gevent_hubs"].samples[0].value >= 2
    assert answered(address, "/health", "ok") == '{"status": "ok"}\n'
    with urllib.request.urlopen(f"http://{host}:{port}/", timeout=20) as answer:
        pid = int(answer.read().split()[1])
    assert "gevent_processes 1" in ask(parse_address(f"unix:{path}.{pid}"), "/metrics").decode()
    with pytest.raises(InspectError, match="/metrics and /health"):
        ask(address, "/stats.json")
    assert service.stop() == 0
    assert not [name for name in os.listdir(socket_folder) if name.startswith("view")]


def test_over_loopback_with_a_token(serving, tmp_path):
    service = serving(
        "tcp:127.0.0.1:0", GEVENT_INSPECT_TOKEN="secret", XDG_RUNTIME_DIR=str(tmp_path)
    )
    address = parse_address(service.wait_for(r"at (tcp:127\.0\.0\.1:\d+), token secret")[1])
    service.address()
    url = f"http://127.0.0.1:{address.port}/metrics"
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(url, timeout=20)
    with urllib.request.urlopen(f"{url}?token=secret", timeout=20) as answer:
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
    assert service.stop() == 0


def test_it_serves_where_the_address_cannot_be_had(serving, socket_folder):
    service = serving(f"unix:{socket_folder}/no/such/folder")
    service.wait_for("no metrics: cannot listen at unix:")
    service.address()
    assert service.stop() == 0


def test_slow_clients_hold_up_nobody(serving, socket_folder):
    path = socket_folder / "view"
    service = serving(f"unix:{path}")
    service.wait_for("metrics of all workers at unix:")
    service.address()
    address = parse_address(f"unix:{path}")
    silent = []
    try:
        for number in range(100):
            client = socket.socket(socket.AF_UNIX)
            client.connect(str(path))
            if number % 2:
                client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n")
            silent.append(client)
        assert "gevent_processes 2" in answered(address, "/metrics", "gevent_processes 2")
        assert answered(address, "/health", "ok") == '{"status": "ok"}\n'
    finally:
        for client in silent:
            client.close()
    assert service.stop() == 0


def test_many_at_once_are_answered_or_refused_in_a_line(serving, socket_folder):
    path = socket_folder / "view"
    service = serving(f"unix:{path}")
    service.wait_for("metrics of all workers at unix:")
    service.address()
    address = parse_address(f"unix:{path}")
    seen = []

    def ask_often():
        for _ in range(4):
            try:
                seen.append("# EOF" in ask(address, "/metrics").decode())
            except InspectError as error:
                seen.append(str(error))

    threads = [threading.Thread(target=ask_often) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 32
    assert True in seen
    assert set(seen) <= {True, "too many requests at a time"}
    with pytest.raises(InspectError, match="answers GET"):
        order(address, "/metrics")
    assert service.stop() == 0
