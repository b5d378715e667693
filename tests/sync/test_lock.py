"""gevent.lock between the greenlets of one thread; test_lock_shared.py goes further."""

import gc
import weakref

import pytest

import gevent
from gevent.exceptions import BlockingSwitchOutError, LoopExit
from gevent.hub import get_hub
from gevent.lock import BoundedSemaphore, DummySemaphore, RLock, Semaphore

SEMAPHORES = [Semaphore, BoundedSemaphore]
each_semaphore = pytest.mark.parametrize("kind", SEMAPHORES)


def take(semaphore, order, name):
    semaphore.acquire()
    order.append(name)


@each_semaphore
class TestBoth:
    def test_default_is_one(self, kind):
        semaphore = kind()
        assert semaphore.counter == 1
        assert (semaphore.locked(), semaphore.ready()) == (False, True)
        assert semaphore.acquire() is True
        assert (semaphore.locked(), semaphore.ready()) == (True, False)
        assert semaphore.release() == 1

    @pytest.mark.parametrize(("value", "counter"), [(0, 0), (3, 3), (True, 1), (2.9, 2)])
    def test_value(self, kind, value, counter):
        assert kind(value).counter == kind(value=value).counter == counter

    @pytest.mark.parametrize("value", ["1", None, object()])
    def test_value_that_is_no_number(self, kind, value):
        with pytest.raises(TypeError, match="an integer is required"):
            kind(value)

    def test_value_out_of_range(self, kind):
        with pytest.raises(ValueError, match="semaphore initial value must be >= 0"):
            kind(-1)
        with pytest.raises(OverflowError):
            kind(2**70)

    def test_hub(self, kind):
        assert kind().hub is None
        assert kind(1, get_hub()).hub is get_hub()
        with pytest.raises(TypeError):
            kind(hub=5)
        semaphore = kind(0)
        semaphore.acquire(timeout=0)
        assert semaphore.hub is get_hub()

    def test_str(self, kind):
        semaphore = kind(2)
        where = f"{id(semaphore):#x}"
        assert str(semaphore) == f"<{kind.__name__} at {where} counter=2 _links[0]>"

    def test_subclass(self, kind):
        class Named(kind):
            def __init__(self, name):
                super().__init__(2)
                self.name = name

        semaphore = Named("door")
        assert (semaphore.name, semaphore.counter) == ("door", 2)

    def test_subclass_methods_serve_with(self, kind):
        calls = []

        class Noted(kind):
            def acquire(self, *args):
                calls.append("acquire")
                return super().acquire(*args)

            def release(self):
                calls.append("release")
                return super().release()

        with Noted():
            assert calls == ["acquire"]
        assert calls == ["acquire", "release"]

    def test_weakref_and_attributes(self, kind):
        semaphore = kind()
        reference = weakref.ref(semaphore)
        with pytest.raises(AttributeError):
            semaphore.name = "door"
        del semaphore
        assert reference() is None

    def test_with(self, kind):
        semaphore = kind()
        with semaphore as got:
            assert got is None
            assert semaphore.counter == 0
        assert semaphore.counter == 1
        with pytest.raises(KeyError), semaphore:
            raise KeyError
        assert semaphore.counter == 1

    @pytest.mark.parametrize("blocking", [False, None, 0, ""])
    def test_without_blocking(self, kind, blocking):
        semaphore = kind(1)
        assert semaphore.acquire(blocking) is True
        assert semaphore.acquire(blocking=blocking) is False
        assert semaphore.acquire(blocking, 5) is False

    @pytest.mark.parametrize("timeout", [0, -1, 0.001])
    def test_time_is_up(self, kind, timeout):
        semaphore = kind(0)
        assert semaphore.acquire(timeout=timeout) is False
        assert semaphore.acquire(True, timeout) is False
        assert semaphore.wait(timeout) == 0
        assert semaphore.linkcount() == 0

    def test_limit_of_nothing_lets_others_run(self, kind):
        semaphore = kind(1)
        semaphore.acquire()
        gevent.spawn(semaphore.release)
        tries = 0
        while not semaphore.acquire(timeout=0):
            tries += 1
            assert tries < 1000

    def test_timeout_object(self, kind):
        semaphore = kind(0)
        timeout = gevent.Timeout(0.001)
        assert semaphore.acquire(timeout=timeout) is False
        assert not timeout.pending
        assert semaphore.wait(gevent.Timeout(0.001)) == 0
        with pytest.raises(KeyError):
            semaphore.acquire(timeout=gevent.Timeout(0.001, KeyError))
        with pytest.raises(gevent.Timeout), gevent.Timeout(0.001):
            semaphore.acquire()
        assert semaphore.linkcount() == 0

    def test_wrong_arguments(self, kind):
        semaphore = kind(0)
        with pytest.raises(TypeError, match="must be real number, not str"):
            semaphore.acquire(timeout="1")
        with pytest.raises(TypeError):
            semaphore.acquire(True, 1, 2)
        with pytest.raises(TypeError):
            semaphore.acquire(wait=1)
        with pytest.raises(TypeError):
            semaphore.__exit__()
        assert semaphore.linkcount() == 0

    def test_forever(self, kind):
        with pytest.raises(LoopExit):
            kind(0).acquire()

    def test_in_the_hub(self, kind):
        semaphore, results = kind(0), []

        def block():
            results.append(semaphore.acquire(False))
            for blocking in (
                semaphore.acquire,
                semaphore.wait,
                lambda: semaphore.acquire(timeout=0),
            ):
                with pytest.raises(BlockingSwitchOutError):
                    blocking()
            results.append(semaphore.linkcount())

        get_hub().loop.run_callback(block)
        gevent.sleep(0)
        assert results == [False, 0]

    def test_counter_can_be_set(self, kind):
        semaphore = kind(0)
        waiters = [gevent.spawn(semaphore.acquire) for _ in range(2)]
        gevent.sleep(0)
        semaphore.counter = 2
        gevent.joinall(waiters, raise_error=True)
        assert semaphore.counter == 0
        with pytest.raises(TypeError):
            semaphore.counter = "1"

    def test_collected_with_a_link_to_itself(self, kind):
        semaphore = kind(0)
        semaphore.rawlink(lambda _, keep=semaphore: None)
        reference = weakref.ref(semaphore)
        del semaphore
        gc.collect()
        assert reference() is None


class TestOrder:
    def test_in_the_order_of_arrival(self):
        semaphore, order = Semaphore(0), []
        waiters = [gevent.spawn(take, semaphore, order, name) for name in "abcd"]
        gevent.sleep(0)
        for _ in waiters:
            semaphore.release()
        assert (semaphore.counter, semaphore.linkcount(), order) == (4, 4, [])
        gevent.joinall(waiters)
        assert (semaphore.counter, semaphore.linkcount(), order) == (0, 0, list("abcd"))

    def test_one_permit_for_one(self):
        semaphore, order = Semaphore(0), []
        waiters = [gevent.spawn(take, semaphore, order, name) for name in "abc"]
        gevent.sleep(0)
        semaphore.release()
        gevent.sleep(0.001)
        assert order == ["a"]
        semaphore.release()
        semaphore.release()
        gevent.joinall(waiters)

    def test_who_runs_may_take_it_first(self):
        semaphore, order = Semaphore(0), []
        waiters = [gevent.spawn(take, semaphore, order, name) for name in "abc"]
        gevent.sleep(0)
        semaphore.release()
        semaphore.release()
        assert semaphore.acquire(False)
        assert semaphore.acquire(timeout=0.001)
        gevent.sleep(0.001)
        assert (order, semaphore.linkcount()) == ([], 3)
        for _ in waiters:
            semaphore.release()
        gevent.joinall(waiters)
        assert order == list("abc")

    def test_robbed_waiter_keeps_its_limit(self):
        semaphore = Semaphore(0)
        waiter = gevent.spawn(semaphore.acquire, timeout=0.05)
        gevent.sleep(0)
        for _ in range(3):
            semaphore.release()
            assert semaphore.acquire(False)
            gevent.sleep(0.001)
        assert waiter.get(timeout=10) is False

    def test_killed_after_release(self):
        semaphore, order = Semaphore(0), []
        killed, other = (gevent.spawn(take, semaphore, order, name) for name in "ab")
        gevent.sleep(0)
        killed.kill(block=False)
        semaphore.release()
        other.join()
        assert order == ["b"]
        assert isinstance(killed.value, gevent.GreenletExit)
        assert (semaphore.counter, semaphore.linkcount()) == (0, 0)

    def test_wait_takes_nothing(self):
        semaphore, order = Semaphore(0), []
        first, second = gevent.spawn(semaphore.wait), gevent.spawn(semaphore.wait)
        third = gevent.spawn(take, semaphore, order, "taker")
        gevent.sleep(0)
        semaphore.release()
        gevent.joinall([first, second, third])
        assert (first.value, second.value, order) == (1, 1, ["taker"])
        assert semaphore.wait(0) == 0

    def test_wait_behind_a_taker(self):
        semaphore, order = Semaphore(0), []
        gevent.spawn(take, semaphore, order, "taker")
        waiter = gevent.spawn(semaphore.wait)
        gevent.sleep(0)
        semaphore.release()
        gevent.sleep(0.001)
        assert (order, waiter.ready(), semaphore.linkcount()) == (["taker"], False, 1)
        semaphore.release()
        assert waiter.get() == 1


class TestLinks:
    def test_called_in_the_hub_once(self):
        semaphore, calls = Semaphore(0), []
        semaphore.rawlink(
            lambda source: calls.append((source, source.counter, gevent.getcurrent()))
        )
        semaphore.release()
        assert calls == []
        gevent.sleep(0)
        assert calls == [(semaphore, 1, get_hub())]
        semaphore.release()
        gevent.sleep(0)
        assert (len(calls), semaphore.linkcount()) == (1, 0)

    def test_when_there_is_a_permit(self):
        semaphore, calls = Semaphore(), []
        semaphore.rawlink(calls.append)
        gevent.sleep(0)
        assert calls == [semaphore]
        assert gevent.wait([Semaphore()], timeout=10)

    def test_not_when_the_permit_is_gone(self):
        semaphore, calls = Semaphore(), []
        semaphore.rawlink(calls.append)
        semaphore.acquire()
        gevent.sleep(0)
        assert (calls, semaphore.linkcount()) == ([], 1)
        semaphore.release()
        gevent.sleep(0)
        assert calls == [semaphore]

    def test_in_turn_with_waiters(self):
        semaphore, order = Semaphore(0), []
        gevent.spawn(take, semaphore, order, "first")
        gevent.sleep(0)
        semaphore.rawlink(lambda _: order.append("second"))
        gevent.spawn(take, semaphore, order, "third")
        gevent.sleep(0)
        semaphore.release()
        gevent.sleep(0.001)
        assert order == ["first"]
        semaphore.release()
        gevent.sleep(0.001)
        assert order == ["first", "second", "third"]

    def test_linking_itself_again(self):
        semaphore, calls = Semaphore(), []

        def again(source):
            calls.append(source)
            if len(calls) < 5:
                source.rawlink(again)

        semaphore.rawlink(again)
        while len(calls) < 5:
            gevent.sleep(0)
        assert semaphore.linkcount() == 0

    def test_error_is_reported_and_others_go_on(self, monkeypatch):
        errors, order = [], []
        monkeypatch.setattr(
            get_hub(), "handle_error", lambda *args: errors.append(args), raising=False
        )
        semaphore = Semaphore(0)

        def fail(source):
            raise ValueError("in a link")

        semaphore.rawlink(fail)
        gevent.spawn(take, semaphore, order, "taker")
        gevent.sleep(0)
        semaphore.release()
        gevent.sleep(0.001)
        assert order == ["taker"]
        [(context, kind, _, _)] = errors
        assert (context, kind) == ((fail, semaphore), ValueError)

    def test_unlink(self):
        semaphore, calls = Semaphore(), []
        semaphore.rawlink(calls.append)
        semaphore.unlink(calls.append)
        semaphore.unlink(calls.append)
        semaphore.unlink(None)
        gevent.sleep(0)
        assert calls == []
        with pytest.raises(TypeError, match="Expected callable: None"):
            semaphore.rawlink(None)


class TestBounded:
    def test_release_too_many(self):
        semaphore = BoundedSemaphore(2)
        with pytest.raises(ValueError, match="Semaphore released too many times"):
            semaphore.release()
        assert semaphore.counter == 2
        with pytest.raises(ValueError, match="released too many times"):
            semaphore.__exit__(None, None, None)

    def test_error_of_a_subclass(self):
        class Strict(BoundedSemaphore):
            _OVER_RELEASE_ERROR = RuntimeError

        with pytest.raises(RuntimeError, match="released too many times"):
            Strict().release()

    def test_unbounded(self):
        semaphore = Semaphore(1)
        assert [semaphore.release() for _ in range(3)] == [2, 3, 4]


class TestDummy:
    def test_never_waits(self):
        dummy = DummySemaphore(5)
        assert dummy.acquire() is True
        assert dummy.acquire(False, timeout="x") is True
        assert dummy.release() is None
        assert (dummy.wait(), dummy.wait(5)) == (1, 1)
        assert (dummy.locked(), dummy.ready()) == (False, True)
        assert dummy.rawlink(None) is None
        assert dummy.unlink(None) is None
        with dummy as got:
            assert got is None
        dummy.name = "any"

    def test_arguments(self):
        with pytest.raises(TypeError):
            DummySemaphore(1, None)


class TestRLock:
    def test_again_and_again(self):
        lock = RLock()
        assert not lock.locked()
        assert lock.acquire()
        assert lock.acquire(False)
        with lock as got:
            assert got
            assert lock._count == 3
        lock.release()
        assert lock.locked()
        lock.release()
        assert not lock.locked()
        assert (lock._count, lock._owner) == (0, None)

    def test_owner(self):
        lock = RLock()
        assert not lock._is_owned()
        with lock:
            assert lock._is_owned()
            assert lock._owner is gevent.getcurrent()
            other = gevent.spawn(
                lambda: (lock._is_owned(), lock.acquire(False), lock.acquire(timeout=0))
            )
            assert other.get() == (False, False, False)

    def test_release_by_another(self):
        lock = RLock()
        with pytest.raises(RuntimeError, match=r"^cannot release un-acquired lock\. Owner: None "):
            lock.release()
        with lock:
            other = gevent.spawn(pytest.raises, RuntimeError, lock.release)
            assert "cannot release un-acquired lock. Owner: <greenlet" in str(other.get().value)
            assert lock.locked()
        with pytest.raises(RuntimeError):
            lock.__exit__(None, None, None)

    def test_in_the_order_of_arrival(self):
        lock, order = RLock(), []

        def work(name):
            with lock:
                order.append(name)

        with lock:
            greenlets = [gevent.spawn(work, name) for name in "abc"]
            gevent.sleep(0)
        gevent.joinall(greenlets)
        assert order == list("abc")

    def test_killed_while_waiting(self):
        lock = RLock()
        with lock:
            waiter = gevent.spawn(lock.acquire)
            gevent.sleep(0)
            waiter.kill()
        assert not lock.locked()

    def test_owner_lives_no_longer_than_it_holds(self):
        lock = RLock()

        def work():
            with lock:
                pass

        greenlet = gevent.spawn(work)
        greenlet.join()
        reference = weakref.ref(greenlet)
        del greenlet
        gc.collect()
        assert reference() is None

    def test_for_a_condition(self):
        lock = RLock()
        lock.acquire()
        lock.acquire()
        saved = lock._release_save()
        assert not lock.locked()
        assert gevent.spawn(lock.acquire).get()
        lock._at_fork_reinit()
        lock._acquire_restore(saved)
        assert (lock._count, lock._is_owned()) == (2, True)

    def test_repr_and_arguments(self):
        lock = RLock(hub=None)
        assert repr(lock).startswith(f"<RLock at {id(lock):#x} _block=<Semaphore at ")
        assert repr(lock).endswith("counter=1 _links[0]> _count=0 _owner=None>")
        assert isinstance(lock._block, Semaphore)
        with pytest.raises(TypeError):
            RLock(5)
        with pytest.raises(TypeError):
            lock.acquire(1, 2, 3)
