"""Forks of a running program: both processes go on, each with a loop of its own."""

import textwrap

import pytest

# The child's exit status tells how it fared; the parent prints.
PRELUDE = """
    import os, sys, threading, time
    import gevent
    from gevent.event import Event
    from gevent.hub import Waiter, get_hub

    FORK = {fork!r}

    def fork():
        if FORK == "os":
            return os.fork()
        return gevent.fork()

    def wait(pid):
        if FORK == "os":
            while True:
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    return os.waitstatus_to_exitcode(status)
                gevent.sleep(0.002)
        from gevent.os import waitpid
        return os.waitstatus_to_exitcode(waitpid(pid, 0)[1])

    def until(condition):
        # The limit is that of the whole program.
        while not condition():
            gevent.sleep(0.001)

    def finish(ok):
        sys.stdout.flush()
        os._exit(0 if ok else 1)
"""


@pytest.fixture(params=["os", "gevent"])
def program(request, run_python):
    """Run a program after the prelude, with either way to fork; return its standard output."""

    def run(code):
        prelude = textwrap.dedent(PRELUDE).format(fork=request.param)
        # Later versions of CPython warn of forks while there are threads.
        done = run_python(
            prelude + textwrap.dedent(code), timeout=60, PYTHONWARNINGS="ignore::DeprecationWarning"
        )
        assert done.stderr == ""
        assert done.returncode == 0
        return done.stdout

    return run


def test_both_go_on(program):
    out = program(
        """
        gevent.sleep(0.001)
        pid = fork()
        if not pid:
            gevent.sleep(0.001)
            finish(gevent.spawn(lambda: 5).get() == 5)
        gevent.sleep(0.001)
        print(gevent.spawn(lambda: 6).get(), wait(pid))
        """
    )
    assert out == "6 0\n"


def test_greenlets_go_on_in_both(program):
    out = program(
        """
        done = []

        def work(number):
            gevent.sleep(0.001 * number)
            done.append(number)

        greenlets = [gevent.spawn(work, number) for number in range(20)]
        gevent.sleep(0.0005)
        pid = fork()
        gevent.joinall(greenlets)
        ok = sorted(done) == list(range(20))
        if not pid:
            finish(ok)
        print(ok, wait(pid))
        """
    )
    assert out == "True 0\n"


def test_in_a_greenlet(program):
    out = program(
        """
        def run():
            pid = fork()
            if not pid:
                gevent.sleep(0.001)
                finish(True)
            return wait(pid)

        print([gevent.spawn(run).get() for _ in range(3)])
        """
    )
    assert out == "[0, 0, 0]\n"


def test_in_a_callback_of_the_hub(program):
    out = program(
        """
        pids = []
        get_hub().loop.run_callback(lambda: pids.append(os.fork()))
        gevent.sleep(0.001)
        gevent.sleep(0.001)
        if not pids[0]:
            finish(gevent.spawn(lambda: 5).get() == 5)
        print(gevent.spawn(lambda: 6).get())
        while True:
            ended, status = os.waitpid(pids[0], os.WNOHANG)
            if ended:
                print(status)
                break
            gevent.sleep(0.002)
        """
    )
    assert out == "6\n0\n"


def test_each_has_its_own_kernel_objects(program):
    """The parent does not watch the descriptors of the child, nor the child those of the parent."""
    out = program(
        """
        read, write = os.pipe()
        loop = get_hub().loop
        seen = []

        def on_ready():
            seen.append(os.read(read, 1))

        watcher = loop.io(read, 1)
        watcher.start(on_ready)
        gevent.sleep(0.001)
        pid = fork()
        if not pid:
            # Leaves the parent's set alone.
            watcher.stop()
            again = loop.io(read, 1)
            again.start(on_ready)
            again.stop()
            gevent.sleep(0.005)
            finish(seen == [])
        ended = wait(pid)
        os.write(write, b"x")
        until(lambda: seen)
        print(seen, ended)
        """
    )
    assert out == "[b'x'] 0\n"


def test_descriptors_in_the_child_are_watched(program):
    out = program(
        """
        read, write = os.pipe()
        watcher = get_hub().loop.io(read, 1)
        reader = gevent.spawn(get_hub().wait, watcher)
        gevent.sleep(0.001)
        pid = fork()
        if not pid:
            gevent.sleep(0.001)
            alone = not reader.ready()
            os.write(write, b"x")
            reader.join(timeout=20)
            finish(alone and reader.ready())
        ended = wait(pid)
        reader.join(timeout=20)
        print(reader.ready(), ended)
        """
    )
    assert out == "True 0\n"


def test_nothing_that_is_sent_to_the_parent_wakes_the_child(program):
    out = program(
        """
        loop = get_hub().loop
        got = []
        gevent.sleep(0.001)
        pid = fork()
        if not pid:
            for _ in range(20):
                gevent.sleep(0.002)
            finish(got == [])
        thread = threading.Thread(
            target=lambda: [loop.run_callback_threadsafe(got.append, n) for n in range(100)]
        )
        thread.start()
        until(lambda: len(got) == 100)
        thread.join()
        print(got == list(range(100)), wait(pid))
        """
    )
    assert out == "True 0\n"


def test_threads_wake_the_child(program):
    out = program(
        """
        gevent.sleep(0.001)
        pid = fork()
        loop = get_hub().loop
        waiter = Waiter()
        keep = loop.async_()
        keep.start(lambda: None)
        thread = threading.Timer(0.01, loop.run_callback_threadsafe, (waiter.switch, "woken"))
        thread.start()
        got = waiter.get()
        thread.join()
        if not pid:
            finish(got == "woken")
        print(got, wait(pid))
        """
    )
    assert out == "woken 0\n"


def test_while_other_threads_run_hubs(program):
    out = program(
        """
        stop = []

        def work():
            while not stop:
                gevent.spawn(gevent.sleep, 0.0005).join()

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        results = []
        for _ in range(5):
            gevent.sleep(0.002)
            pid = fork()
            if not pid:
                gevent.sleep(0.001)
                finish(gevent.spawn(lambda: 5).get() == 5)
            results.append(wait(pid))
        stop.append(True)
        for thread in threads:
            thread.join()
        print(results)
        """
    )
    assert out == "[0, 0, 0, 0, 0]\n"


def test_in_a_thread_that_has_a_hub(program):
    out = program(
        """
        gevent.sleep(0.001)
        results = []

        def work():
            gevent.sleep(0.001)
            pid = os.fork()
            if not pid:
                gevent.sleep(0.001)
                finish(gevent.spawn(lambda: 5).get() == 5)
            gevent.sleep(0.001)
            results.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        print(results)
        """
    )
    assert out == "[0]\n"


def test_of_forks(program):
    out = program(
        """
        gevent.sleep(0.001)
        depth = 0
        while depth < 3:
            pid = fork()
            if pid:
                break
            depth += 1
            gevent.sleep(0.001)
        ended = wait(pid) if pid else 0
        if depth:
            finish(ended == 0)
        print(ended)
        """
    )
    assert out == "0\n"


def test_watchers_are_called_in_the_child_only(program):
    out = program(
        """
        seen = []
        watcher = get_hub().loop.fork(ref=False)
        watcher.start(seen.append, "forked")
        gevent.sleep(0.001)
        pid = fork()
        if not pid:
            until(lambda: seen)
            finish(seen == ["forked"])
        gevent.sleep(0.005)
        print(seen, wait(pid))
        """
    )
    assert out == "[] 0\n"


def test_child_that_never_used_a_hub(program):
    out = program(
        """
        pid = os.fork()
        if not pid:
            finish(gevent.spawn(lambda: 5).get() == 5)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        """
    )
    assert out == "0\n"


def test_child_that_ends_as_programs_do(program):
    out = program(
        """
        gevent.spawn(gevent.sleep, 60)
        gevent.sleep(0.001)
        pid = fork()
        if not pid:
            gevent.sleep(0.001)
            sys.exit(7)
        print(wait(pid))
        """
    )
    assert out == "7\n"


def test_child_that_closes_every_descriptor(program):
    """As daemons do: what it opens then has the numbers that the loop's had."""
    out = program(
        """
        got = Event()
        get_hub().loop.signal(10).start(got.set)
        gevent.spawn(gevent.sleep, 60)
        gevent.sleep(0.001)
        pid = fork()
        if not pid:
            os.closerange(3, 1000)
            opened = [os.open("/dev/null", os.O_RDWR) for _ in range(20)]
            files = [os.memfd_create("own") for _ in range(20)]
            os.kill(os.getpid(), 10)
            ok = got.wait(20)
            ok = ok and gevent.spawn(lambda: 5).get() == 5
            ok = ok and len({os.fstat(one).st_rdev for one in opened}) == 1
            finish(ok and [os.fstat(one).st_size for one in files] == [0] * 20)
        print(wait(pid))
        """
    )
    assert out == "0\n"


def test_descriptors_closed_at_any_time(program):
    """The loop opens new ones. What waited for the closed ones waits on."""
    out = program(
        """
        loop = get_hub().loop
        got = []
        sleeper = gevent.spawn(gevent.sleep, 0.01)
        gevent.sleep(0.001)
        os.closerange(3, 1000)
        sleeper.join()
        loop.run_callback_threadsafe(got.append, "callback")
        thread = threading.Thread(target=loop.run_callback_threadsafe, args=(got.append, "other"))
        thread.start()
        thread.join()
        until(lambda: len(got) == 2)
        read, write = os.pipe()
        os.write(write, b"x")
        get_hub().wait(loop.io(read, 1))
        print(sorted(got), gevent.spawn(lambda: 5).get(), flush=True)
        pid = fork()
        if not pid:
            gevent.sleep(0.001)
            finish(True)
        print(wait(pid))
        """
    )
    assert out == "['callback', 'other'] 5\n0\n"


@pytest.mark.parametrize("lowest", [0, 200], ids=["taken again", "apart"])
def test_waiters_of_descriptors_that_the_child_lost(program, lowest):
    """Waiters of a descriptor that cannot be registered anew get the error of the system call."""
    out = program(
        """
        import errno, fcntl, socket as plain
        from gevent import socket
        from gevent.os import nb_read

        lost = []
        os.register_at_fork(after_in_child=lambda: [os.close(fd) for fd in lost])
        ended = {}

        def high(fd):
            # The child opens something of its own first, which may get the number.
            return fcntl.fcntl(fd, fcntl.F_DUPFD, {lowest})

        near, far = plain.socketpair()
        one = socket.socket(fileno=high(near.fileno()))
        server = plain.create_server(("127.0.0.1", 0))
        listener = socket.socket(fileno=high(server.fileno()))
        read = high(os.pipe()[0])
        os.set_blocking(read, False)
        watched = high(os.pipe()[0])

        def until_error(name, wait, *args):
            try:
                wait(*args)
            except OSError as error:
                ended[name] = error.errno

        def watch():
            get_hub().wait(get_hub().loop.io(watched, 1))
            os.read(watched, 1)

        waits = [
            gevent.spawn(until_error, "recv", one.recv, 1),
            gevent.spawn(until_error, "accept", listener.accept),
            gevent.spawn(until_error, "nb_read", nb_read, read, 1),
            gevent.spawn(until_error, "watcher", watch),
        ]
        gevent.sleep(0.001)
        lost += [one.fileno(), listener.fileno(), read, watched]
        pid = fork()
        if not pid:
            gevent.joinall(waits, timeout=20)
            names = ["accept", "nb_read", "recv", "watcher"]
            finish(ended == dict.fromkeys(names, errno.EBADF))
        gevent.killall(waits)
        print(wait(pid), ended)
        """.replace("{lowest}", str(lowest))
    )
    assert out == "0 {}\n"


def test_signals_before_the_fork_are_the_parents(program):
    out = program(
        """
        got = []
        watcher = get_hub().loop.signal(10, ref=False)
        watcher.start(got.append, "signal")
        gevent.sleep(0.001)
        os.kill(os.getpid(), 10)
        pid = fork()
        if not pid:
            # Two turns, since a deadline that has passed is served before what the same poll finds.
            gevent.sleep(0.002)
            gevent.sleep(0.002)
            mine = list(got)
            os.kill(os.getpid(), 10)
            until(lambda: got)
            finish((mine, got) == ([], ["signal"]))
        until(lambda: got)
        print(got, wait(pid))
        """
    )
    assert out == "['signal'] 0\n"


def test_multiprocessing(run_python):
    done = run_python(
        """
        import multiprocessing
        import gevent

        def work(number):
            gevent.sleep(0.001)
            return gevent.spawn(lambda: number * 2).get()

        gevent.sleep(0.001)
        with multiprocessing.get_context("fork").Pool(2) as pool:
            print(pool.map(work, range(10)))
        """
    )
    assert (done.stdout, done.returncode) == (f"{[n * 2 for n in range(10)]}\n", 0)
