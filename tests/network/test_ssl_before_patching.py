"""Modules that imported :mod:`ssl`'s classes before patching still work, and let others run."""

import pytest
from paths import CERTIFICATE

#: Both ends of a connection in greenlets of one thread: a blocking handshake would never end.
TALK = f"""
import socket, gevent
def talk(client, server=None):
    if server is None:
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain({CERTIFICATE!r})
    a, b = socket.socketpair()
    def serve():
        with server.wrap_socket(b, server_side=True) as wrapped:
            wrapped.sendall(wrapped.recv(5) * 2)
    g = gevent.spawn(serve)
    with gevent.Timeout(20), client.wrap_socket(a, server_hostname="localhost") as wrapped:
        wrapped.sendall(b"hello")
        assert wrapped.recv(10) == b"hellohello"
        return wrapped
"""
PATCH = "from gevent import monkey; monkey.patch_all()\n"
#: Sets each property that the context's class, or one of its bases, has in Python.
SET_EVERYTHING = """
def set_everything(context, base):
    names = [name for name, value in vars(base).items() if getattr(value, "fset", None)]
    assert {"options", "verify_mode", "verify_flags", "minimum_version"} <= set(names)
    for name in names:
        setattr(context, name, getattr(context, name))
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.options |= ssl.OP_NO_TICKET
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context._msg_callback = print
    context._msg_callback = None
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_TICKET and context.verify_mode is ssl.CERT_NONE
"""
TRUST = f"client.load_verify_locations({CERTIFICATE!r})\n"

MADE = {
    "made before": "client = ssl.create_default_context()\n" + PATCH,
    "class imported before": (
        "from ssl import SSLContext as Held, PROTOCOL_TLS_CLIENT\n"
        f"{PATCH}client = Held(PROTOCOL_TLS_CLIENT)\n"
    ),
    "class derived before": (
        f"class Derived(ssl.SSLContext): pass\n{PATCH}client = Derived(ssl.PROTOCOL_TLS_CLIENT)\n"
    ),
    "derived, made before": (
        f"class Derived(ssl.SSLContext): pass\nclient = Derived(ssl.PROTOCOL_TLS_CLIENT)\n{PATCH}"
    ),
    "with sockets of its own class": (
        "class Own(ssl.SSLSocket):\n"
        "    shakes = 0\n"
        "    def do_handshake(self, block=False):\n"
        "        self.shakes += 1\n"
        "        return super().do_handshake(block)\n"
        "    @property\n"
        "    def agreed(self):\n"
        "        return super().version()\n"
        "client = ssl.create_default_context()\n"
        f"client.sslsocket_class = Own\n{PATCH}"
    ),
    "made after": f"{PATCH}client = ssl.create_default_context()\n",
}


@pytest.mark.parametrize("how", MADE)
def test_contexts(run_python, how):
    result = run_python(
        f"""
import ssl
original = ssl.SSLContext
{MADE[how]}
{TALK}
{SET_EVERYTHING}
{TRUST}
assert isinstance(client, ssl.SSLContext) and isinstance(client, original)
assert issubclass(type(client), ssl.SSLContext)
assert not isinstance(object(), ssl.SSLContext)
connection = talk(client)
assert isinstance(connection, ssl.SSLSocket)
if type(connection).__name__ == "Own":
    assert connection.shakes == 1 and connection.agreed is None
set_everything(client, original)
talk(client)
print("right")
""",
        flags=["-W", "ignore"],
    )
    assert (result.stdout, result.stderr) == ("right\n", "")


def test_other_contexts_are_none_of_ours_without_patching(run_python):
    result = run_python(
        """
import ssl
from gevent.ssl import SSLContext
client = ssl.create_default_context()
print(isinstance(client, SSLContext), isinstance(SSLContext(client.protocol), ssl.SSLContext))
"""
    )
    assert (result.stdout, result.stderr) == ("False True\n", "")


def test_classes_with_abstract_methods_can_be_derived(run_python):
    result = run_python(
        f"""
{PATCH}
import abc, ssl
class Derived(ssl.SSLContext, abc.ABC):
    pass
print(isinstance(Derived(ssl.PROTOCOL_TLS_CLIENT), ssl.SSLContext))
print(isinstance(ssl.create_default_context(), Derived))
"""
    )
    assert (result.stdout, result.stderr) == ("True\nFalse\n", "")


INJECT = "import truststore; truststore.inject_into_ssl()\n"
MAKE = "client = ssl.create_default_context()\n"


@pytest.mark.parametrize(
    "order",
    [
        f"import truststore\n{PATCH}client = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)\n",
        f"{PATCH}import truststore\nclient = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)\n",
        "import truststore\nclient = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)\n" + PATCH,
        f"{INJECT}{PATCH}{MAKE}",
        f"{INJECT}{MAKE}{PATCH}",
        f"{PATCH}{INJECT}{MAKE}",
    ],
    ids=["imported", "after", "made", "injected", "injected, made", "injected after"],
)
def test_truststore(run_python, order):
    pytest.importorskip("truststore")
    result = run_python(
        f"""
import ssl
{order}
{TALK}
{TRUST}
assert type(client) is truststore.SSLContext, type(client)
assert isinstance(client, ssl.SSLContext)
server = client.__class__.__bases__[0](ssl.PROTOCOL_TLS_SERVER)
server.load_cert_chain({CERTIFICATE!r})
talk(client, server)
client.options |= ssl.OP_NO_TICKET
client.minimum_version = ssl.TLSVersion.TLSv1_2
client.check_hostname = False
client.verify_mode = ssl.CERT_NONE
talk(client, server)
print("right")
""",
        flags=["-W", "ignore"],
    )
    assert (result.stdout, result.stderr) == ("right\n", "")


@pytest.mark.parametrize("library", ["requests", "urllib3"])
def test_libraries_that_hold_the_class_or_a_context(run_python, library):
    pytest.importorskip(library)
    result = run_python(
        f"""
import ssl, threading, http.server
import {library}, urllib3
manager = urllib3.PoolManager(
    ca_certs={CERTIFICATE!r}, ssl_minimum_version=ssl.TLSVersion.TLSv1_2
)
from urllib3.util.ssl_ import create_urllib3_context
held = create_urllib3_context()
{PATCH}
import gevent, socketserver
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
    def log_message(self, *args):
        pass
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain({CERTIFICATE!r})
server.socket = context.wrap_socket(server.socket, server_side=True)
gevent.spawn(server.serve_forever)
url = f"https://localhost:{{server.server_port}}/"
with gevent.Timeout(20):
    if {library!r} == "requests":
        body = requests.get(url, verify={CERTIFICATE!r}).text
    else:
        body = manager.request("GET", url).data.decode()
    held.load_verify_locations({CERTIFICATE!r})
    other = urllib3.PoolManager(ssl_context=held).request("GET", url).data.decode()
print(body, other)
""",
        flags=["-W", "ignore"],
    )
    assert (result.stdout, result.stderr) == ("ok ok\n", "")
