"""The end of the interpreter: what still runs is waited for, or dropped, and nothing is printed."""

import pytest

EVERYTHING = """
    from gevent import monkey; monkey.patch_all()
    import atexit, concurrent.futures, queue, socket, sys, threading, time
    import gevent, gevent.pool, gevent.threadpool
    native_sleep = monkey.get_original("time", "sleep")

    main_is_over = threading.Event()

    def then(seconds, *what):
        main_is_over.wait()
        time.sleep(seconds)
        print(*what, flush=True)

    gevent.spawn(gevent.sleep, 1000)
    gevent.pool.Pool(5).spawn(gevent.sleep, 1000)
    listener = socket.create_server(("127.0.0.1", 0))
    gevent.spawn(listener.accept)
    client = socket.create_connection(listener.getsockname())
    gevent.spawn(client.recv, 1)
    threading.Thread(target=then, args=(1000, "a daemon"), daemon=True).start()
    threading.Thread(target=then, args=(0.2, "a thread")).start()
    timer = threading.Timer(1000, print)
    timer.daemon = True
    timer.start()
    gevent.threadpool.ThreadPool(3).spawn(native_sleep, 0.3)
    monkey.get_original("_thread", "start_new_thread")(native_sleep, (1000,))
    executor = concurrent.futures.ThreadPoolExecutor(2)
    executor.submit(then, 0.1, "an executor's job")
    loop_timer = gevent.get_hub().loop.timer(1000)
    loop_timer.start(print)
    socket.getaddrinfo("localhost", 80)
    gevent.spawn(queue.Queue().get)
    lock = threading.Lock()
    lock.acquire()
    gevent.spawn(lock.acquire)
    atexit.register(print, "at exit")
    gevent.sleep(0.01)
    print("main", flush=True)
    main_is_over.set()
    {end}
"""
# The first two end by themselves, in any order.
LATER = [{"an executor's job", "a thread"}, "at exit"]


@pytest.fixture(params=[(), ("-X", "dev", "-W", "error")], ids=["plain", "dev"])
def flags(request):
    return request.param


@pytest.mark.parametrize(
    ("end", "status", "error"),
    [
        ("", 0, ""),
        ("sys.exit(3)", 3, ""),
        ("raise SystemExit('over')", 1, "over"),
        ("1 / 0", 1, "ZeroDivisionError: division by zero"),
    ],
    ids=["return", "exit", "message", "error"],
)
def test_with_everything_alive(run_python, flags, end, status, error):
    # The program leaves these open on purpose.
    more = ("-W", "ignore::ResourceWarning") if flags else ()
    done = run_python(EVERYTHING.format(end=end), flags=(*flags, *more), timeout=60)
    first, *later, last = done.stdout.splitlines()
    assert [first, set(later), last] == ["main", *LATER]
    assert done.returncode == status
    assert done.stderr.strip().rpartition("\n")[2] == error


def test_thread_that_waits_for_the_main_thread(run_python, flags):
    done = run_python(
        """
        from gevent import monkey; monkey.patch_all()
        import threading
        def wait():
            threading.main_thread().join()
            print("the main thread is over", threading.main_thread().is_alive())
        threading.Thread(target=wait).start()
        print("main", flush=True)
        """,
        flags=flags,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "main\nthe main thread is over False\n"


def test_exit_in_a_thread_ends_the_thread(run_python, flags):
    done = run_python(
        """
        from gevent import monkey; monkey.patch_all()
        import sys, threading
        thread = threading.Thread(target=sys.exit, args=(4,))
        thread.start()
        thread.join()
        print(thread.is_alive())
        """,
        flags=flags,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "False\n", "")


def test_native_threads_from_before_patching(run_python, flags):
    done = run_python(
        """
        import threading, time
        over = threading.Lock()
        over.acquire()
        def work(sleep=time.sleep):
            over.acquire()
            sleep(0.1)
            print("native", flush=True)
        threading.Thread(target=work).start()
        from gevent import monkey; monkey.patch_all()
        print("main", flush=True)
        over.release()
        """,
        flags=flags,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "main\nnative\n", "")


def test_children_end_by_themselves(run_python, flags):
    done = run_python(
        """
        from gevent import monkey; monkey.patch_all()
        import os, sys, threading, time
        parent = os.getpid()
        child_is_over = threading.Event()
        def work():
            child_is_over.wait()
            time.sleep(0.2)
            print("thread of the", "parent" if os.getpid() == parent else "child", flush=True)
        threading.Thread(target=work).start()
        if os.fork() == 0:
            print("child", flush=True)
            sys.exit(5)
        print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
        child_is_over.set()
        """,
        flags=(*flags, "-W", "ignore::DeprecationWarning") if flags else (),
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "child\n5\nthread of the parent\n"


def test_daemons_are_dropped_without_a_word(run_python, flags):
    done = run_python(
        """
        from gevent import monkey; monkey.patch_all()
        import threading, time
        def work():
            try:
                time.sleep(1000)
            finally:
                print("never")
        threading.Thread(target=work, daemon=True).start()
        time.sleep(0.01)
        print("main", flush=True)
        """,
        flags=flags,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("main\n")
