"""The standard threading in a patched process: what CPython promises of its threads."""

import sys
import textwrap

import pytest

PATCHED = "from gevent import monkey; monkey.patch_all()\n"


@pytest.fixture
def patched(output_of):
    """Run a snippet, patched first, that must end well and silently; returns its lines."""
    return lambda code: output_of(PATCHED + textwrap.dedent(code)).splitlines()


def test_identities_and_names(patched):
    assert patched(
        """
        import gevent, threading
        main = threading.main_thread()
        def show():
            me = threading.current_thread()
            print(type(me).__name__, me is main, me.daemon, me.is_alive(), main.is_alive(),
                  me.ident == threading.get_ident(), me.native_id == threading.get_native_id())
        show()
        gevent.spawn(show).join()
        thread = threading.Thread(target=show, name="a thread")
        thread.start()
        thread.join()
        print(threading.enumerate() == [main], threading.active_count())
        print(thread.is_alive(), thread.name, "stopped" in repr(thread))
        """
    ) == [
        "_MainThread True False True True True True",
        "_DummyThread False True True True True True",
        "Thread False False True True True True",
        "True 1",
        "False a thread True",
    ]


def test_wrong_use_is_an_error(patched):
    assert patched(
        """
        import threading
        def fails(function):
            try:
                function()
            except RuntimeError as error:
                print(error)
        thread = threading.Thread(target=print, args=("ran",))
        fails(threading.current_thread().join)
        fails(thread.join)
        thread.start()
        fails(thread.start)
        thread.join()
        fails(thread.start)
        """
    ) == [
        "cannot join current thread",
        "cannot join thread before it is started",
        "ran",
        "threads can only be started once",
        "threads can only be started once",
    ]


def test_join_takes_a_timeout(patched):
    assert patched(
        """
        import threading
        go_on = threading.Event()
        thread = threading.Thread(target=go_on.wait)
        thread.start()
        thread.join(0.01)
        print(thread.is_alive())
        thread.join(0)
        go_on.set()
        thread.join(30)
        print(thread.is_alive())
        def wait_for_main():
            threading.main_thread().join(0.01)
            print(threading.main_thread().is_alive())
        thread = threading.Thread(target=wait_for_main)
        thread.start()
        thread.join()
        """
    ) == ["True", "False", "True"]


def test_an_interrupted_join_leaves_the_thread_alive(patched):
    assert patched(
        """
        import threading
        import gevent
        go_on = threading.Event()
        thread = threading.Thread(target=go_on.wait)
        thread.start()
        joining = gevent.spawn(thread.join)
        gevent.sleep(0)
        joining.kill()
        print(thread.is_alive())
        try:
            with gevent.Timeout(0.01):
                thread.join()
        except gevent.Timeout:
            print(thread.is_alive(), thread in threading.enumerate())
        gevent.spawn_later(0.01, go_on.set)
        thread.join()
        print(go_on.is_set(), thread.is_alive())
        """
    ) == ["True", "True True", "True False"]


def test_excepthook(run_python):
    result = run_python(
        PATCHED
        + "import threading\n"
        + "def work(): raise KeyError('k')\n"
        + "def run(name):\n"
        + "    thread = threading.Thread(target=work, name=name)\n"
        + "    thread.start(); thread.join()\n"
        + "run('first')\n"
        + "threading.excepthook = lambda a: print(a.exc_type.__name__, a.thread.name)\n"
        + "run('second')\n"
        + "threading.excepthook = threading.__excepthook__\n"
        + "run('third')\n"
    )
    assert (result.returncode, result.stdout) == (0, "KeyError second\n")
    heads = [line for line in result.stderr.splitlines() if line.startswith("Exception in")]
    assert heads == ["Exception in thread first:", "Exception in thread third:"]
    assert result.stderr.count("KeyError: 'k'") == 2


def test_trace_and_profile_functions(patched):
    assert patched(
        """
        import threading
        def work():
            pass
        for install in threading.settrace, threading.setprofile:
            seen = []
            install(lambda frame, event, argument: seen.append(frame.f_code.co_name))
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
            install(None)
            print("work" in seen)
        """
    ) == ["True", "True"]


def test_what_is_built_on_locks(patched):
    assert patched(
        """
        import threading, time
        met, barrier = [], threading.Barrier(3)
        threads = [threading.Thread(target=lambda: met.append(barrier.wait())) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(sorted(met))
        try:
            threading.Barrier(2).wait(0.01)
        except threading.BrokenBarrierError:
            print("broken")
        bounded = threading.BoundedSemaphore(1)
        bounded.acquire()
        print(bounded.acquire(timeout=0.01), bounded.release())
        try:
            bounded.release()
        except ValueError as error:
            print(error)
        changed, items = threading.Condition(), []
        def consume():
            with changed:
                print(changed.wait_for(lambda: items, timeout=30), changed.wait(0.01))
        thread = threading.Thread(target=consume)
        thread.start()
        time.sleep(0)
        with changed:
            items.append("item")
            changed.notify_all()
        thread.join()
        lock = threading.RLock()
        with lock, lock:
            other = threading.Thread(target=lambda: print(lock.acquire(timeout=0.01)))
            other.start()
            other.join()
        try:
            lock.release()
        except RuntimeError as error:
            print(error)
        timer = threading.Timer(0.001, print, ("timer",))
        timer.start()
        timer.join()
        timer = threading.Timer(1000, print)
        timer.start()
        timer.cancel()
        timer.join()
        """
    ) == [
        "[0, 1, 2]",
        "broken",
        "False None",
        "Semaphore released too many times",
        "['item'] False",
        "False",
        "cannot release un-acquired lock",
        "timer",
    ]


def test_thread_local_data(patched):
    assert patched(
        """
        import threading
        class Local(threading.local):
            def __init__(self, number):
                self.number = number
        plain, made = threading.local(), Local(5)
        plain.name, made.number = "main", 6
        def work():
            print(hasattr(plain, "name"), made.number)
            plain.name = "thread"
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        print(plain.name, made.number)
        """
    ) == ["False 5", "main 6"]


def test_each_thread_has_its_context(patched):
    assert patched(
        """
        import contextvars, threading, time
        from concurrent.futures import ThreadPoolExecutor
        variable = contextvars.ContextVar("variable", default="default")
        variable.set("main")
        def work(value):
            before = variable.get()
            variable.set(value)
            time.sleep(0.001)
            return before, variable.get()
        seen = []
        threads = [threading.Thread(target=lambda n=n: seen.append(work(n))) for n in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(seen)
        print(contextvars.copy_context().run(work, "copy"), variable.get())
        with ThreadPoolExecutor(2) as pool:
            print(list(pool.map(lambda _: variable.get(), range(2))))
        """
    ) == [
        "[('default', 0), ('default', 1), ('default', 2)]",
        "('main', 'copy') main",
        "['default', 'default']",
    ]


def test_executors(patched):
    assert patched(
        """
        import concurrent.futures as futures, threading, time
        with futures.ThreadPoolExecutor(4) as pool:
            meeting = threading.Barrier(4)
            print(len({pool.submit(meeting.wait).result for _ in range(4)}))
            never = threading.Event()
            waiting = pool.submit(never.wait)
            try:
                waiting.result(0.01)
            except futures.TimeoutError:
                print("not yet")
            never.set()
            jobs = [pool.submit(lambda n=n: n) for n in range(3)]
            print(sorted(job.result() for job in futures.as_completed(jobs, timeout=30)))
        pool = futures.ThreadPoolExecutor(1)
        pool.submit(lambda: (time.sleep(0.05), print("late")))
        pool.shutdown(wait=False)
        """
    ) == ["4", "not yet", "[0, 1, 2]", "late"]


def test_asyncio_in_a_native_thread(patched):
    assert patched(
        """
        import asyncio, gevent, gevent.server
        def echo(connection, address):
            connection.sendall(connection.recv(10))
        async def talk():
            reader, writer = await asyncio.open_connection("127.0.0.1", server.server_port)
            writer.write(b"hello")
            answer = await reader.read(10)
            writer.close()
            await writer.wait_closed()
            return answer
        server = gevent.server.StreamServer(("127.0.0.1", 0), echo)
        server.start()
        print(gevent.get_hub().threadpool.apply(asyncio.run, (talk(),)))
        """
    ) == ["b'hello'"]


def test_asyncio_lets_greenlets_run(patched):
    assert patched(
        """
        import asyncio, gevent
        turns = []
        def turn():
            while len(turns) < 5:
                turns.append(1)
                gevent.sleep(0.001)
        gevent.spawn(turn)
        async def wait():
            while len(turns) < 5:
                await asyncio.sleep(0.001)
        asyncio.run(asyncio.wait_for(wait(), 30))
        print(len(turns))
        """
    ) == ["5"]


@pytest.mark.skipif(sys.version_info < (3, 13), reason="threads have handles since CPython 3.13")
def test_handles_of_threads(patched):
    assert patched(
        """
        import threading
        from gevent.threading import HANDLE
        thread = threading.Thread(target=threading.Event().wait, args=(0.01,))
        handle = getattr(thread, HANDLE)
        print(handle.is_done(), handle.ident)
        thread.start()
        print(handle.is_done(), handle.ident == thread.ident)
        thread.join()
        print(handle.is_done(), getattr(threading.main_thread(), HANDLE).is_done())
        """
    ) == ["False 0", "False True", "True False"]
