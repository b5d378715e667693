"""The settings of `python -m gevent.serve`, by command line, environment and file."""

import signal
import socket
import ssl
from pathlib import Path

import pytest
from paths import CERTIFICATE
from serve_support import until

from gevent.pywsgi import WSGIServer
from gevent.serve import command_line, listeners
from gevent.serve.options import Options, default_of, settings

#: Settings that some settings need beside them.
NEEDED = {
    "max_requests_jitter": {"GEVENT_SERVE_MAX_REQUESTS": "9"},
    "reload_extra": {"GEVENT_SERVE_RELOAD": "yes"},
    "tls_key": {"GEVENT_SERVE_TLS_CERT": "c"},
    "tls_key_password_file": {"GEVENT_SERVE_TLS_CERT": "c"},
    "tls_client_ca": {"GEVENT_SERVE_TLS_CERT": "c"},
    "tls_ciphers": {"GEVENT_SERVE_TLS_CERT": "c"},
}


def parse(arguments: list[str], environ: dict[str, str]) -> Options:
    return command_line.Sources(arguments, environ).first_options()


def parsed(*arguments: str, **environ: str) -> Options:
    return parse(["program:app", *arguments], environ)


def refusal(capsys: pytest.CaptureFixture, *arguments: str, **environ: str) -> str:
    with pytest.raises(SystemExit) as ended:
        parse([*arguments], environ)
    assert ended.value.code == 2
    error, advice = capsys.readouterr().err.splitlines()
    assert advice.startswith("Try ")
    return error.partition("error: ")[2]


def test_every_limit_of_the_server_is_a_setting_with_its_default():
    for name in WSGIServer._LIMITS:
        field, _ = settings()[name]
        assert default_of(field) == getattr(WSGIServer, name), name


def test_the_command_line_counts_before_the_environment_and_that_before_the_file(tmp_path):
    path = tmp_path / "serve.toml"
    path.write_text('workers = 2\nbacklog = 20\nidle-timeout = 2.5\nhandler = "plain"\n')
    environ = {"GEVENT_SERVE_CONFIG": str(path), "GEVENT_SERVE_WORKERS": "3"}
    options = parsed("--backlog", "40", "--max-headers", "4", **environ)
    assert (options.workers, options.backlog, options.idle_timeout) == (3, 40, 2.5)
    assert (options.max_headers, options.handler, options.max_body) == (4, "plain", None)
    assert parsed("--config", str(path)).workers == 2


def test_every_setting_can_be_stated_everywhere(tmp_path):
    values = {str: "x", int: 3, float: 2.0}
    special = {
        "app": "other:app",
        "handler": "plain",
        "socket_mode": "660",
        "umask": "027",
        "tls_min_version": "1.3",
        "access_log_format": "json",
        "log_level": "error",
        "trusted_proxies": ["10.0.0.0/8", "unix"],
        "proxy_header": "forwarded",
        "bind": ["127.0.0.1:1", "unix:/x"],
        "reload_extra": ["*.html"],
    }
    for name, (field, setting) in settings().items():
        if name in special:
            value = special[name]
        elif setting.is_flag:
            value = not default_of(field)
        else:
            kind = str(field.type).removesuffix(" | None")
            value = values[{"str": str, "int": int, "float": float}[kind]]
        texts = [str(each) for each in value] if isinstance(value, list) else [str(value)]
        needed = NEEDED.get(name, {})
        option = "--" + name.replace("_", "-")
        if name == "app":
            line = parse(texts, {})
        elif setting.is_flag:
            line = parsed(option if value else option.replace("--", "--no-", 1), **needed)
        else:
            line = parsed(*(word for text in texts for word in (option, text)), **needed)
        environ = {f"GEVENT_SERVE_{name.upper()}": ",".join(texts)}
        path = tmp_path / "serve.toml"
        toml = str(value).lower() if isinstance(value, bool) else repr(value)
        path.write_text(f"{option[2:]} = {toml}\n")
        arguments = [] if name == "app" else ["program:app"]
        from_environment = parse(arguments, needed | environ)
        from_file = parse([*arguments, "--config", str(path)], needed)
        assert getattr(line, name) != default_of(field), name
        assert getattr(from_environment, name) == getattr(line, name), name
        assert getattr(from_file, name) == getattr(line, name), name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a:b", "--timeuot", "3"], "unrecognized arguments: --timeuot 3; did you mean --timeout?"),
        (["a:b", "--work", "3"], "unrecognized arguments: --work 3; did you mean --workers?"),
        (["a:b", "c"], "unrecognized arguments: c"),
        (["a:b", "--handler", "Mine"], "'Mine' is not auto, plain, websocket or package.module"),
        (["a:b", "--socket-mode", "999"], "'999' is not a file mode in octal"),
        (
            ["a:b", "--trusted-proxies", "1.2.3"],
            "'1.2.3' is neither an address, a network nor unix",
        ),
        (["a:b", "--log-level", "loud"], "'loud' is not one of debug, info, warning, error"),
        (["a:b", "--max-requests-jitter", "3"], "--max-requests-jitter needs --max-requests"),
        (["a:b", "--tls-client-ca", "f"], "--tls-client-ca needs --tls-cert"),
        (["a:b", "--idle-timeout", "-1"], "'-1' is not a number of seconds"),
        (["a:b", "--config", "/nowhere"], "cannot read /nowhere: No such file or directory"),
    ],
)
def test_a_wrong_command_line_is_explained(capsys, arguments, message):
    assert message in refusal(capsys, *arguments)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("workrs = 3", "unknown setting 'workrs'; did you mean workers?"),
        ("[server]\nworkers = 3", "unknown setting 'server'"),
        ("workers = true", "workers: True is neither a text nor a number"),
        ("workers = 0", "workers: 0 is less than 1"),
        ("reload = 3", "reload: '3' is neither yes nor no"),
        ("workers = ", "is not valid TOML"),
        ("bind = [3.5, [1]]", "bind: [1] is neither a text nor a number"),
    ],
)
def test_a_wrong_file_is_explained(capsys, tmp_path, text, message):
    path = tmp_path / "serve.toml"
    path.write_text(text)
    assert message in refusal(capsys, "a:b", "--config", str(path))


def test_a_wrong_environment_is_explained(capsys):
    message = refusal(capsys, "a:b", GEVENT_SERVE_WORKRES="2")
    assert message == "unknown setting GEVENT_SERVE_WORKRES; did you mean GEVENT_SERVE_WORKERS?"
    assert "GEVENT_SERVE_WORKERS: 'x' is no" in refusal(capsys, "a:b", GEVENT_SERVE_WORKERS="x")
    assert "WEB_CONCURRENCY: 'x' is no" in refusal(capsys, "a:b", WEB_CONCURRENCY="x")
    assert parsed(WEB_CONCURRENCY="5").workers == 5


def test_settings_of_the_environment_reach_the_server(serve_program, tmp_path):
    (tmp_path / "serve.toml").write_text('app = "program:app"\nbind = ["127.0.0.1:0"]\n')
    serving = serve_program("--config", "serve.toml", GEVENT_SERVE_MAX_HEADERS="3")
    with socket.create_connection(serving.address(), timeout=30) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\nC: d\r\nE: f\r\n\r\n")
        assert sock.recv(65536).startswith(b"HTTP/1.1 431 ")


def test_a_reload_reads_the_settings_anew(serve_program, tmp_path):
    path = tmp_path / "serve.toml"
    path.write_text('bind = "127.0.0.1:0"\nmax-request-line = 50\n')
    serving = serve_program("program:app", "--config", "serve.toml")
    address = serving.address()
    long = "/" + "x" * 60

    def status() -> bytes:
        with socket.create_connection(address, timeout=30) as sock:
            sock.sendall(f"GET {long} HTTP/1.0\r\n\r\n".encode())
            return sock.recv(65536).split()[1]

    assert status() == b"414"
    for text, answer in (
        ('bind = "127.0.0.1:1"\nworkers = 2\n', "a new bind counts after a restart only"),
        ("workrs = 2", "unknown setting 'workrs'; did you mean workers.; the workers that serve"),
    ):
        path.write_text(text)
        serving.process.send_signal(signal.SIGHUP)
        serving.wait_for(answer)
        until(lambda: status() == b"200")
    pid = serving.process.pid
    assert len(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()) == 2


def test_an_address_is_judged():
    for bind in ("", "x", "a:b", "1.2.3.4:65536", "fd://x", "unix:"):
        with pytest.raises(listeners.ServeError, match="cannot listen at"):
            listeners.open_listeners(Options(bind=(bind,)), {})


def test_client_certificates_are_demanded(serve_program):
    pem = CERTIFICATE
    tls = ("--tls-cert", pem, "--tls-client-ca", pem, "--tls-min-version", "1.3")
    serving = serve_program("program:app", "--bind", "127.0.0.1:0", *tls)
    address = serving.address()
    context = ssl.create_default_context(cafile=pem)

    def talk() -> bytes:
        with (
            socket.create_connection(address, timeout=30) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as sock,
        ):
            assert sock.version() == "TLSv1.3"
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return sock.recv(65536)

    # In TLS 1.3 the refusal comes after the client's part of the handshake.
    with pytest.raises((ssl.SSLError, ConnectionError)):
        talk()
    context.load_cert_chain(pem)
    assert talk().startswith(b"HTTP/1.1 200 OK")
