"""Names of gevent 0.13: links between greenlets, groups, the end of a program."""

import importlib
import os
import signal
import ssl

import pytest
from conditions import until
from paths import CERTIFICATE

import gevent.socket
import gevent.ssl
from gevent import Greenlet
from gevent.event import Event
from gevent.pool import Group, Pool
from gevent.server import StreamServer

pytestmark = pytest.mark.filterwarnings("ignore:.*is of gevent 0.13:DeprecationWarning")


def names(*which):
    module = importlib.import_module("gevent.compat.links")
    return [getattr(module, name) for name in which]


LinkedExited, LinkedCompleted, LinkedFailed, LinkedKilled = names(
    "LinkedExited", "LinkedCompleted", "LinkedFailed", "LinkedKilled"
)


def fail():
    raise ValueError("expected")


def raised_by(action, *args):
    try:
        action(*args)
        gevent.sleep(0.05)
    except LinkedExited as told:
        return told
    return None


@pytest.mark.usefixtures("printed")
class TestLinks:
    @pytest.mark.parametrize(
        ("method", "function", "expected"),
        [
            ("link", int, LinkedCompleted),
            ("link", fail, LinkedFailed),
            ("link_value", int, LinkedCompleted),
            ("link_value", fail, None),
            ("link_exception", int, None),
            ("link_exception", fail, LinkedFailed),
        ],
    )
    @pytest.mark.parametrize("over", [False, True], ids=["alive", "over"])
    def test_to_the_current_greenlet(self, method, function, expected, over):
        source = Greenlet.spawn(function)
        if over:
            source.join()
        told = raised_by(getattr(source, method))
        assert type(told) is (expected or type(None))
        if told is not None:
            assert told.source is source
            assert repr(source) in str(told)
        # Either way it is there no more.
        assert raised_by(gevent.sleep) is None

    def test_a_killed_one(self):
        source = Greenlet.spawn(gevent.sleep, 10)
        source.link()
        told = raised_by(source.kill)
        assert type(told) is LinkedKilled
        assert isinstance(told, LinkedCompleted)

    def test_to_another_greenlet(self):
        source = Greenlet.spawn(gevent.sleep, 0.001)
        other = Greenlet.spawn(gevent.sleep, 10)
        source.link(other)
        other.join(20)
        assert type(other.exception) is LinkedCompleted

    def test_to_a_raw_greenlet(self):
        seen = []

        def wait():
            try:
                gevent.sleep(10)
            except LinkedFailed as told:
                seen.append(told.source)

        raw = gevent.spawn_raw(wait)
        gevent.sleep(0)
        source = Greenlet.spawn(fail)
        source.link_exception(raw)
        source.join()
        until(lambda: seen)
        assert seen == [source]

    def test_unlink(self):
        source, other = Greenlet.spawn(gevent.sleep, 0.001), Greenlet.spawn(gevent.sleep, 0.02)
        source.link()
        source.link_value(other)
        assert source.has_links()
        source.unlink()
        source.unlink(other)
        assert not source.has_links()
        other.join()
        assert other.successful()

    def test_link_with_a_callback_is_as_ever(self, recwarn):
        source, seen = Greenlet.spawn(int), []
        source.link(seen.append)
        source.link_value(callback=seen.append)
        with pytest.raises(TypeError, match="Expected callable: 5"):
            source.link(5)
        source.join()
        gevent.sleep(0)
        assert seen == [source, source]
        assert not recwarn

    @pytest.mark.parametrize("method", ["link", "link_value", "link_exception"])
    @pytest.mark.parametrize("name", ["receiver", "callback"])
    def test_both_names_of_the_argument(self, method, name):
        seen = []
        source = Greenlet.spawn(fail if method == "link_exception" else int)
        getattr(source, method)(**{name: seen.append})
        other = Greenlet.spawn(gevent.sleep, 30)
        getattr(source, method)(**{name: other})
        removed = []
        getattr(source, method)(**{name: removed.append})
        source.unlink(**{name: removed.append})
        assert isinstance(raised_by(lambda: getattr(source, method)(**{name: None})), LinkedExited)
        other.join()
        assert isinstance(other.exception, LinkedExited)
        assert (seen, removed) == ([source], [])

    @pytest.mark.parametrize("method", ["link", "link_value", "link_exception", "unlink"])
    def test_both_names_at_once(self, method):
        with pytest.raises(TypeError, match="either 'callback' or 'receiver'"):
            getattr(Greenlet(), method)(callback=print, receiver=print)

    @pytest.mark.parametrize("where", [gevent, Greenlet, Group(), Pool(9)])
    def test_spawn_link(self, where):
        assert type(raised_by(where.spawn_link, int, "3")) is LinkedCompleted
        assert type(raised_by(where.spawn_link_value, int)) is LinkedCompleted
        assert type(raised_by(where.spawn_link_exception, fail)) is LinkedFailed
        linked = where.spawn_link_exception(int, "7")
        assert isinstance(linked, Greenlet)
        assert linked.get() == 7

    def test_spawn_link_passes_keywords(self):
        linked = gevent.spawn_link_exception(dict, function=1, name=2)
        assert linked.get() == {"function": 1, "name": 2}

    def test_spawn_link_of_a_subclass(self):
        class Own(Greenlet):
            pass

        assert type(Own.spawn_link_exception(int)) is Own

    def test_a_link_keeps_nothing(self):
        source, other = Greenlet.spawn(int), Greenlet.spawn(gevent.sleep, 0.02)
        source.link_exception(other)
        source.join()
        other.join()
        assert not source.has_links()


class TestEnds:
    def test_shutdown_waits_in_the_main_greenlet(self):
        done = Event()
        gevent.spawn_later(0.01, done.set)
        gevent.shutdown()
        assert done.is_set()

    def test_shutdown_elsewhere_ends_the_program(self, output_of):
        assert (
            output_of("""
            import atexit, gevent
            atexit.register(print, "end")
            gevent.spawn_later(0.01, gevent.shutdown)
            try:
                gevent.sleep(100)
            finally:
                print("unwound")
        """)
            == "unwound\nend\n"
        )

    def test_dispatch_exit_is_what_a_wait_for_ever_raises(self):
        with pytest.raises(gevent.hub.DispatchExit) as raised:
            Event().wait()
        assert raised.value.code == 1
        assert raised.value.hub is gevent.get_hub()

    def test_dispatch_exit_has_a_code(self):
        for made in gevent.hub.DispatchExit(3), gevent.hub.DispatchExit(code=3):
            assert (made.code, made.args, made.hub) == (3, (3,), None)

    def test_functions_of_the_hub_module(self):
        assert gevent.hub.shutdown is gevent.shutdown
        assert gevent.hub.fork is gevent.fork

    def test_signal_calls_its_handler_in_a_greenlet(self):
        seen, done = [], Event()

        def handler(*args, **kwargs):
            gevent.sleep(0)
            seen.append((args, kwargs))
            done.set()

        installed = gevent.signal(signal.SIGUSR1, handler, 1, two=2)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert done.wait(10)
        installed.cancel()
        assert seen == [((1,), {"two": 2})]

    def test_signal_is_a_module_all_the_same(self):
        module = importlib.import_module("gevent.signal")
        assert gevent.signal is module
        assert module.SIGUSR1 is signal.SIGUSR1
        assert module.getsignal(signal.SIGUSR2) == signal.getsignal(signal.SIGUSR2)
        with pytest.raises(TypeError):
            gevent.signal(signal.SIGUSR1, "no handler")


def test_raw_greenlets():
    raw = importlib.import_module("gevent.rawgreenlet")
    greenlets = [gevent.spawn_raw(gevent.sleep, 0.01) for _ in range(3)]
    raw.joinall(greenlets, polling_period=0.01)
    assert all(greenlet.dead for greenlet in greenlets)
    greenlets = [gevent.spawn_raw(gevent.sleep, 10), gevent.spawn(gevent.sleep, 10)]
    gevent.sleep(0)
    raw.kill(greenlets[0])
    assert greenlets[0].dead
    raw.killall(greenlets, block=False)
    assert not greenlets[1].dead
    raw.join(greenlets[1])


@pytest.mark.usefixtures("printed")
def test_procs():
    proc = importlib.import_module("gevent.proc")
    one, other = proc.spawn(int, "3"), proc.spawn(int, "4")
    assert one.wait() == 3
    assert proc.waitall([one, other]) == [3, 4]
    with pytest.raises(ValueError, match="expected"):
        proc.waitall([proc.spawn(fail), proc.spawn(gevent.sleep, 10)], timeout=5)
    procs = proc.ProcSet()
    assert type(procs.spawn(int)) is proc.Proc
    assert type(raised_by(proc.spawn_link, int)) is proc.LinkedCompleted
    assert issubclass(proc.ProcExit, BaseException)


def test_semaphores():
    coros, lock = importlib.import_module("gevent.coros"), importlib.import_module("gevent.lock")
    for name in lock.__all__:
        assert getattr(coros, name) is getattr(lock, name)
    told = coros.event()
    waiting = gevent.spawn(told.wait)
    gevent.sleep(0)
    told.send("value")
    assert waiting.get() == "value"
    told = coros.event()
    told.send(exc=ValueError("sent"))
    with pytest.raises(ValueError, match="sent"):
        told.wait()
    with pytest.raises(gevent.Timeout):
        coros.event().wait(timeout=0.001)


@pytest.mark.parametrize("name", ["Queue", "Channel"])
def test_queues_that_send(name):
    queue = getattr(importlib.import_module("gevent.coros"), name)()
    sending = gevent.spawn(lambda: [queue.send(1), queue.send(2)])
    gevent.sleep(0)
    assert sending.ready() == (name == "Queue"), "a channel waits until it is taken"
    assert [queue.wait(), queue.wait()] == [1, 2]
    gevent.spawn(queue.send, exc=ValueError("sent"))
    gevent.spawn(queue.send_exception, KeyError("sent too"))
    with pytest.raises(ValueError, match="sent"):
        queue.wait()
    with pytest.raises(KeyError, match="sent too"):
        queue.wait()
    gevent.spawn(queue.put, "today's way")
    assert next(queue) == "today's way"
    gevent.spawn(queue.send, 4)
    assert queue.get() == 4


def test_a_group_by_its_older_name():
    assert gevent.pool.GreenletSet is Group


def test_texts_of_errors():
    assert importlib.import_module("gevent.win32util").formatError(2) == os.strerror(2)


def test_listening():
    with gevent.socket.socket() as listener:
        gevent.socket.bind_and_listen(listener, ("127.0.0.1", 0))
        with gevent.socket.create_connection(listener.getsockname()):
            listener.accept()[0].close()
        with pytest.raises(OSError, match="in use"):
            gevent.socket.tcp_listener(listener.getsockname())
    with gevent.socket.tcp_listener(("127.0.0.1", 0)) as listener:
        gevent.socket.create_connection(listener.getsockname()).close()


def test_tls_over_a_connected_socket():
    context = gevent.ssl.SSLContext(gevent.ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    server = StreamServer(
        ("127.0.0.1", 0), lambda sock, _: sock.sendall(b"hello"), ssl_context=context
    )
    server.start()
    sslold = importlib.import_module("gevent.sslold")
    try:
        for name in "ssl", "wrap_ssl":
            plain = gevent.socket.create_connection(server.address)
            with getattr(gevent.socket, name)(plain) as connection:
                assert isinstance(connection, sslold.SSLObject)
                connection.settimeout(20)
                assert connection.recv(5) == b"hello"
    finally:
        server.stop()
    assert gevent.socket.sslerror is sslold.sslerror is gevent.ssl.SSLError


def test_memory_takes_a_timeout():
    context = gevent.ssl.create_default_context()
    made = context.wrap_bio(gevent.ssl.MemoryBIO(), gevent.ssl.MemoryBIO(), server_hostname="a")
    assert isinstance(made, gevent.ssl.SSLObject)
    assert isinstance(made, ssl.SSLObject)
    assert made.gettimeout() is None
    made.settimeout(3)
    assert made.gettimeout() == 3.0
    with pytest.raises(ValueError, match="out of range"):
        made.settimeout(-1)


def test_lazy_property():
    class Thing:
        made = 0

        @importlib.import_module("gevent.util").lazy_property
        def value(self):
            self.made += 1
            return self.made

    thing = Thing()
    assert (thing.value, thing.value) == (1, 1)
