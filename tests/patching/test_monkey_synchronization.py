"""Locks and conditions of the standard library in a patched process, which switch only to wait."""

import textwrap

import pytest

PATCHED = "from gevent import monkey; monkey.patch_all()\n"

#: What `quiet()` wraps must not let the greenlet run that it spawns before.
QUIET = """
import gevent
def quiet(call, *args):
    ran = []
    other = gevent.spawn(ran.append, 1)
    call(*args)
    assert not ran, call
    other.join()
"""


@pytest.fixture
def patched(output_of):
    """Run a snippet, patched first, that must end well and silently; returns its lines."""
    return lambda code: output_of(PATCHED + textwrap.dedent(code)).splitlines()


@pytest.mark.parametrize("lock", ["threading.Lock()", "threading.RLock()", ""])
def test_a_condition_lets_nobody_run_but_in_wait(patched, lock):
    patched(
        QUIET
        + textwrap.dedent(
            f"""
            import threading
            condition = threading.Condition({lock})
            def waiter():
                with condition:
                    condition.wait()
            with condition:
                quiet(condition.notify)
                quiet(condition.notify_all)
                quiet(condition.wait, 0)
                quiet(condition.wait, -1)
                quiet(condition.wait_for, lambda: False, 0)
            waiters = [gevent.spawn(waiter) for _ in range(3)]
            gevent.sleep(0)
            with condition:
                quiet(condition.notify)
                quiet(condition.notify_all)
            gevent.joinall(waiters, raise_error=True)
            for wrong in (condition.notify, condition.wait):
                try:
                    quiet(wrong)
                except RuntimeError as error:
                    assert "un-acquired" in str(error)
                else:
                    raise AssertionError(wrong)
            """
        )
    )


def test_nothing_that_is_there_lets_others_run(patched):
    patched(
        QUIET
        + textwrap.dedent(
            """
            import concurrent.futures, queue, threading
            for kind in (threading.Semaphore, threading.BoundedSemaphore):
                semaphore = kind(1)
                quiet(semaphore.acquire)
                quiet(semaphore.acquire, False)
                quiet(semaphore.acquire, True, 0)
                quiet(semaphore.release)
            for lock in (threading.Lock(), threading.RLock()):
                quiet(lock.acquire)
                quiet(lock.acquire, False)
                quiet(lock.acquire, True, 0)
                quiet(lock.release)
            quiet(threading.Barrier(1).wait)
            quiet(threading.Event().set)
            quiet(queue.Queue().put, 1)
            with concurrent.futures.ThreadPoolExecutor(1) as executor:
                executor.submit(int).result()
                futures = []
                for _ in range(500):
                    quiet(lambda: futures.append(executor.submit(int)))
                assert [future.result() for future in futures] == [0] * 500
            """
        )
    )


def test_trying_in_a_loop_comes_to_an_end(patched):
    patched(
        """
        import gevent, threading
        def until(done):
            while not done():
                pass
        lock = threading.Lock()
        lock.acquire()
        gevent.spawn(lock.release)
        until(lambda: lock.acquire(False))
        gevent.spawn(lock.release)
        until(lambda: lock.acquire(True, 0))
        rlock = threading.RLock()
        holder = gevent.spawn(lambda: (rlock.acquire(), gevent.sleep(0), rlock.release()))
        gevent.sleep(0)
        until(lambda: rlock.acquire(False))
        semaphore = threading.Semaphore(0)
        gevent.spawn(semaphore.release)
        until(lambda: semaphore.acquire(timeout=0))
        """
    )


@pytest.mark.parametrize("lock", ["Lock", "RLock"])
@pytest.mark.parametrize("end", ["kill", "timeout"])
def test_a_notification_of_one_that_ends_is_passed_on(patched, lock, end):
    patched(
        f"""
        import gevent, threading
        condition = threading.Condition(threading.{lock}())
        woken = []
        def waiter(name):
            with condition:
                assert condition.wait(20)
                woken.append(name)
        gevent.get_hub().exception_stream = None
        first, second = gevent.spawn(waiter, 1), gevent.spawn(waiter, 2)
        gevent.sleep(0)
        with condition:
            # It comes first, to a waiter that is notified by then.
            if "{end}" == "kill":
                first.kill(block=False)
            else:
                first.kill(gevent.Timeout(1), block=False)
            condition.notify()
        second.join(20)
        assert woken == [2], woken
        assert not condition._waiters
        """
    )


@pytest.mark.parametrize("lock", ["Lock", "RLock"])
def test_a_condition_holds_its_lock_however_its_wait_ends(patched, lock):
    patched(
        f"""
        import gevent, threading
        condition = threading.Condition(threading.{lock}())
        held = []
        def waiter():
            with condition:
                try:
                    condition.wait(20)
                finally:
                    held.append(condition._is_owned())
        first = gevent.spawn(waiter)
        gevent.sleep(0)
        with condition:
            condition.notify()
            gevent.sleep(0)
            # It has been notified, and waits for the lock.
            for _ in range(3):
                first.kill(block=False)
                gevent.sleep(0)
            assert not held
        first.join(20)
        assert held == [True]
        with condition:
            pass
        """
    )


def test_rlock_is_the_engine_s_with_the_standard_library_s_arguments(patched):
    assert patched(
        """
        import gevent, threading, weakref
        lock = threading.RLock()
        assert isinstance(lock, threading._CRLock) and weakref.ref(lock)() is lock
        print(repr(lock).split(" at ")[0].replace(type(lock).__module__, "module"))
        assert lock.acquire() and lock.acquire(timeout=-1) and lock._recursion_count() == 2
        def other():
            assert not lock.acquire(False) and not lock.acquire(timeout=0.001)
            assert lock._recursion_count() == 0
            for wrong in ((False, 1), (True, -2), (True, float("nan"))):
                try:
                    lock.acquire(*wrong)
                except ValueError as error:
                    print(error)
            for wrong in (lock.release, lambda: lock.__exit__(None, None, None)):
                try:
                    wrong()
                except RuntimeError as error:
                    print(error)
        gevent.spawn(other).get()
        lock.release()
        lock.release()
        try:
            lock._release_save()
        except RuntimeError as error:
            print(error)
        """
    ) == [
        "<unlocked module.ThreadRLock object owner=0 count=0",
        "can't specify a timeout for a non-blocking call",
        "timeout value must be a non-negative number",
        "Invalid value NaN (not a number)",
        *["cannot release un-acquired lock"] * 3,
    ]


def test_rlock_can_be_taken_while_the_interpreter_is_finalized(patched):
    assert patched(
        """
        import threading
        lock = threading.RLock()
        class End:
            def __del__(self, lock=lock, print=print):
                with lock, lock:
                    print("taken")
        kept = End()
        """
    ) == ["taken"]
