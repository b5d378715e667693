"""gevent.threadpool.ThreadPoolExecutor: futures, giving up, preparing and naming its threads."""

import concurrent.futures
import threading
import time
from concurrent.futures.thread import BrokenThreadPool

import pytest
from threadpool_support import Gate

import gevent
import gevent.os
from gevent.threadpool import ThreadPoolExecutor


class Failure(Exception):
    pass


def fail():
    raise Failure


@pytest.fixture
def gate():
    gate = Gate()
    yield gate
    gate.open()


class TestExecutor:
    @pytest.fixture
    def executor(self):
        with ThreadPoolExecutor(2) as executor:
            yield executor

    def test_result(self, executor):
        future = executor.submit(int, "3")
        assert future.result() == 3
        assert (future.done(), future.running()) == (True, False)
        assert future.exception() is None
        assert (future.cancel(), future.cancelled()) == (False, False)

    def test_error(self, executor, printed):
        future = executor.submit(fail)
        assert isinstance(future.exception(), Failure)
        with pytest.raises(Failure):
            future.result()

    def test_timeout(self, executor, gate):
        future = executor.submit(gate.wait, "done")
        for wait in (future.result, future.exception):
            with pytest.raises(concurrent.futures.TimeoutError):
                wait(timeout=0.001)
        with gevent.Timeout(30):
            while not future.running():
                gevent.sleep(0.001)
        gate.open()
        assert future.result() == "done"

    def test_timeout_that_the_call_raises(self, executor, printed):
        def call():
            raise gevent.Timeout(1)

        with pytest.raises(gevent.Timeout):
            executor.submit(call).result()

    def test_map(self, executor, printed):
        assert list(executor.map(int, "123")) == [1, 2, 3]
        with pytest.raises(ValueError, match="invalid literal"):
            list(executor.map(int, "x"))

    def test_callbacks(self, executor, gate, caplog):
        called = []

        def bad(future):
            called.append(future)
            raise Failure

        future = executor.submit(gate.wait)
        future.add_done_callback(bad)
        gate.open()
        future.result()
        gevent.sleep(0)
        future.add_done_callback(bad)
        assert called == [future] * 2
        assert [record.exc_info[0] for record in caplog.records] == [Failure] * 2

    def test_waiting_with_gevent(self, executor, gate):
        future = executor.submit(gate.wait)
        assert gevent.wait([future], timeout=0.001) == []
        gate.open()
        assert gevent.wait([future]) == [future]

    def test_waiting_with_the_standard_library(self, executor, gate):
        future = executor.submit(gate.wait)
        with pytest.raises(AttributeError):
            concurrent.futures.wait([future])
        gate.open()
        future.result()
        assert concurrent.futures.wait([future]).done == {future}
        assert list(concurrent.futures.as_completed([future])) == [future]

    def test_waiting_with_the_patched_standard_library(self, run_python):
        done = run_python("""
            from gevent import monkey; monkey.patch_all()
            import gevent, concurrent.futures
            from gevent.threadpool import ThreadPoolExecutor
            gates = [monkey.get_original("_thread", "allocate_lock")() for _ in range(2)]
            for gate in gates:
                gate.acquire()
            with ThreadPoolExecutor(2) as executor:
                futures = [executor.submit(gate.acquire) for gate in gates]
                assert not concurrent.futures.wait(futures, timeout=0.001).done
                completed = concurrent.futures.as_completed(futures)
                for number in (1, 0):
                    gates[number].release()
                    assert next(completed) is futures[number]
                assert concurrent.futures.wait(futures).done == set(futures)
        """)
        assert (done.returncode, done.stderr) == (0, "")

    def test_shutdown(self, gate):
        executor = ThreadPoolExecutor(1)
        future = executor.submit(gate.wait, "done")
        executor.shutdown(wait=False)
        with pytest.raises(RuntimeError, match="after shutdown"):
            executor.submit(int)
        gate.open()
        assert future.result() == "done"
        executor.kill()
        assert executor._threadpool.size == 0

    def test_readiness_is_told_before_and_while_it_runs(self, gate):
        with ThreadPoolExecutor(1) as executor:
            entered = threading.Event()
            running = executor.submit(lambda: (entered.set(), gate.wait()))
            queued = executor.submit(int)
            assert entered.wait(30)
            assert (running.running(), queued.running()) == (True, False)
            assert (running.cancel(), running.cancelled()) == (False, False)
            gate.open()
            assert queued.result() == 0


class TestGivingUp:
    """Tasks of an executor that never run."""

    @pytest.fixture
    def executor(self, gate):
        executor = ThreadPoolExecutor(1)
        entered = threading.Event()
        executor.running = executor.submit(lambda: (entered.set(), gate.wait("done")))
        assert entered.wait(30)
        yield executor
        gate.open()
        executor.shutdown()

    def test_cancel(self, executor, gate, capfd):
        ran, told, linked = [], [], []
        future = executor.submit(ran.append, None)
        future.add_done_callback(lambda future: told.append(future.cancelled()))
        future.rawlink(linked.append)
        waiters = [gevent.spawn(wait) for wait in (future.result, future.exception)]
        gevent.sleep(0)
        assert [future.cancel(), future.cancel()] == [True, True]
        assert (future.cancelled(), future.done(), future.running()) == (True, True, False)
        assert future.set_running_or_notify_cancel() is False
        gevent.joinall(waiters, timeout=30)
        for waiter in waiters:
            assert isinstance(waiter.exception, concurrent.futures.CancelledError)
        assert gevent.wait([future], timeout=30) == [future]
        assert (told, linked) == ([True], [future])
        assert not executor.running.done()
        assert concurrent.futures.wait([future], timeout=30).done == {future}
        assert list(concurrent.futures.as_completed([future], timeout=30)) == [future]
        capfd.readouterr()
        gate.open()
        executor.shutdown()
        assert ran == []
        # What the worker did with it has not changed it, and is no error to print.
        with pytest.raises(concurrent.futures.CancelledError):
            future.get()
        assert "CancelledError" not in capfd.readouterr().err

    def test_cancel_from_another_thread(self, executor):
        future = executor.submit(int)
        waiter = gevent.spawn(future.result)
        gevent.sleep(0)
        gevent.get_hub().threadpool.spawn(future.cancel).get()
        waiter.join(30)
        assert isinstance(waiter.exception, concurrent.futures.CancelledError)

    def test_shutdown_cancels_what_is_queued(self, executor, gate):
        ran = []
        future = executor.submit(ran.append, None)
        blocked = gevent.spawn(executor.submit, ran.append, None)
        gevent.sleep(0)
        executor.shutdown(wait=False, cancel_futures=True)
        assert (future.cancelled(), executor.running.cancelled()) == (True, False)
        gate.open()
        executor.shutdown()
        assert blocked.get(timeout=30).cancelled()
        assert executor.running.result()[1] == "done"
        assert ran == []
        with gevent.Timeout(30):
            while executor._threadpool.size:
                gevent.sleep(0.001)

    def test_shutdown_that_waits(self, gate):
        executor = ThreadPoolExecutor(1)
        entered = threading.Event()
        running = executor.submit(lambda: (entered.set(), gate.wait()))
        queued = executor.submit(int)
        assert entered.wait(30)
        gevent.spawn(gate.open)
        executor.shutdown(wait=True, cancel_futures=True)
        assert (running.done(), running.cancelled(), queued.cancelled()) == (True, False, True)

    def test_map_cancels_what_it_does_not_wait_for(self, executor, gate):
        ran = []
        with pytest.raises(concurrent.futures.TimeoutError):
            list(executor.map(ran.append, [1], timeout=0.001))
        gate.open()
        executor.shutdown()
        assert ran == []

    def test_patched(self, run_python):
        done = run_python("""
            from gevent import monkey; monkey.patch_all()
            import gevent, concurrent.futures, threading
            from gevent.threadpool import ThreadPoolExecutor
            gate = monkey.get_original("_thread", "allocate_lock")()
            gate.acquire()
            with ThreadPoolExecutor(1) as executor:
                slow = executor.submit(gate.acquire)
                while not slow.running():
                    gevent.sleep(0.001)
                queued = executor.submit(int)
                gevent.spawn(queued.cancel)
                first = concurrent.futures.FIRST_COMPLETED
                done, others = concurrent.futures.wait([slow, queued], 30, first)
                assert (done, others) == ({queued}, {slow}), (done, others)
                completed = concurrent.futures.as_completed([slow, queued])
                assert next(completed) is queued
                gate.release()
                assert next(completed) is slow
        """)
        assert (done.returncode, done.stderr) == (0, "")


def thread_name():
    return threading.current_thread().name


class TestPreparingThreads:
    def test_initializer(self):
        seen = []
        local = threading.local()

        def initialize(*args):
            local.ready = args
            seen.append(args)

        meeting = threading.Barrier(2)

        def work():
            meeting.wait(30)
            return local.ready

        with ThreadPoolExecutor(2, initializer=initialize, initargs=(1, 2)) as executor:
            futures = [executor.submit(work) for _ in range(4)]
            assert [future.result(30) for future in futures] == [(1, 2)] * 4
        assert seen == [(1, 2)] * 2

    def test_initializer_that_fails(self, gate, caplog, capfd):
        def initialize():
            gate.wait()
            raise Failure

        executor = ThreadPoolExecutor(1, "", initialize)
        ran = []
        futures = [executor.submit(ran.append, None) for _ in range(2)]
        gate.open()
        for future in futures:
            with pytest.raises(BrokenThreadPool, match="initializer failed"):
                future.result(30)
            assert (future.done(), future.cancelled()) == (True, False)
        with pytest.raises(BrokenThreadPool, match="initializer failed"):
            executor.submit(int)
        executor.shutdown()
        assert ran == []
        assert [record.exc_info[0] for record in caplog.records] == [Failure]
        assert "BrokenThreadPool" not in capfd.readouterr().err

    def test_initializer_must_be_callable(self):
        with pytest.raises(TypeError, match="initializer must be a callable"):
            ThreadPoolExecutor(1, initializer=1)
        for number in (0, -1):
            with pytest.raises(ValueError, match="max_workers must be greater than 0"):
                ThreadPoolExecutor(number)

    def test_names(self):
        before = set(threading.enumerate())
        with ThreadPoolExecutor(1, thread_name_prefix="worker") as executor:
            assert [executor.submit(thread_name).result() for _ in range(2)] == ["worker_0"] * 2
        # A thread is counted off just before it has ended.
        until = time.monotonic() + 30
        while not set(threading.enumerate()) <= before:
            assert time.monotonic() < until
            time.sleep(0.001)

    def test_names_patched(self, run_python):
        done = run_python("""
            from gevent import monkey; monkey.patch_all()
            import threading, time
            from gevent.threadpool import ThreadPoolExecutor
            name = lambda: threading.current_thread().name
            with ThreadPoolExecutor(1, "worker") as executor:
                assert executor.submit(name).result() == "worker_0"
            until = time.monotonic() + 30
            while [thread.name for thread in threading.enumerate()] != ["MainThread"]:
                assert time.monotonic() < until
                time.sleep(0.001)
        """)
        assert (done.returncode, done.stderr) == (0, "")
