"""Nothing stays of what reaches out of the process: TLS, programs, files, names, WebSockets.

A program that cannot be started is not among them: CPython itself keeps a block of memory for each.
"""

import pytest
from leaks_support import assert_nothing_stays
from paths import CERTIFICATE, SUPPORT

OPERATIONS = {
    "TLS": "client = trust(create_connection(echo.address)); client.sendall(b'x'); read(client)",
    "TLS closed by shutdown": "client = trust(create_connection(echo.address)); client.unwrap()",
    "TLS without trust": "distrust(create_connection(echo.address))",
    "TLS that never begins": "create_connection(echo.address).close(); gevent.sleep(0.001)",
    "no TLS at all": "client = create_connection(echo.address); client.sendall(GET); read(client)",
    "request over TLS": "client = trust(create_connection(web.address)); client.sendall(GET); "
    "read(client)",
    "TLS without a network": "inside, outside = ssl.MemoryBIO(), ssl.MemoryBIO(); "
    "client_side.wrap_bio(inside, outside, server_hostname='localhost').do_handshake()",
    "program": "subprocess.run(['true'])",
    "output of a program": "subprocess.check_output(['echo', 'x'])",
    "conversation with a program": "Popen(['cat'], stdin=PIPE, stdout=PIPE).communicate(b'x')",
    "program killed": "child = Popen(['sleep', '10']); child.kill(); child.wait()",
    "program that takes too long": "subprocess.run(['sleep', '10'], timeout=0.01)",
    "file": "FileObjectPosix(open(FILE, 'rb')).read()",
    "file of a thread": "FileObjectThread(open(FILE, 'rb')).read()",
    "lines": "list(FileObjectPosix(open(FILE, 'rb')))",
    "pipe": "one, other = os.pipe(); gevent.spawn(os.write, other, b'x'); nb_read(one)",
    "file that is closed meanwhile": "one, other = os.pipe(); file = FileObjectPosix(one, 'rb'); "
    "gevent.spawn(os.close, other); file.read(); file.close()",
    "name": "resolver.gethostbyname('host.test')",
    "names": "resolver.getaddrinfo('host.test', 80)",
    "no name": "resolver.gethostbyname('..')",
    "name that comes too late": "with gevent.Timeout(0.00001): resolver.gethostbyname('late.test')",
    "WebSocket": "with connect(URL) as ws: ws.send('x'); ws.receive()",
    "WebSocket with much in it": "with connect(URL) as ws: ws.send(b'x' * 70000); ws.receive()",
    "WebSocket that is dropped": "ws = connect(URL); ws.send('x'); del ws",
    "WebSocket half sent": "half = create_connection(sockets.address); half.sendall(UPGRADE); "
    "half.recv(100); half.sendall(b'\\x81'); half.close()",
    "no WebSocket": "connect(f'ws://127.0.0.1:{plain.server_port}/')",
}

PREPARATION = f"""
SUPPORT, CERTIFICATE, FILE = {str(SUPPORT)!r}, {CERTIFICATE!r}, {__file__!r}
"""

PREPARATION += """
import os, ssl, sys
import gevent, gevent.pywsgi, gevent.server, gevent.ssl
from gevent import subprocess
from gevent.fileobject import FileObjectPosix, FileObjectThread
from gevent.os import nb_read
from gevent.resolver.ares import Resolver
from gevent.socket import create_connection
from gevent.subprocess import PIPE, Popen
from gevent.websocket import WebSocketHandler, connect

GET = b"GET / HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n"
UPGRADE = (
    b"GET / HTTP/1.1\\r\\nHost: x\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\\r\\nSec-WebSocket-Version: 13\\r\\n\\r\\n"
)
gevent.get_hub().exception_stream = None

def answer(sock, _):
    sock.sendall(sock.recv(1))

def application(environ, start_response):
    ws = environ.get("wsgi.websocket")
    if ws is None:
        start_response("200 OK", [])
        return [b"x"]
    while (message := ws.receive()) is not None:
        ws.send(message)
    return []

def read(client):
    while client.recv(100):
        pass

def cooperative(protocol):
    return gevent.ssl.SSLContext(protocol)

server_side = cooperative(ssl.PROTOCOL_TLS_SERVER)
server_side.load_cert_chain(CERTIFICATE)
client_side = cooperative(ssl.PROTOCOL_TLS_CLIENT)
client_side.load_verify_locations(CERTIFICATE)
doubtful_side = cooperative(ssl.PROTOCOL_TLS_CLIENT)

def trust(client):
    return client_side.wrap_socket(client, server_hostname="localhost")

def distrust(client):
    doubtful_side.wrap_socket(client, server_hostname="localhost")

LOCAL = ("127.0.0.1", 0)
echo = gevent.server.StreamServer(LOCAL, answer, ssl_context=server_side)
plain = gevent.server.StreamServer(LOCAL, answer)
quiet = {"log": None, "error_log": None}
web = gevent.pywsgi.WSGIServer(LOCAL, application, ssl_context=server_side, **quiet)
sockets = gevent.pywsgi.WSGIServer(LOCAL, application, handler_class=WebSocketHandler, **quiet)
for server in (echo, plain, web, sockets):
    server.start()
URL = f"ws://127.0.0.1:{sockets.server_port}/"

name_server = Popen(
    [sys.executable, SUPPORT + "/dns_server.py", "--any", "10.0.0.1"], stdin=PIPE, stdout=PIPE
)
port = int(name_server.stdout.readline())
resolver = Resolver(use_environ=False, servers=["127.0.0.1"], udp_port=port, tcp_port=port)
"""


@pytest.mark.parametrize("name", OPERATIONS)
def test_nothing_stays(run_python, name):
    assert_nothing_stays(run_python, PREPARATION, OPERATIONS[name], size=10, warm_up=150)
