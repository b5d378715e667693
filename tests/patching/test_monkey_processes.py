"""Forks and children of a patched process with greenlets, threads, pools and look-ups at work."""

import textwrap

import pytest

PATCHED = "from gevent import monkey; monkey.patch_all()\n"


@pytest.fixture
def patched(output_of):
    """Run a snippet, patched first, that must end well and silently; returns its lines."""

    def run(code, **settings):
        return output_of(PATCHED + textwrap.dedent(code), **settings).splitlines()

    return run


@pytest.fixture
def program(tmp_path, output_of):
    """Run a snippet as the main module of a program, as `multiprocessing` wants to find it."""

    def run(code, *argv):
        path = tmp_path / "program.py"
        path.write_text(PATCHED + textwrap.dedent(code))
        start = "import runpy, sys; runpy.run_path(sys.argv[1], run_name='__main__')"
        return output_of(start, str(path), *argv, timeout=60).splitlines()

    return run


@pytest.mark.parametrize("flags", [(), ("-X", "dev", "-W", "error")], ids=["plain", "dev"])
def test_fork_while_pools_and_lookups_are_at_work(patched, flags):
    more = ("-W", "ignore::DeprecationWarning") if flags else ()
    assert patched(
        """
        import gevent, os, socket, threading, time
        native_sleep = monkey.get_original("time", "sleep")
        pool = gevent.get_hub().threadpool
        lookups = [gevent.spawn(socket.getaddrinfo, "localhost", 80 + n) for n in range(5)]
        jobs = [pool.spawn(native_sleep, 0.1) for _ in range(3)]
        thread = threading.Thread(target=time.sleep, args=(0.1,))
        thread.start()
        gevent.sleep(0)
        child = os.fork()
        if not child:
            found = socket.getaddrinfo("localhost", 80)
            print("child", bool(found), gevent.get_hub().threadpool.apply(len, ("five!",)))
            inner = threading.Thread(target=lambda: (time.sleep(0.01), print("child's thread")))
            inner.start()
            inner.join()
            print(end="", flush=True)
            os._exit(0)
        print(os.waitpid(child, 0)[1])
        gevent.joinall(lookups, raise_error=True)
        print(all(lookup.value for lookup in lookups), [job.get() for job in jobs])
        thread.join()
        """,
        flags=(*flags, *more),
    ) == ["child True 5", "child's thread", "0", "True [None, None, None]"]


def test_pty_fork(patched):
    assert patched(
        """
        import gevent, os, pty, sys
        turns = []
        def turn():
            while True:
                turns.append(os.getpid())
                gevent.sleep(0.001)
        gevent.spawn(turn)
        child, terminal = pty.fork()
        if not child:
            gevent.sleep(0.05)
            print("child", os.isatty(0), os.getpid() in turns)
            sys.stdout.flush()
            os._exit(3)
        gevent.os.make_nonblocking(terminal)
        print(gevent.os.nb_read(terminal, 100))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), set(turns) == {os.getpid()})
        """
    ) == ["b'child True True\\r\\n'", "3 True"]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(program, method):
    assert program(
        """
        import multiprocessing, sys, time
        import gevent
        def square(results, number):
            time.sleep(0.001)
            results.put(number * number)
        def count(total):
            for _ in range(10):
                with total.get_lock():
                    total.value += 1
        if __name__ == "__main__":
            context = multiprocessing.get_context(sys.argv[2])
            gevent.spawn(gevent.sleep, 1000)
            results = context.Queue()
            children = [context.Process(target=square, args=(results, n)) for n in range(3)]
            for child in children:
                child.start()
            print(sorted(results.get() for _ in children))
            total = context.Value("i", 0)
            children += [context.Process(target=count, args=(total,)) for _ in range(2)]
            for child in children[3:]:
                child.start()
            for child in children:
                child.join()
            print([child.exitcode for child in children], total.value)
            child = context.Process(target=time.sleep, args=(1000,))
            child.start()
            child.terminate()
            child.join()
            print(child.exitcode)
        """,
        method,
    ) == ["[0, 1, 4]", "[0, 0, 0, 0, 0] 20", "-15"]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_manager_that_was_imported_before_patching(output_of, tmp_path, method):
    """A manager that was imported before has patched locks and queues in its process."""
    path = tmp_path / "program.py"
    path.write_text("""if True:
        import multiprocessing.managers, sys
        from gevent import monkey; monkey.patch_all()
        import gevent
        if __name__ == "__main__":
            with multiprocessing.get_context(sys.argv[2]).Manager() as manager:
                lock, queue, event = manager.Lock(), manager.Queue(), manager.Event()
                lock.acquire()
                waiting = [gevent.spawn(call) for call in (lock.acquire, queue.get, event.wait)]
                gevent.sleep(0.05)
                lock.release()
                queue.put("item")
                event.set()
                print([each.get(timeout=30) for each in waiting])
    """)
    start = "import runpy, sys; runpy.run_path(sys.argv[1], run_name='__main__')"
    output = output_of(start, str(path), method, timeout=60)
    assert output == "[True, 'item', True]\n"


def test_process_pool_executor(program):
    assert program(
        """
        from concurrent.futures import ProcessPoolExecutor
        def square(number):
            return number * number
        if __name__ == "__main__":
            with ProcessPoolExecutor(2) as pool:
                print(list(pool.map(square, range(5))))
        """
    ) == ["[0, 1, 4, 9, 16]"]


def test_ways_to_wait_for_a_child(patched):
    assert patched(
        """
        import os, subprocess
        code = os.waitstatus_to_exitcode
        child = subprocess.Popen(["sh", "-c", "exit 2"])
        print(code(os.waitpid(child.pid, 0)[1]), child.wait())
        print(code(os.waitpid(os.posix_spawn("/bin/sh", ["sh", "-c", "exit 3"], {}), 0)[1]))
        if os.fork() == 0:
            os._exit(4)
        print(code(os.wait()[1]), code(os.system("exit 5")), os.popen("echo popen").read().strip())
        print(subprocess.getstatusoutput("echo text; exit 6"))
        """
    ) == ["2 2", "3", "4 5 popen", "(6, 'text')"]


def test_children_that_are_collected_elsewhere(patched):
    assert patched(
        """
        import os
        def start():
            return os.fork() or os._exit(3)
        def fails(child):
            try:
                os.waitpid(child, 0)
            except ChildProcessError as error:
                print(error)
        # os.wait() blocks the thread, and the loop is not told.
        child = start()
        print(os.wait() == (child, 3 << 8))
        fails(child)
        child = start()
        os.wait()
        fails(-1)
        taken, left = start(), start()
        native = monkey.get_original("os", "waitpid")
        native(taken, 0)
        print(os.waitpid(-1, 0) == (left, 3 << 8))
        fails(-1)
        """
    ) == [
        "True",
        "[Errno 10] No child processes",
        "[Errno 10] No child processes",
        "True",
        "[Errno 10] No child processes",
    ]


def test_signals(patched):
    assert patched(
        """
        import os, signal, subprocess, time
        told, (reader, writer) = [], os.pipe()
        os.set_blocking(writer, False)
        print(signal.signal(signal.SIGCHLD, lambda *call: told.append(call)))
        for status in range(3):
            if os.fork() == 0:
                os._exit(status)
            print(os.waitstatus_to_exitcode(os.waitpid(-1, 0)[1]))
        subprocess.run(["true"])
        while len(told) < 4:
            time.sleep(0.001)
        print(set(told) == {(signal.SIGCHLD, None)})
        print(signal.set_wakeup_fd(writer))
        signal.signal(signal.SIGUSR1, lambda *call: print("handled"))
        os.kill(os.getpid(), signal.SIGUSR1)
        time.sleep(0.001)
        print(os.read(reader, 10) == bytes([signal.SIGUSR1]))
        signal.signal(signal.SIGALRM, lambda *call: print("alarm"))
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        time.sleep(0.2)
        """
    ) == ["0", "0", "1", "2", "True", "-1", "handled", "True", "alarm"]
