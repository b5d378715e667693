"""Every row of the table in docs/gevent-0.13.md, with the setting and without it."""

import re

import pytest
from paths import DOCS

TABLE = DOCS / "gevent-0.13.md"

#: By the first cell of a row: a program, and what it prints today and with the setting.
ROWS = {
    "`Queue(0)`, `LifoQueue(0)`, `PriorityQueue(0)`, `JoinableQueue(0)` of `gevent.queue`": (
        """
        from gevent import Timeout, queue
        for kind in queue.Queue, queue.LifoQueue, queue.PriorityQueue, queue.JoinableQueue:
            made = kind(0)
            with Timeout(0.01, False):
                made.put(1)
                print(made.qsize(), made.empty(), made.full())
                continue
            print("waits", made.empty(), made.full())
        """,
        "1 False False\n" * 4,
        "waits True True\n" * 4,
    ),
    "`gevent.core.loop`": (
        """
        from gevent import core
        if isinstance(core.loop, type):
            print("class", core.loop().backend)
        else:
            print(core.loop())
            core.active_event(print, "active")
            core.timer(30, print, "late")
            print(core.loop(nonblock=True))
        """,
        "class epoll\n",
        "1\nactive\n0\n",
    ),
    "`gevent.sleep(-1)`": (
        """
        import errno, gevent
        for seconds in -1, -0.5, -(10**30), -0.0, 0, False:
            try:
                print(gevent.sleep(seconds))
            except IOError as error:
                print(errno.errorcode[error.errno])
        """,
        "None\n" * 6,
        "EINVAL\n" * 3 + "None\n" * 3,
    ),
    "`gevent.pool.Pool(0)`": (
        """
        from gevent.pool import Pool
        from gevent.server import StreamServer
        served = lambda: StreamServer(1, print, spawn=0)
        for make in (lambda: Pool(0), lambda: Pool(size=0), served):
            try:
                print(type(make()).__name__)
            except ValueError as error:
                print(error)
        print(Pool(1).size, Pool().size)
        """,
        "Pool\nPool\nStreamServer\n1 None\n",
        "size must not be 0: nothing could ever be spawned\n" * 3 + "1 None\n",
    ),
    "a server's `backlog`, where nothing is stated": (
        """
        import gevent.backdoor, gevent.http, gevent.pywsgi, gevent.server, gevent.wsgi
        from gevent.server import StreamServer

        listened = []
        StreamServer.get_listener = classmethod(lambda cls, address, backlog, family: (
            listened.append(backlog), gevent.socket.create_server(("127.0.0.1", 0)))[1])

        class Own(StreamServer):
            backlog = 7

        for kind in (StreamServer, gevent.pywsgi.WSGIServer, gevent.wsgi.WSGIServer,
                     gevent.http.HTTPServer, gevent.backdoor.BackdoorServer, Own):
            print(kind.backlog, end=" ")
        for server in StreamServer(0, print), StreamServer(0, print, backlog=9), Own(0, print):
            server.start()
        server = StreamServer(0, print)
        server.backlog = 11
        server.start()
        print(listened)
        """,
        "128 128 128 128 128 7 [128, 9, 7, 11]\n",
        "256 256 256 256 256 7 [256, 9, 7, 11]\n",
    ),
    "`gevent.socket.wait_read(fd, -1)`, `wait_write`, `wait_readwrite`": (
        """
        import gevent
        from gevent import socket
        full, other = socket.socketpair()
        full.setblocking(False)
        try:
            while True:
                full.send(b"x" * 65536)
        except BlockingIOError:
            pass

        def attempt(wait):
            try:
                wait(full.fileno(), timeout=-1)
            except TimeoutError:
                return "over at once"

        for wait in socket.wait_read, socket.wait_write, socket.wait_readwrite:
            waiting = gevent.spawn(attempt, wait)
            for _ in range(5):
                gevent.sleep(0.005)
            print(waiting.value if waiting.ready() else "waits")
            waiting.kill()
        """,
        "over at once\n" * 3,
        "waits\n" * 3,
    ),
    "`gevent.wsgi.WSGIServer`": (
        """
        import gevent, gevent.wsgi
        from gevent import socket
        first_read = gevent.event.Event()

        def application(environ, start_response):
            body = environ["wsgi.input"]
            write = start_response("200 OK", [("Content-Type", "text/plain")])
            write(b"written,")
            yield type(body).__name__.encode() + b","
            print("goes on" if first_read.wait(1) else "nobody has read")
            yield b"" + body.read()

        server = gevent.wsgi.WSGIServer(("127.0.0.1", 0), application, log=None)
        server.start()
        with socket.create_connection(server.address) as client:
            client.sendall(b"POST / HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 3\\r\\n\\r\\nabc")
            got = client.recv(65536)
            first_read.set()
            while not got.endswith((b"abc", b"\\r\\n0\\r\\n\\r\\n")):
                got += client.recv(65536)
            head, _, body = got.decode().partition("\\r\\n\\r\\n")
            for line in head.split("\\r\\n"):
                if line.partition(":")[0] in ("Connection", "Content-Length", "Transfer-Encoding"):
                    print(line)
            print(repr(body))
            client.settimeout(0.2)
            try:
                print("ended" if client.recv(1) == b"" else "more")
            except TimeoutError:
                print("kept")
        """,
        "goes on\nTransfer-Encoding: chunked\n"
        "'8\\r\\nwritten,\\r\\n6\\r\\nInput,\\r\\n3\\r\\nabc\\r\\n0\\r\\n\\r\\n'\nkept\n",
        "nobody has read\nConnection: close\nContent-Length: 19\n'written,BytesIO,abc'\nended\n",
    ),
    "`from gevent.socket import *`": (
        """
        names = {}
        exec("from gevent.socket import *", names)
        print(sorted({"ssl", "sslerror"} & set(names)), "AF_INET" in names)
        """,
        "[] True\n",
        "['ssl', 'sslerror'] True\n",
    ),
}

MODES = pytest.mark.parametrize("compat", ["", "1"], ids=["today", "compat"])


def test_every_row_of_the_table_is_here():
    text = TABLE.read_text().split("## What the setting changes")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (.+?) \| .* \| .* \|$", text, re.MULTILINE)
    assert [row for row in rows if row != "call"] == list(ROWS)


@MODES
@pytest.mark.parametrize("row", ROWS)
def test_a_row(output_of, row, compat):
    code, today, before = ROWS[row]
    settings = {"GEVENT_COMPAT": compat, "PYTHONWARNINGS": "ignore"}
    assert output_of(code, **settings) == (before if compat else today)


@MODES
def test_the_standard_library_keeps_its_meaning(output_of, compat):
    code = """
        from gevent import Timeout, monkey
        monkey.patch_all()
        import queue, gevent.queue

        class Jobs(queue.Queue):
            def __init__(self, maxsize=0):
                super().__init__(maxsize)

        makers = (
            lambda: queue.Queue(0),
            lambda: queue.Queue(maxsize=0),
            queue.Queue,
            Jobs,
            lambda: queue.LifoQueue(0),
            lambda: queue.PriorityQueue(0),
            queue.SimpleQueue,
        )
        for make in makers:
            made = make()
            with Timeout(5):
                made.put(1)
                made.put(2)
            print(type(made).__name__, made.qsize(), end=" ")
        bounded = queue.Queue(1)
        bounded.put(1)
        print(bounded.full(), isinstance(bounded, gevent.queue.Queue), end=" ")
        print(monkey.is_object_patched("queue", "Queue"), queue.Queue is gevent.queue.Queue)
    """
    settings = {"GEVENT_COMPAT": compat, "PYTHONWARNINGS": "ignore"}
    assert output_of(code, **settings) == (
        "Queue 2 Queue 2 Queue 2 Jobs 2 LifoQueue 2 PriorityQueue 2 SimpleQueue 2 "
        f"True True True {not compat}\n"
    )


def test_the_setting_in_a_program(output_of):
    code = """
        import gevent
        from gevent import core, pool, queue, server
        print(core.loop().backend, server.StreamServer.backlog)
        gevent.config.compat = True
        print(core.loop(), server.StreamServer.backlog, queue.Queue(0).full())
    """
    assert output_of(code, PYTHONWARNINGS="ignore") == "epoll 128\n1 256 True\n"


@MODES
def test_calls_that_are_carried_over_warn(run_python, compat):
    code = """
        from gevent import queue, socket
        queue.Queue(0)
        ends = socket.socketpair()
        socket.wait_write(ends[0].fileno(), timeout=-1, timeout_exc=False)
    """
    result = run_python(code, GEVENT_COMPAT=compat, PYTHONWARNINGS="default")
    assert result.returncode == 0, result.stderr
    assert "DeprecationWarning: Queue(0) " in result.stderr
    assert ("a negative timeout is of gevent 0.13" in result.stderr) == bool(compat)


def test_a_value_that_is_no_boolean(run_python):
    result = run_python("import gevent; gevent.sleep(-1)", GEVENT_COMPAT="perhaps")
    assert "ValueError: Invalid boolean string: 'perhaps'" in result.stderr
