"""Flask applications behind `gevent.pywsgi`, and behind gunicorn's workers."""

import signal
import subprocess
import time

import pytest
import requests
from ports import free_port

ECHOED = {"echoed": 200, "met": 60, "redirected": "arrived", "large": 5_000_000, "lines": 500}
FAILURES = {
    "read": "ReadTimeout",
    "limit": "Timeout",
    "refused": "ConnectionError",
    "after": "hello",
}


def test_flask(result_of, flask_url):
    assert result_of("http_clients.py", "requests_session", flask_url) == ECHOED
    assert result_of("http_clients.py", "requests_failures", flask_url) == FAILURES
    assert result_of("http_clients.py", "http_client", flask_url) == {"right": 800}


def test_flask_over_tls(result_of, flask_tls_url, certificate):
    seen = result_of("http_clients.py", "requests_session", flask_tls_url, certificate)
    assert seen == ECHOED
    seen = result_of("http_clients.py", "requests_failures", flask_tls_url, certificate)
    assert seen == FAILURES | {"unverified": "SSLError"}


def test_what_flask_makes_of_requests(flask_url):
    with requests.Session() as session:
        counted = [session.get(f"{flask_url}/count").json() for _ in range(3)]
        assert [each["count"] for each in counted] == [1, 2, 3]
        assert {each["greenlet"] for each in counted} == {"<Greenlet"}
        files = {"small": b"1" * 10, "large": b"2" * 3_000_000}
        uploaded = session.post(f"{flask_url}/upload", files=files).json()
        assert uploaded == {"small": 10, "large": 3_000_000}
        assert session.get(f"{flask_url}/fail").status_code == 500
        assert session.get(f"{flask_url}/nowhere").status_code == 404
        assert session.get(f"{flask_url}/echo").status_code == 405
        assert session.head(f"{flask_url}/bytes/100").headers["Content-Length"] == "100"
        environ = session.get(f"{flask_url}/environ", params={"a": "1 2"}).json()
    assert environ["QUERY_STRING"] == "a=1+2"
    assert environ["SERVER_SOFTWARE"].startswith("gevent/")


def test_what_flask_yields_arrives_at_once(flask_url):
    with requests.get(f"{flask_url}/slow/4", stream=True, timeout=30) as response:
        lines = response.iter_lines(chunk_size=1)
        assert next(lines) == b"0"
        first = time.monotonic()
        assert list(lines) == [b"1", b"2", b"3"]
    # Half a second lies after each line, the last one too.
    assert time.monotonic() - first > 0.5


@pytest.mark.parametrize("worker", ["gevent", "gevent_pywsgi"])
def test_gunicorn(result_of, started, wait_for, worker):
    port = free_port()
    options = ("--worker-class", worker, "--bind", f"127.0.0.1:{port}", "--no-control-socket")
    # A busy machine may keep the client from its next request for a while.
    options += ("--keep-alive", "60")
    with started("gunicorn", *options, "flask_app:app") as gunicorn:
        wait_for(port)
        url = f"http://localhost:{port}"
        assert result_of("http_clients.py", "requests_session", url) == ECHOED
        once = {"Connection": "close"}
        with requests.get(f"{url}/slow/3", headers=once, stream=True, timeout=30) as response:
            lines = response.iter_lines(chunk_size=1)
            assert next(lines) == b"0"
            # It lets the request that is under way come to its end.
            gunicorn.send_signal(signal.SIGTERM)
            assert list(lines) == [b"1", b"2"]
        assert gunicorn.wait(60) == 0


def test_ab(flask_url, require_program):
    where = flask_url.replace("localhost", "127.0.0.1")
    command = [require_program("ab"), "-q", "-k", "-n", "2000", "-c", "50", f"{where}/bytes/1000"]
    report = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    found = {
        name: value.split() for name, _, value in (s.partition(":") for s in report.split("\n"))
    }
    assert found["Complete requests"] == ["2000"]
    assert found["Failed requests"] == ["0"]
    assert found["Keep-Alive requests"] == ["2000"]
    assert found["HTML transferred"] == ["2000000", "bytes"]
