"""gevent.threadpool: native threads that do a hub's blocking work."""

import concurrent.futures
import gc
import os
import signal
import sys
import threading
import time
import traceback
import weakref
from concurrent.futures.thread import BrokenThreadPool

import pytest

import gevent
import gevent.os
from gevent.event import AsyncResult
from gevent.exceptions import InvalidThreadUseError
from gevent.threadpool import ThreadPool, ThreadPoolExecutor, ThreadResult


class Failure(Exception):
    pass


def fail():
    raise Failure


@pytest.fixture
def make_pool():
    """Make pools that are killed after the test."""
    pools = []

    def make(*args, kind=ThreadPool, **kwargs):
        pools.append(kind(*args, **kwargs))
        return pools[-1]

    yield make
    for pool in pools:
        if not pool.maxsize:
            pool.maxsize = 1
        pool.kill()


class Gate:
    """Holds native threads until it is opened."""

    def __init__(self):
        self._event = threading.Event()
        self.open = self._event.set
        self.reached = False

    def wait(self, result=None):
        self.reached = True
        assert self._event.wait(10)
        return result


@pytest.fixture
def gate():
    gate = Gate()
    yield gate
    gate.open()


class TestCalls:
    def test_apply(self, make_pool, printed):
        pool = make_pool(1)
        assert pool.apply(dict, ([("a", 1)],), {"b": 2}) == {"a": 1, "b": 2}
        with pytest.raises(Failure):
            pool.apply(fail)

    def test_in_another_thread(self, make_pool):
        assert make_pool(1).apply(threading.get_ident) != threading.get_ident()

    def test_hub_goes_on_meanwhile(self, make_pool, gate):
        result = make_pool(1).spawn(gate.wait, "done")
        assert isinstance(result, AsyncResult)
        with pytest.raises(gevent.Timeout):
            result.get(timeout=0.001)
        gevent.spawn(gate.open)
        assert result.get() == "done"

    def test_waiting_keeps_the_loop_running(self, make_pool):
        result = make_pool(1).spawn(time.sleep, 0.01)
        assert gevent.wait() is True
        assert result.ready()

    def test_length_is_unfinished_tasks(self, make_pool, gate):
        pool = make_pool(2)
        assert not pool
        results = [pool.spawn(gate.wait) for _ in range(3)]
        assert (len(pool), bool(pool)) == (3, True)
        gate.open()
        gevent.joinall(results)
        assert len(pool) == 0

    def test_spawn_waits_for_room(self, make_pool, gate):
        pool = make_pool(1)
        for _ in range(2):
            pool.spawn(gate.wait)
        third = gevent.spawn(pool.spawn, gate.wait, 3)
        gevent.sleep(0.001)
        assert not third.dead
        assert len(pool) == 2
        gate.open()
        assert third.get().get() == 3

    def test_order(self, make_pool):
        pool, order = make_pool(1), []
        gevent.joinall([pool.spawn(order.append, number) for number in range(20)])
        assert order == list(range(20))

    def test_map_and_imap(self, make_pool, printed):
        pool = make_pool(3)
        assert pool.map(int, "123") == [1, 2, 3]
        assert list(pool.imap(int, "123")) == [1, 2, 3]
        assert sorted(pool.imap_unordered(int, "123")) == [1, 2, 3]
        with pytest.raises(ValueError, match="invalid literal"):
            list(pool.imap(int, "x"))
        with pytest.raises(ValueError, match="invalid literal"):
            pool.map(int, "1x")

    def test_callbacks(self, make_pool):
        pool, results = make_pool(1), []
        assert pool.apply_cb(int, ("1",), callback=results.append) == 1
        assert pool.apply_async(int, ("2",), callback=results.append).get() == 2
        assert pool.map_async(int, "34", callback=results.append).get() == [3, 4]
        assert results == [1, 2, [3, 4]]

    def test_apply_in_a_task_is_a_call(self, make_pool):
        pool = make_pool(1)
        assert pool.apply(lambda: pool.apply(threading.get_ident) == threading.get_ident())

    def test_only_in_the_thread_of_its_hub(self, make_pool, printed):
        pool = make_pool(1)
        with pytest.raises(InvalidThreadUseError):
            make_pool(1).spawn(pool.spawn, int).get()

    def test_gevent_in_a_task(self, make_pool):
        pool = make_pool(1)

        def task():
            gevent.sleep(0.001)
            return gevent.get_hub()

        hub = pool.apply(task)
        assert hub is not gevent.get_hub()
        assert pool.apply(task) is hub
        assert hub.name == "ThreadPool Worker Hub"
        pool.kill()
        assert hub.loop is None

    def test_errors_are_reported(self, make_pool, monkeypatch):
        reports = []
        monkeypatch.setattr(
            gevent.get_hub(), "handle_error", lambda *report: reports.append(report)
        )
        result = make_pool(1).spawn(fail)
        with pytest.raises(Failure):
            result.get()
        [(context, kind, value, traceback)] = reports
        assert "ThreadPoolWorker" in repr(context[0])
        assert context[1] is fail
        assert (kind, value) == (Failure, result.exception)
        assert result.exc_info[2] is traceback

    def test_system_exit_reaches_the_main_greenlet(self, make_pool):
        result = make_pool(1).spawn(sys.exit, 3)
        with pytest.raises(SystemExit):
            gevent.sleep(10)
        assert isinstance(result.exception, SystemExit)

    def test_lets_go_of_everything(self, make_pool):
        class Thing:
            pass

        pool, thing, references = make_pool(1), Thing(), []

        def task(argument, keyword):
            result = Thing()
            references.extend(weakref.ref(thing) for thing in (argument, keyword, result))
            return result

        pool.apply(task, (thing,), {"keyword": Thing()})
        del thing
        pool.join()
        gc.collect()
        assert [reference() for reference in references] == [None] * 3

    def test_many_from_many_greenlets(self, make_pool):
        pool = make_pool(4)
        numbers = range(300)
        greenlets = [gevent.spawn(pool.apply, str, (number,)) for number in numbers]
        assert [greenlet.get() for greenlet in greenlets] == [str(number) for number in numbers]

    def test_killed_while_waiting_for_room(self, make_pool, gate):
        pool = make_pool(1)
        for _ in range(2):
            pool.spawn(gate.wait)
        doomed, other = (gevent.spawn(pool.spawn, int) for _ in range(2))
        gevent.sleep(0.001)
        doomed.kill()
        gate.open()
        assert other.get().get() == 0
        pool.join()
        assert len(pool) == 0


class TestSize:
    @pytest.mark.parametrize("maxsize", ["1", 1.5, None])
    def test_no_integer(self, maxsize):
        with pytest.raises(TypeError, match="maxsize must be integer"):
            ThreadPool(maxsize)

    def test_negative(self, make_pool):
        with pytest.raises(ValueError, match="maxsize must not be negative"):
            ThreadPool(-1)
        pool = make_pool(2)
        with pytest.raises(ValueError, match="negative"):
            pool.size = -1
        with pytest.raises(ValueError, match="bigger than maxsize"):
            pool.size = 3

    def test_threads_on_demand(self, make_pool, gate):
        pool = make_pool(3)
        assert pool.size == 0
        pool.apply(int)
        assert pool.size == 1
        for expected in (1, 2, 3, 3):
            pool.spawn(gate.wait)
            assert pool.size == expected

    def test_set(self, make_pool):
        pool = make_pool(3)
        for size in (2, 1, 3, 0, 1):
            pool.size = size
            assert pool.size == size
        assert pool.apply(int) == 0

    def test_more(self, make_pool):
        pool, done = make_pool(0), []
        greenlets = [gevent.spawn(pool.spawn, done.append, number) for number in range(2)]
        gevent.sleep(0.001)
        assert done == []
        pool.maxsize = 1
        gevent.joinall([greenlet.get() for greenlet in greenlets])
        assert done == [0, 1]

    def test_fewer(self, make_pool):
        pool = make_pool(3)
        pool.size = 3
        pool.maxsize = 1
        while pool.size > 1:
            gevent.sleep(0.001)
        assert pool.apply(int) == 0
        assert pool.size == 1

    def test_idle_threads_end(self, make_pool):
        pool = make_pool(2, idle_task_timeout=0.01)
        pool.apply(int)
        while pool.size:
            gevent.sleep(0.005)
        assert pool.apply(int) == 0

    def test_join(self, make_pool, gate):
        pool = make_pool(1)
        pool.join()
        result = pool.spawn(gate.wait)
        gevent.spawn_later(0.001, gate.open)
        pool.join()
        assert result.ready()
        assert pool.size == 1

    def test_kill_lets_tasks_end(self, make_pool, gate):
        pool = make_pool(1)
        results = [pool.spawn(gate.wait, number) for number in range(2)]
        gevent.spawn_later(0.001, gate.open)
        pool.kill()
        assert [result.get(block=False) for result in results] == [0, 1]
        assert (pool.size, len(pool)) == (0, 0)
        assert pool.apply(int) == 0

    def test_kill_while_others_add(self, make_pool):
        pool = make_pool(2)
        mapping = pool.map_async(time.sleep, [0.002] * 10)
        gevent.sleep(0.003)
        pool.kill()
        mapping.get()
        pool.kill()
        assert pool.size == 0

    def test_repr(self, make_pool):
        pool = make_pool(2)
        assert repr(pool).startswith(
            f"<ThreadPool at {hex(id(pool))} tasks=0 size=0 maxsize=2 hub=<Hub at "
        )

    def test_pool_of_the_hub(self):
        hub = gevent.get_hub()
        assert hub.threadpool is hub.threadpool
        assert hub.threadpool.hub is hub
        assert hub.threadpool.maxsize == hub.threadpool_size
        assert hub.threadpool._idle_task_timeout == gevent.config.threadpool_idle_task_timeout


class FailingWorkers(ThreadPool):
    fail = True

    class _WorkerGreenlet(ThreadPool._WorkerGreenlet):
        def __init__(self, threadpool):
            super().__init__(threadpool)
            self._pool = threadpool
            self._stderr = None

        def _before_run_task(self, *args):
            if self._pool.fail:
                raise Failure
            super()._before_run_task(*args)

    def __new__(cls, *_args):
        return super().__new__(cls)


class TestWorkers:
    def test_failure_is_the_caller_s_and_costs_no_room(self, make_pool, printed):
        pool = make_pool(2, kind=FailingWorkers)
        for _ in range(pool.maxsize + 2):
            with pytest.raises(Failure):
                pool.apply(int)
        pool.fail = False
        assert pool.apply(int) == 0

    def test_queued_tasks_survive_their_workers(self, make_pool, printed):
        pool = make_pool(1, kind=FailingWorkers)
        results = [pool.spawn(int) for _ in range(2)]
        for result in results:
            with pytest.raises(Failure):
                result.get()

    def test_thread_that_cannot_be_started(self, make_pool, monkeypatch):
        def refuse(*_args):
            raise RuntimeError("can't start new thread")

        pool = make_pool(1)
        with monkeypatch.context() as patch:
            patch.setattr(gevent.threadpool, "start_new_thread", refuse)
            with pytest.raises(RuntimeError, match="can't start"):
                pool.size = 1
        assert pool.size == 0
        assert pool.apply(int) == 0

    @pytest.mark.parametrize("kind", ["profile", "trace"])
    def test_hooks_are_there_during_tasks(self, make_pool, kind):
        def hook(*_args):
            return None

        previous = getattr(threading, f"get{kind}")()
        pool = make_pool(1)
        pool.apply(int)
        getattr(threading, f"set{kind}")(hook)
        try:
            assert pool.apply(getattr(sys, f"get{kind}")) is hook
        finally:
            getattr(threading, f"set{kind}")(previous)
        assert pool.apply(getattr(sys, f"get{kind}")) is previous

    def test_signals_interrupt_the_main_greenlet(self, make_pool, gate):
        """A signal for the process is handled although a worker is there to take it."""
        make_pool(1).spawn(gate.wait)
        caught = []
        watcher = gevent.signal_handler(signal.SIGUSR1, caught.append, 1)
        os.kill(os.getpid(), signal.SIGUSR1)
        gevent.sleep(0.01)
        watcher.cancel()
        assert caught == [1]

    def test_children_of_tasks_take_signals(self, make_pool):
        def blocked_in_child():
            # As a program that is started there would find it.
            return signal.pthread_sigmask(signal.SIG_BLOCK, ())

        assert make_pool(1).apply(blocked_in_child) == set()


class TestFork:
    def child(self, function):
        pid = gevent.os.fork_gevent()
        if pid:
            _, status = os.waitpid(pid, 0)
            return os.waitstatus_to_exitcode(status)
        code = 99
        try:
            with gevent.Timeout(5, ref=False):
                function()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)

    def test_child_has_threads_of_its_own(self, make_pool):
        pool = make_pool(2)
        pool.apply(int)

        def check():
            assert pool.apply(int, ("3",)) == 3
            assert pool.size == 1

        assert self.child(check) == 0
        assert pool.apply(int) == 0

    def test_queued_tasks_go_on_in_the_child(self, make_pool, gate):
        pool = make_pool(1)
        running, queued = pool.spawn(gate.wait), pool.spawn(int, "3")
        while not gate.reached:
            gevent.sleep(0.001)

        def check():
            assert queued.get() == 3
            assert not running.ready()
            # What ran in a thread of the parent is not waited for.
            assert gevent.get_hub().join()
            assert len(pool) == 0

        assert self.child(check) == 0

    def test_end_of_the_process(self, run_python):
        """Threads that wait or work do not keep it, or end it otherwise than well."""
        code = """
            import gevent.threadpool, time
            pool = gevent.get_hub().threadpool
            pool.apply(int)
            gevent.threadpool.ThreadPool(2, idle_task_timeout=0.01).apply(int)
            pool.spawn(time.sleep, 0.02)
            pool.spawn(time.sleep, 60)
        """
        done = run_python(code)
        assert (done.returncode, done.stderr) == (0, "")


class TestThreadResult:
    def test_value(self):
        received = []
        result = ThreadResult(
            lambda result: received.append((result.value, result.successful(), result.exception)),
            gevent.get_hub(),
            lambda: received.append(gevent.getcurrent()),
        )
        assert result.successful()
        threading.Thread(target=result.set, args=(42,)).start()
        gevent.wait()
        assert received == [gevent.get_hub(), (42, True, None)]
        assert (result.value, result.hub, result.exc_info) == (None, None, ())

    def test_error(self, printed):
        received = []
        result = ThreadResult(
            lambda result: received.append((result.successful(), result.exception)),
            gevent.get_hub(),
            int,
        )
        error = Failure()
        result.handle_error("context", (Failure, error, None))
        assert (result.context, result.exception) == ("context", error)
        gevent.wait()
        assert received == [(False, error)]

    def test_destroyed(self):
        result = ThreadResult(print, gevent.get_hub(), int)
        result.destroy_in_main_thread()
        assert gevent.wait(timeout=1) is True


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
            import gevent, concurrent.futures, time
            from gevent.threadpool import ThreadPoolExecutor
            sleep = monkey.get_original("time", "sleep")
            with ThreadPoolExecutor(2) as executor:
                futures = [executor.submit(sleep, seconds) for seconds in (0.05, 0.01)]
                assert not concurrent.futures.wait(futures, timeout=0.001).done
                order = list(concurrent.futures.as_completed(futures))
                assert order == futures[::-1], order
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
            sleep = monkey.get_original("time", "sleep")
            with ThreadPoolExecutor(1) as executor:
                slow = executor.submit(sleep, 0.3)
                while not slow.running():
                    gevent.sleep(0.001)
                queued = executor.submit(int)
                gevent.spawn(queued.cancel)
                first = concurrent.futures.FIRST_COMPLETED
                done, others = concurrent.futures.wait([slow, queued], 30, first)
                assert (done, others) == ({queued}, {slow}), (done, others)
                assert list(concurrent.futures.as_completed([slow, queued])) == [queued, slow]
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
