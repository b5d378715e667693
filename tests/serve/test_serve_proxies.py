"""The fields of trusted proxies about clients: `python -m gevent.serve --trusted-proxies`."""

import socket

import pytest

from gevent.serve import proxies


def told(peer: str, *networks: str, forwarded: bool = False, **fields: str) -> dict[str, str]:
    environ = {
        "REMOTE_ADDR": peer,
        "REMOTE_PORT": "4000",
        "SERVER_NAME": "here",
        "SERVER_PORT": "8000",
        "SCRIPT_NAME": "",
        "wsgi.url_scheme": "http",
        **{f"HTTP_{name}": value for name, value in fields.items()},
    }
    proxies.apply(environ, proxies.trust(networks), forwarded)
    return environ


def test_the_word_of_a_stranger_does_not_count():
    environ = told(
        "192.0.2.1",
        "10.0.0.0/8",
        X_FORWARDED_FOR="1.1.1.1",
        X_FORWARDED_PROTO="https",
        X_FORWARDED_HOST="evil",
        FORWARDED="for=1.1.1.1",
    )
    assert environ["REMOTE_ADDR"] == "192.0.2.1"
    assert environ["REMOTE_PORT"] == "4000"
    assert environ["wsgi.url_scheme"] == "http"
    assert not [name for name in environ if "FORWARDED" in name]


@pytest.mark.parametrize(
    ("field", "client"),
    [
        ("1.1.1.1", "1.1.1.1"),
        ("1.1.1.1:1234", "1.1.1.1"),
        ("[2001:db8::1]:1234", "2001:db8::1"),
        ("2001:DB8::1", "2001:db8::1"),
        ("9.9.9.9, 1.1.1.1", "1.1.1.1"),
        ("9.9.9.9, 1.1.1.1, 10.3.3.3", "1.1.1.1"),
        ("10.4.4.4, 10.3.3.3", "10.4.4.4"),
        ("::ffff:1.1.1.1", "1.1.1.1"),
        ("1.1.1.1, unknown", "10.0.0.1"),
        ("", "10.0.0.1"),
        ("1.1.1.1,", "10.0.0.1"),
    ],
)
def test_the_last_address_that_no_trusted_proxy_has_is_the_client(field, client):
    assert told("10.0.0.1", "10.0.0.0/8", X_FORWARDED_FOR=field)["REMOTE_ADDR"] == client


def test_clients_of_a_unix_socket_may_be_trusted():
    assert told("", "unix", X_FORWARDED_FOR="1.1.1.1")["REMOTE_ADDR"] == "1.1.1.1"
    assert told("", "10.0.0.0/8", X_FORWARDED_FOR="1.1.1.1")["REMOTE_ADDR"] == ""


def test_scheme_host_port_and_prefix():
    environ = told(
        "10.0.0.1",
        "10.0.0.1",
        X_FORWARDED_PROTO="http, https",
        X_FORWARDED_HOST="a.example, b.example:444",
        X_FORWARDED_PREFIX="/under/",
    )
    assert environ["wsgi.url_scheme"] == "https"
    assert environ["HTTP_HOST"] == "b.example:444"
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("b.example", "444")
    assert environ["SCRIPT_NAME"] == "/under"
    environ = told("10.0.0.1", "10.0.0.1", X_FORWARDED_HOST="[::1]", X_FORWARDED_PORT="81")
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("[::1]", "81")


@pytest.mark.parametrize(
    "fields",
    [
        {"X_FORWARDED_PROTO": "javascript"},
        {"X_FORWARDED_HOST": "a b"},
        {"X_FORWARDED_HOST": "a/b"},
        {"X_FORWARDED_PORT": "99999"},
        {"X_FORWARDED_PORT": "-1"},
        {"X_FORWARDED_PREFIX": "no-slash"},
        {"X_FORWARDED_PREFIX": "/a\r\nb"},
    ],
)
def test_nonsense_of_a_proxy_changes_nothing(fields):
    before = told("10.0.0.1", "10.0.0.1")
    after = told("10.0.0.1", "10.0.0.1", **fields)
    assert {name: after[name] for name in before} == before


@pytest.mark.parametrize(
    ("field", "client", "scheme", "host"),
    [
        ("for=1.1.1.1;proto=https;host=x.example", "1.1.1.1", "https", "x.example"),
        ('For="[2001:db8::1]:47"; Proto=HTTPS', "2001:db8::1", "https", "here"),
        ("for=9.9.9.9;proto=https, for=1.1.1.1;proto=http", "1.1.1.1", "http", "here"),
        ("for=9.9.9.9, for=1.1.1.1;proto=https, for=10.0.0.9", "1.1.1.1", "https", "here"),
        ('for="1.1.1.1:80";host="y.example:8"', "1.1.1.1", "http", "y.example"),
        ("for=unknown;proto=https", "10.0.0.1", "https", "here"),
        ("for=_hidden", "10.0.0.1", "http", "here"),
        ("for=1.1.1.1;;proto=https", "1.1.1.1", "https", "here"),
        ("for=1.1.1.1 nonsense", "10.0.0.1", "http", "here"),
        ('for="1.1.1.1', "10.0.0.1", "http", "here"),
        ("", "10.0.0.1", "http", "here"),
    ],
)
def test_forwarded(field, client, scheme, host):
    environ = told("10.0.0.1", "10.0.0.0/8", forwarded=True, FORWARDED=field)
    assert environ["REMOTE_ADDR"] == client
    assert environ["wsgi.url_scheme"] == scheme
    assert environ["SERVER_NAME"] == host


def test_only_the_fields_that_the_proxies_set_count():
    fields = {"X_FORWARDED_FOR": "1.1.1.1", "FORWARDED": "for=2.2.2.2"}
    environ = told("10.0.0.1", "10.0.0.1", **fields)
    assert environ["REMOTE_ADDR"] == "1.1.1.1"
    assert "HTTP_FORWARDED" not in environ
    environ = told("10.0.0.1", "10.0.0.1", forwarded=True, **fields)
    assert environ["REMOTE_ADDR"] == "2.2.2.2"
    assert "HTTP_X_FORWARDED_FOR" not in environ


def test_the_application_and_the_log_see_the_client(serve_program, tmp_path):
    (tmp_path / "program.py").write_text(
        "def app(environ, start_response):\n"
        "    body = f\"{environ['REMOTE_ADDR']} {environ['HTTP_HOST']}\".encode()\n"
        "    start_response('200 OK', [('Content-Length', str(len(body)))])\n"
        "    return [body]\n"
    )
    serving = serve_program(
        *("program:app", "--bind", "127.0.0.1:0", "--access-log", "access"),
        *("--trusted-proxies", "127.0.0.0/8"),
    )
    address = serving.address()
    with socket.create_connection(address, timeout=30) as sock, sock.makefile("rb") as file:
        # One connection of a proxy carries requests of many clients.
        for client in (b"1.1.1.1", b"2.2.2.2"):
            sock.sendall(
                b"GET /path HTTP/1.1\r\nHost: a\r\nX-Forwarded-Host: b.example\r\n"
                b"X-Forwarded-For: " + client + b"\r\n\r\n"
            )
            while file.readline() != b"\r\n":
                pass
            body = client + b" b.example"
            assert file.read(len(body)) == body
    assert serving.stop() == 0
    lines = (tmp_path / "access").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["1.1.1.1", "2.2.2.2"]
