"""gevent.pytest_plugin, in runs of pytest of its own."""

import os
import subprocess
import sys
import textwrap

import pytest


def run(folder, source, *options):
    """Run pytest over a module of tests; return the outcome counts' line and all the output."""
    (folder / "test_it.py").write_text(textwrap.dedent(source))
    command = [sys.executable, "-m", "pytest", "-p", "gevent.pytest_plugin", "-q", *options]
    environment = {**os.environ, "PYTEST_ADDOPTS": "", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [*command, "--rootdir", str(folder), "-p", "no:cacheprovider", str(folder)],
        capture_output=True,
        text=True,
        timeout=250,
        env=environment,
        cwd=folder,
    )
    return done.stdout.strip().rpartition("\n")[2], done.stdout + done.stderr


PATCHED = """
    import socket, threading
    from gevent import monkey

    def test_one():
        assert monkey.is_module_patched("socket")
        assert monkey.is_module_patched("threading")

    def test_two():
        done = []
        thread = threading.Thread(target=done.append, args=(1,))
        thread.start()
        thread.join()
        assert done == [1]
"""


def test_patched(tmp_path):
    line, out = run(tmp_path, PATCHED, "--gevent-patch", "-p", "no:xdist")
    assert line.startswith("2 passed"), out


def test_patched_workers_of_xdist(tmp_path):
    pytest.importorskip("xdist", reason="pytest-xdist is not here")
    line, out = run(tmp_path, PATCHED, "--gevent-patch", "-n", "2")
    assert line.startswith("2 passed"), out


def test_not_patched_unless_asked(tmp_path):
    source = """
        from gevent import monkey

        def test_it():
            assert not monkey.is_module_patched("socket")
    """
    line, out = run(tmp_path, source, "-p", "no:xdist")
    assert line.startswith("1 passed"), out


def test_timeout_shows_what_is_waited_for(tmp_path):
    source = """
        import gevent, pytest
        from gevent.event import Event
        from gevent.queue import Queue

        def consumer(queue):
            queue.get()

        @pytest.mark.gevent_timeout(0.2)
        def test_hangs():
            greenlet = gevent.spawn(consumer, Queue())
            try:
                Event().wait(60)
            except Exception:
                pass

        def test_after():
            gevent.sleep(0.01)
    """
    line, out = run(tmp_path, source, "--gevent-timeout", "30", "-p", "no:xdist")
    assert line.startswith("1 failed, 1 passed"), out
    assert "the test took longer than 0.2 s" in out
    assert "in Event.wait on <Event at 0x" in out
    assert "in Queue.get on <Queue at 0x" in out


def test_timeout_must_be_positive(tmp_path):
    _, out = run(tmp_path, "", "--gevent-timeout", "0", "-p", "no:xdist")
    assert "--gevent-timeout must be positive" in out


def test_leaks(tmp_path):
    source = """
        import gevent, os, pytest
        from gevent.event import Event

        event, kept = Event(), []

        @pytest.fixture
        def server():
            greenlet = gevent.spawn(event.wait)
            yield greenlet
            greenlet.kill()

        def test_greenlet():
            kept.append(gevent.spawn(event.wait))
            gevent.sleep(0)

        def test_descriptor():
            kept.append(open(os.devnull))

        def test_clean(server):
            gevent.joinall([gevent.spawn(gevent.sleep, 0.001)])

        @pytest.mark.gevent_leaks(False)
        def test_excepted():
            kept.append(gevent.spawn(event.wait))
            gevent.sleep(0)
    """
    line, out = run(tmp_path, source, "--gevent-leaks", "-p", "no:xdist")
    assert line.startswith("4 passed, 2 errors"), out
    assert "greenlet left behind: <Greenlet" in out
    assert "descriptor left open: " in out
    assert os.devnull in out


FIXTURES = """
    import gevent, pytest
    from gevent.event import Event

    @pytest.fixture
    def hangs_before():
        Event().wait(60)
        yield

    @pytest.fixture
    def hangs_after():
        yield
        Event().wait(60)

    @pytest.mark.gevent_timeout(0.2)
    def test_setup(hangs_before):
        pass

    @pytest.mark.gevent_timeout(0.2)
    def test_teardown(hangs_after):
        pass

    def test_after():
        gevent.sleep(0.01)
"""


def test_timeout_of_fixtures(tmp_path):
    line, out = run(tmp_path, FIXTURES, "-p", "no:xdist")
    assert line.startswith("2 passed, 2 errors"), out
    assert "the setup of the test took longer than 0.2 s" in out
    assert "the teardown of the test took longer than 0.2 s" in out
    assert out.count("in Event.wait on <Event at 0x") >= 2


def test_timeout_in_patched_workers_of_xdist(tmp_path):
    pytest.importorskip("xdist", reason="pytest-xdist is not here")
    source = """
        import queue, threading, time, unittest
        import pytest

        @pytest.mark.gevent_timeout(0.3)
        def test_lock():
            lock = threading.Lock()
            lock.acquire()
            lock.acquire()

        @pytest.mark.gevent_timeout(0.3)
        class TestQueue(unittest.TestCase):
            def test_queue(self):
                queue.Queue().get()

        @pytest.mark.parametrize("number", range(4))
        def test_quick(number):
            time.sleep(0.01)
    """
    options = ("--gevent-patch", "--gevent-timeout", "30", "-n", "2")
    line, out = run(tmp_path, source, *options)
    assert line.startswith("2 failed, 4 passed"), out
    assert out.count("took longer than 0.3 s") >= 2


def test_leaks_in_patched_workers_of_xdist(tmp_path):
    pytest.importorskip("xdist", reason="pytest-xdist is not here")
    source = """
        import socket, threading
        import pytest

        kept, event = [], threading.Event()

        def test_thread():
            kept.append(threading.Thread(target=event.wait, daemon=True))
            kept[-1].start()

        def test_socket():
            kept.append(socket.socket())

        @pytest.mark.parametrize("number", range(4))
        def test_clean(number):
            with socket.socketpair()[0]:
                thread = threading.Thread(target=int)
                thread.start()
                thread.join()
    """
    line, out = run(tmp_path, source, "--gevent-patch", "--gevent-leaks", "-n", "2")
    assert line.startswith("6 passed, 2 errors"), out
    assert "greenlet left behind: <" in out
    assert "descriptor left open: " in out
    assert "socket:[" in out


def test_blocking_code_is_named(tmp_path):
    source = """
        import time, pytest

        @pytest.mark.gevent_timeout(0.5)
        def test_blocks():
            end = time.monotonic() + 4
            # Whatever the loop does when it is looked at, it does in one line.
            while time.monotonic() < end: pass
    """
    _, out = run(tmp_path, source, "-p", "no:xdist", "-s")
    assert "test_blocks blocks for more than 0.5 s" in out
    assert "while time.monotonic() < end" in out
