"""A Flask application that answers as http_server.py does, and more, here or behind gunicorn.

usage: flask_app.py [CERTIFICATE]    prints its URL; with a certificate it speaks TLS
"""

from gevent import monkey

monkey.patch_all()

import sys
import threading
import time

import flask

import gevent
from gevent.pywsgi import WSGIServer

app = flask.Flask(__name__)
app.secret_key = "secret"
barriers = {}


@app.post("/echo")
def echo():
    return flask.request.get_data()


@app.get("/together/<int:count>")
def together(count):
    """Answer when as many requests wait here."""
    barriers.setdefault(count, threading.Barrier(count)).wait(30)
    return "all there"


@app.get("/bytes/<int:count>")
def bytes_(count):
    return b"x" * count


@app.get("/chunks/<int:count>")
def chunks(count):
    return (b"chunk %d\n" % number for number in range(count))


@app.get("/redirect/<int:count>")
def redirect(count):
    return flask.redirect(f"/redirect/{count - 1}") if count else "arrived"


@app.get("/never")
def never():
    time.sleep(30)


@app.get("/slow/<int:count>")
def slow(count):
    """Send a line each half second."""

    def lines():
        for number in range(count):
            yield f"{number}\n"
            time.sleep(0.5)

    return lines(), {"Content-Type": "text/plain"}


@app.get("/count")
def count():
    """Count in a cookie."""
    flask.session["count"] = flask.session.get("count", 0) + 1
    return {"count": flask.session["count"], "greenlet": str(gevent.getcurrent())[:9]}


@app.post("/upload")
def upload():
    return {name: len(file.read()) for name, file in flask.request.files.items()}


@app.get("/fail")
def fail():
    raise ValueError("on purpose")


@app.get("/environ")
def environ():
    return {key: str(value) for key, value in flask.request.environ.items()}


if __name__ == "__main__":
    tls = dict.fromkeys(["certfile", "keyfile"], sys.argv[1]) if len(sys.argv) > 1 else {}
    server = WSGIServer(("127.0.0.1", 0), app, log=None, **tls)
    server.start()
    print(f"http{'s' if tls else ''}://localhost:{server.server_port}", flush=True)
    server.serve_forever()
