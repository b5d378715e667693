"""gevent.threadpool: native threads that do a hub's blocking work."""

import gc
import os
import signal
import sys
import threading
import time
import traceback
import weakref

import pytest
from conditions import until
from threadpool_support import Gate

import gevent
import gevent.os
from gevent.event import AsyncResult
from gevent.exceptions import InvalidThreadUseError
from gevent.threadpool import ThreadPool, ThreadResult


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
        until(lambda: caught)
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
        assert gevent.wait(timeout=20) is True
