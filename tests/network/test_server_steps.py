"""Accepting and handling, step by step: what a subclass or an instance puts in their place."""

import re
import socket as stdlib

import pytest
from conditions import until

import gevent
from gevent import socket
from gevent.baseserver import _handle_and_close_when_done
from gevent.pool import Pool
from gevent.server import StreamServer


def echo(sock, address):
    while data := sock.recv(1000):
        sock.sendall(data)


def ask(server):
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=20) as client:
        client.sendall(b"question")
        return client.recv(100)


class Recording(StreamServer):
    """One whose steps are all its own, by way of the originals."""

    def __init__(self, *args, **kwargs):
        self.steps = []
        super().__init__(*args, **kwargs)

    def do_read(self):
        result = super().do_read()
        self.steps.append("read" if result else "nothing")
        return result

    def do_handle(self, *args):
        self.steps.append("handle")
        super().do_handle(*args)

    def do_close(self, *args):
        self.steps.append("close")
        super().do_close(*args)

    def full(self):
        self.steps.append("full?")
        return False


def test_a_subclass_is_asked_at_every_step():
    with Recording(("127.0.0.1", 0), echo) as server:
        server.start()
        assert ask(server) == b"question"
        until(lambda: "close" in server.steps)
        assert server.steps == ["full?", "read", "handle", "full?", "nothing", "close"]


@pytest.mark.parametrize("name", ["do_read", "do_handle", "do_close", "full"])
def test_an_instance_is_asked_too(name):
    with StreamServer(("127.0.0.1", 0), echo) as server:
        server.start()
        assert ask(server) == b"question"
        original = getattr(server, name)
        asked = []

        def step(*args):
            asked.append(name)
            return original(*args)

        setattr(server, name, step)
        assert ask(server) == b"question"
        until(lambda: asked)


@pytest.mark.parametrize("name", ["do_read", "do_handle", "do_close", "full"])
def test_a_class_that_was_changed_before_its_first_use_is_asked(output_of, name):
    code = """
        import sys
        from gevent import socket
        from gevent.server import StreamServer

        name, asked = sys.argv[1], []
        original = getattr(StreamServer, name)

        def step(self, *args):
            asked.append(name)
            return original(self, *args)

        setattr(StreamServer, name, step)
        with StreamServer(("127.0.0.1", 0), lambda sock, _: sock.sendall(b"hello")) as server:
            server.start()
            with socket.create_connection(server.address) as client:
                assert client.recv(10) == b"hello"
                assert client.recv(10) == b""
            print(bool(asked))
    """
    assert output_of(code, name) == "True\n"


def test_do_read_may_return_any_sequence():
    class Lists(StreamServer):
        def do_read(self):
            result = super().do_read()
            return list(result) if result else ()

    with Lists(("127.0.0.1", 0), echo) as server:
        server.start()
        assert ask(server) == b"question"


def test_a_subclass_of_greenlet_runs_the_handler():
    class Mine(gevent.Greenlet):
        pass

    seen = []

    def handle(sock, address):
        seen.append(type(gevent.getcurrent()))
        echo(sock, address)

    with StreamServer(("127.0.0.1", 0), handle, spawn=Mine.spawn) as server:
        server.start()
        assert ask(server) == b"question"
    assert seen == [Mine]


@pytest.mark.parametrize("spawn", ["default", "raw", 5])
def test_the_greenlet_of_a_connection(spawn):
    seen = []

    def handle(sock, address):
        running = gevent.getcurrent()
        seen.append((getattr(running, "args", None), repr(running)))
        echo(sock, address)

    with StreamServer(("127.0.0.1", 0), handle, spawn=spawn) as server:
        server.start()
        assert ask(server) == b"question"
        [(args, text)] = seen
        if spawn != "raw":
            assert args[:2] == (handle, server.do_close)
            assert re.search(r"Greenlet at 0x\w+: _handle_and_close_when_done\(<function", text)


def test_closing_the_server_ends_accepting_at_once():
    """Also from code that runs between two connections that are in line."""
    with StreamServer(("127.0.0.1", 0), echo) as server:
        server.start()
        # All are in line when the loop looks.
        clients = [stdlib.create_connection(server.address) for _ in range(3)]
        spawned = []

        def close_at_the_second(greenlet):
            spawned.append(greenlet)
            if len(spawned) == 2:
                server.close()

        gevent.Greenlet.add_spawn_callback(close_at_the_second)
        try:
            until(lambda: not server.started)
        finally:
            gevent.Greenlet.remove_spawn_callback(close_at_the_second)
        assert len(spawned) == 2
        for client in clients:
            client.close()
        gevent.joinall(spawned, timeout=20)


def test_max_accept_lets_others_run_in_between():
    order = []

    def handle(sock, address):
        order.append("handled")

    class Two(StreamServer):
        max_accept = 2

        def do_handle(self, *args):
            order.append("accepted")
            super().do_handle(*args)

    with Two(("127.0.0.1", 0), handle) as server:
        server.start()
        clients = [stdlib.create_connection(server.address) for _ in range(4)]
        until(lambda: len(order) == 8)
        assert order == ["accepted", "accepted", "handled", "handled"] * 2
        for client in clients:
            client.close()


def test_the_delay_starts_anew_after_a_connection():
    with StreamServer(("127.0.0.1", 0), echo) as server:
        server.start()
        server.delay = 0.5
        assert ask(server) == b"question"
        assert server.delay == server.min_delay


# The function that is spawned


def run_alone(handle, close, args):
    return _handle_and_close_when_done(handle, close, args)


def run_spawned(handle, close, args):
    return gevent.spawn(_handle_and_close_when_done, handle, close, args).get()


def run_in_pool(handle, close, args):
    return Pool(1).spawn(_handle_and_close_when_done, handle, close, args).get()


ways = pytest.mark.parametrize("run", [run_alone, run_spawned, run_in_pool])


pytestmark = pytest.mark.usefixtures("printed")


@ways
def test_it_closes_after_the_handler(run):
    calls = []

    def handle(*args):
        gevent.sleep(0)
        calls.append(("handle", *args))
        return "result"

    def close(*args):
        gevent.sleep(0)
        calls.append(("close", *args))

    assert run(handle, close, (1, 2)) == "result"
    assert calls == [("handle", 1, 2), ("close", 1, 2)]


@ways
def test_it_closes_after_an_error(run):
    closed = []

    def handle():
        raise KeyError("handler")

    with pytest.raises(KeyError, match="handler"):
        run(handle, lambda: closed.append(True), ())
    assert closed == [True]


@ways
def test_an_error_of_closing_has_the_handlers_as_its_context(run):
    def handle():
        raise KeyError("handler")

    def close():
        raise ValueError("close")

    with pytest.raises(ValueError, match="close") as caught:
        run(handle, close, ())
    assert isinstance(caught.value.__context__, KeyError)
    with pytest.raises(ValueError, match="close"):
        run(lambda: None, close, ())


def test_it_closes_when_killed():
    closed = []
    spawned = gevent.spawn(
        _handle_and_close_when_done, gevent.sleep, lambda seconds: closed.append(seconds), (60,)
    )
    gevent.sleep(0)
    spawned.kill()
    assert closed == [60]


@pytest.mark.parametrize("args", [(), (print,), (print, print, []), (print, print, (), 1)])
def test_it_refuses(args):
    with pytest.raises(TypeError):
        _handle_and_close_when_done(*args)
    spawned = gevent.spawn(_handle_and_close_when_done, *args)
    spawned.join()
    assert isinstance(spawned.exception, TypeError)
