"""gevent.thread: locks and threads over greenlets, without patching."""

import math
import sys
import threading as native
import weakref

import pytest

import gevent
from gevent import thread
from gevent.event import Event
from gevent.lock import BoundedSemaphore
from gevent.threading import LazyOnClass


def test_lock_excludes_greenlets():
    lock, order = thread.allocate_lock(), []

    def work(name):
        with lock:
            order.append(name)
            gevent.sleep(0.001)
            order.append(name)

    gevent.joinall([gevent.spawn(work, n) for n in range(5)], raise_error=True)
    assert order == sorted(order)
    assert not lock.locked()


def test_lock_arguments():
    lock = thread.LockType()
    assert lock.acquire() is True
    assert lock.locked()
    assert lock.acquire(False) is False
    assert lock.acquire(timeout=0.001) is False
    assert lock.acquire(True, 0) is False
    with pytest.raises(ValueError, match="can't specify a timeout for a non-blocking call"):
        lock.acquire(False, 1)
    with pytest.raises(ValueError, match="timeout value must be"):
        lock.acquire(True, -2)
    with pytest.raises(OverflowError, match="timeout value is too large"):
        lock.acquire(True, thread.TIMEOUT_MAX * 2)
    lock.release()
    with pytest.raises(RuntimeError):
        lock.release()
    with pytest.raises(TypeError):
        thread.LockType(2)
    with pytest.raises(TypeError, match="not an acceptable base type"):
        type("Mine", (thread.LockType,), {})


def test_lock_is_a_semaphore_of_one_permit():
    lock = thread.LockType()
    assert isinstance(lock, BoundedSemaphore)
    assert (lock.counter, lock.ready()) == (1, True)
    with lock as taken:
        assert taken is True
        assert (lock.counter, lock.locked()) == (0, True)
        assert lock.acquire(blocking=False, timeout=-1) is False
    assert lock.acquire()
    assert lock.release() is None
    with pytest.raises(RuntimeError, match="Semaphore released too many times"):
        lock.__exit__(None, None, None)
    assert weakref.ref(lock)() is lock
    lock.note = "kept"
    assert lock.note == "kept"
    lock.rawlink(lambda released: setattr(released, "note", "linked"))
    gevent.sleep(0)
    assert lock.note == "linked"


@pytest.mark.parametrize(
    ("timeout", "error"),
    [
        ("1", TypeError),
        (float("nan"), ValueError),
        (float("inf"), OverflowError),
        (-0.5, ValueError),
    ],
)
def test_lock_refuses_timeouts_even_when_it_is_free(timeout, error):
    lock = thread.LockType()
    with pytest.raises(error):
        lock.acquire(True, timeout)
    assert not lock.locked()


def test_lock_waits_as_long_as_the_standard_one():
    lock = thread.LockType()
    assert lock.acquire(timeout=thread.TIMEOUT_MAX)
    gevent.spawn_later(0.01, lock.release)
    assert lock.acquire(timeout=thread.TIMEOUT_MAX)
    with pytest.raises(OverflowError):
        lock.acquire(timeout=math.nextafter(thread.TIMEOUT_MAX, math.inf))


def test_trying_in_the_hub():
    lock, tried = thread.LockType(), []
    lock.acquire()

    def callback():
        tried.append(lock.acquire(False))
        with pytest.raises(gevent.exceptions.BlockingSwitchOutError):
            lock.acquire()

    gevent.get_hub().loop.run_callback(callback)
    gevent.sleep(0.001)
    assert tried == [False]


def test_locks_need_no_hub(output_of):
    out = output_of(
        """
        import atexit
        from gevent import thread
        from gevent.hub import _get_hub
        lock = thread.LockType()
        def end(when):
            print(when, lock.acquire(False), lock.acquire(False), lock.release(), _get_hub())
        class End:
            def __del__(self):
                end("collected")
        atexit.register(end, "at exit")
        kept = End()
        end("now")
        """
    )
    assert out == "".join(
        f"{when} True False None None\n" for when in ("now", "at exit", "collected")
    )


def test_trying_in_a_loop_lets_the_holder_go_on():
    lock = thread.allocate_lock()
    lock.acquire()
    gevent.spawn(lock.release)
    while not lock.acquire(False):
        pass


def test_lock_between_threads():
    lock = thread.allocate_lock()
    lock.acquire()
    got = []
    other = native.Thread(target=lambda: got.append(lock.acquire(timeout=10)))
    other.start()
    gevent.sleep(0.01)
    lock.release()
    with gevent.Timeout(10):
        while other.is_alive():
            gevent.sleep(0.001)
    assert got == [True]


def test_lock_is_fresh_in_a_child():
    lock = thread.allocate_lock()
    lock.acquire()
    lock._at_fork_reinit()
    assert lock.acquire(False)


def test_start_new_thread():
    seen = []
    ident = thread.start_new_thread(lambda *a, **k: seen.append((a, k)), (1,), {"b": 2})
    assert isinstance(ident, int)
    gevent.sleep(0)
    assert seen == [((1,), {"b": 2})]
    with pytest.raises(TypeError, match="first arg must be callable"):
        thread.start_new_thread(1)
    with pytest.raises(TypeError, match="2nd arg must be a tuple"):
        thread.start_new_thread(print, [])
    with pytest.raises(TypeError, match="optional 3rd arg must be a dictionary"):
        thread.start_new_thread(print, (), [])


def test_exit_ends_only_the_thread():
    after = []

    def leave(function):
        function()
        after.append(1)

    for function in (thread.exit, sys.exit):
        thread.start_new_thread(leave, (function,))
    gevent.spawn(leave, thread.exit).join()
    assert after == []


def test_identities():
    mine = thread.get_ident()
    assert mine == thread.get_ident(gevent.getcurrent()) == id(gevent.getcurrent())
    assert gevent.spawn(thread.get_ident).get() != mine


def test_stack_size_is_that_of_native_threads():
    before = thread.stack_size()
    try:
        assert thread.stack_size(1 << 20) == before
        assert thread.stack_size() == 1 << 20
        with pytest.raises(ValueError, match="size"):
            thread.stack_size(-1)
    finally:
        thread.stack_size(0)


def test_joinable_threads():
    handle = thread._ThreadHandle()
    assert not handle.is_done()
    with pytest.raises(RuntimeError, match="not started"):
        handle.join()
    go = Event()
    assert thread.start_joinable_thread(go.wait, handle) is handle
    handle.join(0)
    assert not handle.is_done()
    with pytest.raises(RuntimeError, match="already started"):
        thread.start_joinable_thread(print, handle)
    go.set()
    handle.join()
    handle.join()
    assert handle.is_done()
    errors = []

    def join_itself():
        try:
            own.join()
        except RuntimeError as error:
            errors.append(str(error))

    own = thread._ThreadHandle()
    thread.start_joinable_thread(join_itself, own)
    own.join()
    assert errors == ["Cannot join current thread"]


def test_dummy_thread_is_named_like_the_standard_one(run_python):
    out = run_python(
        """
        import threading
        from gevent.threading import _DummyThread
        print(_DummyThread().name[:6], threading._DummyThread().name[:6])
        """
    )
    assert out.stdout == "Dummy- Dummy-\n"


def test_lazy_on_class():
    made = []

    class Owner:
        @LazyOnClass
        def value(self):
            made.append(self)
            return 5

    assert isinstance(Owner.value, LazyOnClass)
    one = Owner()
    assert (one.value, Owner().value, Owner.value) == (5, 5, 5)
    assert made == [one]
    namespace = {}
    LazyOnClass.lazy(namespace, Owner.value.__class__)
    assert isinstance(namespace["int"], LazyOnClass)
