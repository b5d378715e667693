"""Objects that the collector sees as soon as they have memory, before they are made.

CPython 3.11 may collect at each allocation, 3.12 and later only between instructions, so 3.11
finds the most here.
"""

import pytest

from gevent import _core

NATIVE = {
    cls.__name__: cls
    for module in (_core, _core.watchers)
    for cls in vars(module).values()
    if isinstance(cls, type)
}

# Expressions that make an instance of a native or derived class. A loop is `loop`.
ARGUMENTS = {
    "Arrivals": "()",
    "AsyncResult": "()",
    "AsyncioLoop": "()",
    "BaseGroup": "()",
    "BaseHub": "()",
    "BasePool": "()",
    "BlockingSwitchOutError": "()",
    "BoundedSemaphore": "(1)",
    "BusyWait": "()",
    "CancelScope": "()",
    "Channel": "()",
    "ConcurrentObjectUseError": "()",
    "DatagramTransport": "(_core.AsyncioLoop(), gevent.socket.socket())",
    "DummySemaphore": "()",
    "Event": "()",
    "FailureSpawnedLink": "(print)",
    "FileWrapper": "(io.BytesIO())",
    "Greenlet": "(print, 1, file=None)",
    "GroupBlock": "()",
    "IMap": "(print, [1])",
    "IMapUnordered": "(print, [1])",
    "Input": "(io.BytesIO(), 1)",
    "InvalidSwitchError": "()",
    "InvalidThreadUseError": "()",
    "LifoQueue": "()",
    "LockType": "()",
    "NameService": "(loop, **SERVICE)",
    "PollChanges": "()",
    "PriorityQueue": "()",
    "Queue": "()",
    "RLock": "()",
    "Semaphore": "(1)",
    "SimpleQueue": "()",
    "SocketBase": "()",
    "SpawnedLink": "(print)",
    "StreamTransport": "(_core.AsyncioLoop(), gevent.socket.socket())",
    "SignalHandler": "(print)",
    "SuccessSpawnedLink": "(print)",
    "TaskQueue": "(loop, 1)",
    "ThreadEnd": "()",
    "ThreadRLock": "()",
    "Timeout": "(1, None)",
    "TrackedRawGreenlet": "(print)",
    "WSGIHandler": "(None, ('', 0), None, io.BytesIO())",
    "Waiter": "()",
    "WebSocketBase": "()",
    "WebSocketHandshake": "('host', '/')",
    "async_": "(loop)",
    "check": "(loop)",
    "child": "(loop, 1)",
    "fork": "(loop)",
    "idle": "(loop)",
    "io": "(loop, 0, 1)",
    "local": "()",
    "loop": "(default=False)",
    "prepare": "(loop)",
    "restarting": "(print)",
    "signal": "(loop, 10)",
    "stat": "(loop, '/')",
    "timer": "(loop, 1)",
}
# Made by other objects only: each is made by what stands here.
INDIRECT = {
    "BaseTransport": "_core.StreamTransport(_core.AsyncioLoop(), gevent.socket.socket())",
    "Nest": "nest_of_a_greenlet()",
    "HandlerAttributes": "gevent.pywsgi.WSGIHandler(None, ('', 0), None, io.BytesIO())",
    "HttpService": "server()._make_service()",
    "LookUp": "service.addresses(print, b'localhost', True, False, False)",
    "ReadyView": "_core.AsyncioLoop()._ready",
    "RequestFile": "gevent.pywsgi.WSGIHandler(gevent.socket.socket(), ('', 0), None).rfile",
    "Responder": "start_response()",
    "_Frame": "gevent.spawn(int).spawning_stack",
    "callback": "loop.run_callback(int)",
    "watcher": "loop.timer(1)",
}

PROGRAM = """
import gc, io
import gevent, gevent.core, gevent.hub, gevent.pool, gevent.pywsgi, gevent.server
import gevent.socket, gevent.threadpool, gevent.websocket, gevent._imap
from gevent import _core
loop = gevent.core.loop(default=True)
SERVICE = dict(
    servers=[], flags=0, timeout=None, tries=None, ndots=None, udp_port=53, tcp_port=53,
    resolv_conf="/", hosts="/", nsswitch_conf="/", gai_conf="/",
)

def derived(cls):
    yield cls
    for one in list(cls.__subclasses__()):
        yield from derived(one)

def make(cls):
    try:
        return cls{arguments}
    except TypeError:
        # A class of the package that takes other arguments shows its base's memory all the same.
        return cls.__new__(cls)

native = vars(_core.watchers).get({name!r}) or vars(_core)[{name!r}]
classes = list(derived(native))
if native.__flags__ & 1 << 10:
    for base in list(classes):
        if base.__flags__ & 1 << 10:
            class WithDictionary(base):
                pass
            class WithSlots(base):
                __slots__ = ("one", "other")
            classes += [WithDictionary, WithSlots]
keep = []
gc.set_threshold(1)
for cls in classes:
    for _ in range(30):
        keep.append(make(cls))
    del keep[:]
gc.set_threshold(700)
print(len(classes))
"""


def test_every_native_class_is_made_here():
    assert set(NATIVE) == set(ARGUMENTS) | set(INDIRECT)


@pytest.mark.parametrize("name", sorted(ARGUMENTS))
def test_made_while_the_collector_runs(output_of, name):
    program = PROGRAM.format(name=name, arguments=ARGUMENTS[name])
    assert int(output_of(program)) >= 1


@pytest.mark.parametrize("name", sorted(INDIRECT))
def test_made_by_others_while_the_collector_runs(output_of, name):
    program = f"""
        import gc, io
        import gevent, gevent.pywsgi, gevent.socket, greenlet
        from gevent import _core
        loop = gevent.get_hub().loop
        service = _core.NameService(
            loop, servers=[], flags=0, timeout=None, tries=None, ndots=None,
            udp_port=53, tcp_port=53, resolv_conf="/dev/null", hosts="/etc/hosts",
            nsswitch_conf="/dev/null", gai_conf="/dev/null",
        )
        def server(application=None):
            return gevent.pywsgi.WSGIServer(("127.0.0.1", 0), application, log=None)
        def nest_of_a_greenlet():
            inside = greenlet.greenlet(gevent.CancelScope().__enter__)
            inside.switch()
            return inside._gevent_scopes
        def start_response():
            given = []
            serving = server(lambda environ, start: given.append(start) or [])
            serving.error_log = io.StringIO()
            serving.start()
            with gevent.socket.create_connection(serving.address) as client:
                client.sendall(b"GET / HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n")
                while client.recv(1000):
                    pass
            serving.stop()
            return given[0]
        gc.set_threshold(1)
        made = [{INDIRECT[name]} for _ in range(30)]
        gc.set_threshold(700)
        native = vars(_core.watchers).get({name!r}) or vars(_core)[{name!r}]
        print(all(isinstance(one, native) for one in made))
        service.close()
        """
    assert output_of(program) == "True\n"


def test_kept_in_numbers(output_of):
    # At CPython's own thresholds: the collector's turn comes while one of many is being made.
    program = """
        import gevent.pool, gevent.server
        groups = [gevent.pool.Group() for _ in range(3000)]
        pools = [gevent.pool.Pool(2) for _ in range(3000)]
        make = gevent.server.StreamServer
        servers = [make(("127.0.0.1", 0), print, spawn=2) for _ in range(1500)]
        print(len(groups) + len(pools) + len(servers))
        """
    assert output_of(program) == "7500\n"


def test_found_before_it_is_whole(run_python):
    # A callback of the collector may look for objects and call what it finds.
    program = """
        import gc
        import gevent.pool
        seen = []

        def look(phase, info):
            for found in gc.get_objects():
                if isinstance(found, gevent.pool.Group):
                    try:
                        seen.append(len(found))
                    except BaseException as error:
                        seen.append(str(error))

        gc.callbacks.append(look)
        gc.set_threshold(1)
        groups = [gevent.pool.Group() for _ in range(20)]
        gc.set_threshold(0)
        gc.callbacks.clear()
        print(len(groups), set(seen) <= {0, "the object has not been made yet"})
        """
    done = run_python(program)
    assert (done.returncode, done.stdout) == (0, "20 True\n")


def test_all_that_can_be_found_before_it_is_whole(run_python):
    """A callback of the collector that asks half-made objects gets an answer or an exception."""
    program = (
        PROGRAM.split("def derived")[0]
        + """
import warnings
warnings.simplefilter("ignore")
asked, is_asking = set(), []

def ask(found, question):
    try:
        question(found)
    except BaseException as error:
        assert type(error).__name__ != "PanicException"

def look(phase, info):
    if phase == "stop" or is_asking:
        return
    is_asking.append(1)
    for found in gc.get_objects(0):
        if isinstance(found, watched):
            asked.add(type(found).__name__)
            for question in repr, str, len, bool, hash, dir:
                ask(found, question)
            for name in dir(type(found)):
                ask(found, lambda found: getattr(found, name))
    is_asking.clear()

arguments = """
        + repr(ARGUMENTS)
        + """
classes = {name: vars(_core.watchers).get(name) or vars(_core)[name] for name in arguments}
for name in ("BaseHub", "loop", "Hub"):
    classes.pop(name, None)
watched = tuple(classes.values())
gc.collect()
gc.callbacks.append(look)
for name, cls in classes.items():
    gc.set_threshold(1)
    kept = []
    for _ in range(6):
        # The lists beside it have the collector's turn come within the making, too.
        kept.append([])
        try:
            kept.append(eval(f"cls{arguments[name]}"))
        except TypeError:
            kept.append(cls.__new__(cls))
    gc.set_threshold(0)
gc.callbacks.clear()
print(len(asked) > 20 or sorted(asked))
"""
    )
    done = run_python(program)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")
