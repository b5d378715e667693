"""Packages that build on the WSGI server: gunicorn's workers, gevent-websocket, python-engineio."""

import os
import subprocess
import sys
import textwrap

import pytest

from gevent import socket

GET = b"GET /path HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

APPLICATION = """
def app(environ, start_response):
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("X-Path", environ["PATH_INFO"])])
    return [b"hello ", body]
"""


@pytest.fixture
def start(tmp_path):
    """Start a server program that prints its port when it listens."""
    processes = []

    def start(command, ready):
        (tmp_path / "application.py").write_text(textwrap.dedent(APPLICATION))
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
        )
        processes.append(process)
        for line in process.stdout:
            if ready in line:
                return process, line
        pytest.fail("the server did not start")

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def ask(port, request):
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.settimeout(20)
        sock.sendall(request)
        return b"".join(iter(lambda: sock.recv(1000), b""))


@pytest.mark.parametrize("worker", ["gevent", "gevent_pywsgi", "gevent_wsgi"])
def test_gunicorn(start, worker):
    pytest.importorskip("gunicorn")
    command = ["-m", "gunicorn", "-k", worker, "-b", "127.0.0.1:0", "--access-logfile", "-"]
    process, line = start([*command, "--no-control-socket", "application:app"], "Listening at")
    port = int(line.partition("127.0.0.1:")[2].partition(" ")[0])
    post = b"POST /path HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc"
    assert b"hello " in ask(port, GET)
    answer = ask(port, post)
    assert b"abc" in answer
    assert b"X-Path: /path" in answer
    process.terminate()
    output, _ = process.communicate(timeout=30)
    assert '"POST /path HTTP/1.1" 200' in output
    assert process.returncode == 0


def test_gevent_websocket(output_of):
    pytest.importorskip("geventwebsocket")
    pytest.importorskip("websocket")
    program = """
        from gevent import monkey; monkey.patch_all()
        import warnings; warnings.simplefilter("ignore")
        import websocket
        from gevent.pywsgi import WSGIServer
        from geventwebsocket.handler import WebSocketHandler

        def application(environ, start_response):
            sock = environ.get("wsgi.websocket")
            if sock is None:
                start_response("200 OK", [])
                return [b"plain"]
            while (message := sock.receive()) is not None:
                sock.send(message)
            return []

        server = WSGIServer(
            ("127.0.0.1", 0), application, handler_class=WebSocketHandler, log=None
        )
        server.start()
        for size in (5, 300, 100_000):
            client = websocket.create_connection(f"ws://127.0.0.1:{server.server_port}/")
            client.settimeout(20)
            client.send("x" * size)
            print(len(client.recv()))
            client.close()
        import urllib.request
        print(urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/").read().decode())
        server.stop()
    """
    assert output_of(program) == "5\n300\n100000\nplain\n"


@pytest.mark.parametrize("library", ["geventwebsocket", "simple_websocket"])
def test_socketio_over_websockets_and_polling(output_of, library):
    for name in ("socketio", "websocket", "requests", library):
        pytest.importorskip(name)
    program = """
        from gevent import monkey; monkey.patch_all()
        import sys
        import warnings; warnings.simplefilter("ignore")
        # engineio logs a poll that comes just as the client leaves, under gevent too.
        import logging; logging.disable(logging.ERROR)
        arguments = {}
        if sys.argv[1] == "geventwebsocket":
            from geventwebsocket.handler import WebSocketHandler
            arguments["handler_class"] = WebSocketHandler
        else:
            sys.modules["geventwebsocket"] = None
        import socketio
        from gevent.pywsgi import WSGIServer

        server = socketio.Server(async_mode="gevent")

        @server.event
        def ping(sid, data):
            return data * 2

        web = WSGIServer(("127.0.0.1", 0), socketio.WSGIApp(server), log=None, **arguments)
        web.start()
        for transport in ("polling", "websocket"):
            client = socketio.SimpleClient()
            client.connect(f"http://127.0.0.1:{web.server_port}", transports=[transport])
            print(client.transport, client.call("ping", "ab", timeout=20))
            client.disconnect()
        web.stop(timeout=0)
    """
    assert output_of(program, library) == "polling abab\nwebsocket abab\n"


def test_flask(serve):
    flask = pytest.importorskip("flask")
    application = flask.Flask("application")

    @application.route("/hello/<name>", methods=["GET", "POST"])
    def hello(name):
        return f"hello {name} {flask.request.get_data(as_text=True)}"

    @application.route("/stream")
    def stream():
        return flask.Response(str(number) for number in range(3))

    web = serve(application)
    assert web.get("/hello/x")[2] == b"hello x "
    assert web.get("/stream")[2].endswith(b"1\r\n2\r\n0\r\n\r\n")
