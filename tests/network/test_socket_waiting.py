"""Sockets: how long one waits, who may wait at once, and waiting by number."""

import errno
import threading

import pytest

import gevent
from gevent import socket
from gevent.exceptions import BlockingSwitchOutError, ConcurrentObjectUseError

# Time limits


def test_connecting_to_a_local_listener_waits_for_room(socket_folder):
    path = str(socket_folder / "socket")

    def connect(timeout):
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(timeout)
        try:
            client.connect(path)
        except OSError as error:
            client.close()
            return error
        return client

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(0)
        first = connect(None)
        assert isinstance(connect(0), BlockingIOError)
        assert isinstance(connect(0.01), TimeoutError)
        waiting = gevent.spawn(connect, 30)
        gevent.sleep(0.01)
        assert not waiting.ready()
        accepted = [listener.accept()[0]]
        second = waiting.get(timeout=30)
        accepted.append(listener.accept()[0])
        second.send(b"x")
        assert accepted[1].recv(1) == b"x"
        for each in (first, second, *accepted):
            each.close()


def test_timeouts(pair):
    one, other = pair
    one.settimeout(0.01)
    for operation in (
        lambda: one.recv(1),
        lambda: one.recv_into(bytearray(1)),
        lambda: one.recvfrom(1),
        lambda: one.recvmsg(1),
        lambda: one.sendall(b"x" * 10_000_000),
    ):
        with pytest.raises(TimeoutError) as caught:
            operation()
        assert caught.value.args == ("timed out",)
    assert other.recv(1) == b"x"


def test_send_may_have_a_timeout_of_its_own(pair):
    one, _ = pair
    one.setblocking(False)
    with pytest.raises(TimeoutError):
        one.sendall(b"x" * 10_000_000)
    one.setblocking(True)
    with pytest.raises(TimeoutError):
        one.send(b"x" * 10_000_000, 0, 0.01)
    with pytest.raises(BlockingIOError):
        one.send(b"x" * 10_000_000, timeout=0)


def test_without_waiting(pair):
    one, other = pair
    one.setblocking(False)
    assert (one.gettimeout(), one.getblocking(), one.timeout) == (0.0, False, 0.0)
    with pytest.raises(BlockingIOError) as caught:
        one.recv(1)
    assert caught.value.errno == errno.EAGAIN
    other.send(b"x")
    assert one.recv(1) == b"x"
    with pytest.raises(TimeoutError):
        one.sendall(b"x" * 10_000_000)


def test_what_a_timeout_may_be(pair):
    one, _ = pair
    one.settimeout(3)
    assert one.timeout == 3.0
    one.timeout = None
    assert one.gettimeout() is None
    with pytest.raises(ValueError, match="Timeout value out of range"):
        one.settimeout(-1)
    with pytest.raises(TypeError, match="a float is required"):
        one.settimeout("1")


def test_default_timeout():
    socket.setdefaulttimeout(7)
    try:
        with socket.socket() as sock:
            assert sock.gettimeout() == 7
    finally:
        socket.setdefaulttimeout(None)


def test_gevent_timeouts_leave_a_usable_socket(pair):
    one, other = pair
    with pytest.raises(gevent.Timeout):
        gevent.with_timeout(0.01, one.recv, 1)
    other.send(b"x")
    assert one.recv(5) == b"x"


# Several greenlets, several threads


def test_reading_and_writing_at_once(tcp, waiting):
    one, other = tcp
    reader = waiting(one.recv, 5)
    writer = waiting(one.sendall, b"x" * 20_000_000)
    other.send(b"hello")
    assert reader.get(timeout=20) == b"hello"
    got = 0
    while got < 20_000_000:
        got += len(other.recv(1 << 20))
    writer.get(timeout=20)


def test_two_readers_at_once(pair, waiting):
    one, other = pair
    reader = waiting(one.recv, 5)
    for operation in (lambda: one.recv(1), lambda: one.recvmsg(1)):
        with pytest.raises(ConcurrentObjectUseError, match="already used by another greenlet"):
            operation()
    other.send(b"x")
    assert reader.get(timeout=20) == b"x"


def test_a_killed_reader_leaves_its_place(pair, waiting):
    one, other = pair
    reader = waiting(one.recv, 5)
    reader.kill()
    next_reader = waiting(one.recv, 5)
    other.send(b"x")
    assert next_reader.get(timeout=20) == b"x"


def test_not_in_the_hub(pair):
    one, other = pair
    result = []

    def call():
        for _ in range(2):
            try:
                result.append(one.recv(1))
            except BlockingSwitchOutError as error:
                result.append(type(error))

    other.send(b"x")
    gevent.get_hub().loop.run_callback(call)
    gevent.sleep(0.001)
    assert result == [b"x", BlockingSwitchOutError]


def test_a_socket_of_another_thread(pair, waiting):
    one, other = pair
    # Here it waits in this thread's loop first.
    reader = waiting(one.recv, 1)
    other.send(b"a")
    assert reader.get(timeout=20) == b"a"
    result = []
    thread = threading.Thread(target=lambda: result.append(one.recv(1)))
    thread.start()
    gevent.sleep(0.05)
    other.send(b"b")
    while thread.is_alive():
        gevent.sleep(0.01)
    assert result == [b"b"]


def test_waiting_that_does_not_count(run_python):
    done = run_python("""
        import gevent
        from gevent import socket

        one, other = socket.socketpair()
        one.ref = False
        gevent.spawn(one.recv, 1)
        print(gevent.get_hub().join(timeout=5), one.ref, one._read_event.ref)
    """)
    assert done.stdout.split() == ["True", "False", "False"], done.stderr


def test_parent_and_child_share_a_pair(run_python):
    done = run_python("""
        import os
        import gevent
        from gevent import socket

        one, other = socket.socketpair()
        reader = gevent.spawn(one.recv, 10)
        gevent.sleep(0.01)
        if gevent.fork() == 0:
            # The child's copy of the reader waits as well.
            reader.kill()
            assert other.recv(10) == b"ping"
            other.send(b"pong")
            os._exit(0)
        reader.kill()
        one.send(b"ping")
        print(one.recv(10))
    """)
    assert done.stdout == "b'pong'\n", done.stderr


# Waiting by number


def test_wait_read(pair, waiting):
    one, other = pair
    with pytest.raises(TimeoutError):
        socket.wait_read(one.fileno(), timeout=0.01)
    with pytest.raises(KeyError):
        socket.wait_read(one.fileno(), timeout=0.01, timeout_exc=KeyError("late"))
    assert socket.wait_read(one.fileno(), timeout=0.01, timeout_exc=False) is None
    waiter = waiting(socket.wait_read, one.fileno())
    other.send(b"x")
    waiter.join(20)
    assert waiter.successful()
    socket.wait_write(one.fileno(), timeout=20)
    socket.wait_readwrite(one.fileno(), timeout=20)
    with pytest.raises(OSError, match="Bad file descriptor"):
        socket.wait_read(999_999)
    with pytest.raises(ValueError, match="non-negative"):
        socket.wait_read(-1)
    with pytest.raises(TypeError, match="as an integer"):
        socket.wait_read(one)


def test_wait_and_cancel_wait(pair, waiting, failure_of):
    one, other = pair
    watcher = one._read_event
    with pytest.raises(TimeoutError):
        socket.wait(watcher, timeout=0.01)
    waiter = waiting(socket.wait, watcher)
    with pytest.raises(ConcurrentObjectUseError):
        socket.wait(watcher)
    socket.cancel_wait(watcher)
    assert failure_of(waiter).errno == errno.EBADF
    waiter = waiting(socket.wait, watcher)
    other.send(b"x")
    waiter.join(20)
    assert waiter.successful()
    one.close()
