"""The interpreter ends while a daemon thread is inside the engine: only the thread is cut off.

Up to CPython 3.13 such a thread ends in `pthread_exit` as soon as it asks for the GIL, wherever it
is.
"""

import pytest

PRELUDE = """
import gc, os, threading, time
from collections.abc import Sequence
import gevent, gevent._core
import gevent.fileobject, gevent.pool, gevent.pywsgi, gevent.server, gevent.socket
from gevent.event import AsyncResult, Event
from gevent.local import local
from gevent.lock import RLock, Semaphore
from gevent.queue import PriorityQueue, Queue

inside = threading.Event()

def busy(*_):
    inside.set()
    while True:
        time.sleep(0.0005)

class Finalized:
    def __del__(self):
        busy()
    def __call__(self, *_):
        pass

class Compared:
    def __lt__(self, other):
        busy()

class Shown:
    def __repr__(self):
        busy()

class Raised(Exception):
    def __init__(self, *_):
        busy()

class Local(local):
    item = property(busy)

class Late(local):
    def __init__(self):
        if inside.is_set():
            busy()

class Greenlet(gevent.Greenlet):
    def _run(self):
        busy()

class Argument(Sequence):
    __bool__ = __float__ = __index__ = __le__ = __len__ = __getitem__ = busy

def serve(application):
    server = gevent.pywsgi.WSGIServer(("127.0.0.1", 0), application, log=None)
    server.start()
    client = gevent.socket.create_connection(server.address)
    client.sendall(b"GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
    server.serve_forever()
"""

PLACES = {
    "greenlet": "gevent.spawn(busy).join()",
    "subclass": "Greenlet.spawn().join()",
    "raw greenlet": "gevent.spawn_raw(busy); gevent.sleep(60)",
    "link": "gevent.spawn(int).rawlink(busy); gevent.sleep(60)",
    "spawned link": "gevent.spawn(int).link(busy); gevent.sleep(60)",
    "callback": "gevent.get_hub().loop.run_callback(busy); gevent.sleep(60)",
    "watcher": "timer = gevent.get_hub().loop.timer(0); timer.start(busy); gevent.sleep(60)",
    "event's link": "event = Event(); event.rawlink(busy); event.set(); gevent.sleep(60)",
    "semaphore's link": "lock = Semaphore(0); lock.rawlink(busy); lock.release(); gevent.sleep(60)",
    "timeout": "gevent.Timeout.start_new(0.001, Raised); gevent.sleep(60)",
    "comparison": "queue = PriorityQueue(); queue.put(Compared()); queue.put(Compared())",
    "representation": "repr(gevent.spawn(print, Shown()))",
    "truth": "Semaphore(1).acquire(Argument())",
    "whole number": "gevent.idle(Argument())",
    "number": "gevent.move_on_after(Argument())",
    "number of a constructor": "gevent._core.FileWrapper(None, Argument())",
    "sequence": "gevent._core.WebSocketHandshake('host', '/', protocols=Argument())",
    "seconds": "gevent.sleep(Argument())",
    "local": "Local().item",
    "local's constructor": "made = Late(); inside.set(); gevent.spawn(lambda: made.item).join()",
    "finalizer of a link": "event = Event(); event.rawlink(Finalized()); del event",
    "finalizer of a value": "result = AsyncResult(); result.set(Finalized()); result.set(1)",
    "finalizer of an item": "queue = Queue(); queue.put(Finalized()); del queue",
    "finalizer in a cycle": """
    event = Event()
    event.rawlink([event, Finalized()].append)
    del event
    gc.collect()""",
    "collector": """
    for _ in range(50):
        cycle = [Finalized()]
        cycle.append(cycle)
    del cycle
    gc.set_threshold(1)
    for _ in range(50):
        Event(), Semaphore(), Queue(), RLock()""",
    "pool": "gevent.pool.Pool(1).apply(busy)",
    "map": "list(gevent.pool.Pool(1).imap(busy, [1]))",
    "iterable": "list(gevent.pool.Pool(1).imap(int, iter(busy, 1)))",
    "thread pool": "gevent.get_hub().threadpool.apply(busy)",
    "thread pool's result": """
    gevent.get_hub().threadpool.spawn(int).rawlink(busy)
    gevent.sleep(60)""",
    "server": """
    server = gevent.server.StreamServer(("127.0.0.1", 0), busy)
    server.start()
    client = gevent.socket.create_connection(server.address)
    gevent.sleep(60)""",
    "application": "serve(busy)",
    "application's iterable": "serve(lambda environ, start: start('200 OK', []) and iter(busy, 1))",
    "file": """
    inside.set()
    gevent.fileobject.FileObjectThread(os.fdopen(os.pipe()[0], "rb")).read()""",
    "resolver": "gevent.get_hub().resolver.gethostbyname('localhost'); busy()",
    "sleep": "inside.set(); gevent.sleep(60)",
    "short sleeps": "inside.set()\n    while True: gevent.sleep(0.0001)",
    "receiver": "inside.set(); gevent.socket.socketpair()[0].recv(1)",
    "lock": "inside.set(); lock = Semaphore(0); lock.acquire()",
    "event": "inside.set(); Event().wait(60)",
}


@pytest.mark.parametrize("hub", [False, True], ids=["at once", "with a hub"])
@pytest.mark.parametrize("place", PLACES)
def test_daemon_thread_inside(output_of, place, hub):
    program = (
        PRELUDE
        + f"""
def work():
    {"gevent.sleep(0)" if hub else "pass"}
    {PLACES[place]}

threading.Thread(target=work, daemon=True).start()
assert inside.wait(20)
time.sleep(0.01)
print("the end")
"""
    )
    assert output_of(program) == "the end\n"


def test_resolver_of_its_own(output_of):
    program = (
        PRELUDE
        + f"""
def work():
    {PLACES["resolver"]}

threading.Thread(target=work, daemon=True).start()
assert inside.wait(20)
"""
    )
    assert output_of(program, GEVENT_RESOLVER="ares") == ""


def test_many_threads_at_once(output_of):
    program = (
        PRELUDE
        + """
def work():
    while True:
        gevent.joinall([gevent.spawn(gevent.sleep, 0.0001) for _ in range(3)])
        inside.set()

for _ in range(20):
    threading.Thread(target=work, daemon=True).start()
assert inside.wait(20)
time.sleep(0.05)
print("the end")
"""
    )
    assert output_of(program) == "the end\n"


def test_threads_that_end_leave_nothing(output_of):
    # What was registered for a thread goes with it; the next one at its address is registered anew.
    program = (
        PRELUDE
        + """
for _ in range(200):
    thread = threading.Thread(target=Event().set)
    thread.start()
    thread.join()
queue = PriorityQueue()
queue.put(Compared())
threading.Thread(target=queue.put, args=(Compared(),), daemon=True).start()
assert inside.wait(20)
print("the end")
"""
    )
    assert output_of(program) == "the end\n"


def test_thread_that_something_else_ends(output_of):
    # A thread of another library may end itself so, while the interpreter lives.
    program = """
        import ctypes, threading, time
        from gevent.event import Event
        Event().set()
        process = ctypes.CDLL(None)
        ended = []

        @ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
        def call_python(_):
            Event().set()
            ended.append(True)

        thread = ctypes.c_ulong()
        assert process.pthread_create(ctypes.byref(thread), None, call_python, None) == 0
        assert process.pthread_join(thread, None) == 0
        print(ended)
        """
    assert output_of(program) == "[True]\n"
