"""HTTP clients against a server in another process."""

import pytest

ALL = {"echoed": 200, "met": 60}


def test_requests(result_of, http_url):
    seen = result_of("http_clients.py", "requests_session", http_url)
    assert seen == ALL | {"redirected": "arrived", "large": 5_000_000, "lines": 500}


def test_requests_over_tls(result_of, https_url, certificate):
    seen = result_of("http_clients.py", "requests_session", https_url, certificate)
    assert seen == ALL | {"redirected": "arrived", "large": 5_000_000, "lines": 500}


def test_failures_of_requests(result_of, http_url):
    seen = result_of("http_clients.py", "requests_failures", http_url)
    assert seen == {
        "read": "ReadTimeout",
        "limit": "Timeout",
        "refused": "ConnectionError",
        "after": "hello",
    }


def test_failures_of_requests_over_tls(result_of, https_url, certificate):
    seen = result_of("http_clients.py", "requests_failures", https_url, certificate)
    assert seen == {
        "read": "ReadTimeout",
        "limit": "Timeout",
        "refused": "ConnectionError",
        "after": "hello",
        "unverified": "SSLError",
    }


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_urllib3(result_of, request, certificate, scheme):
    url = request.getfixturevalue(f"{scheme}_url")
    seen = result_of("http_clients.py", "urllib3_pool", url, certificate)
    assert seen == ALL | {"pieces": 1_000_000, "pools": 1}


def test_http_client(result_of, http_url):
    # Three echoes and one answer that comes when all 200 have asked, each.
    assert result_of("http_clients.py", "http_client", http_url) == {"right": 800}


def test_urllib_request(result_of, http_url):
    assert result_of("http_clients.py", "urllib_request", http_url) == {"lines": sum(range(100))}
