"""Patched programs: their threads, forks, locks and ends."""

import subprocess
import sys

import pytest


def test_an_unaware_program_downloads_at_once(output_of):
    out = output_of(
        """
        from gevent import monkey; monkey.patch_all()
        import http.server, threading, time, urllib.request
        waiting = []
        everyone = threading.Barrier(20)
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                # Answers only once all 20 requests are there.
                everyone.wait(20)
                self.send_response(200)
                self.end_headers()
                self.wfile.write(self.path.encode())
            def log_message(self, *args):
                pass
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.request_queue_size = 50
        threading.Thread(target=server.serve_forever, daemon=True).start()
        bodies = {}
        def fetch(n):
            url = f"http://127.0.0.1:{server.server_port}/{n}"
            bodies[n] = urllib.request.urlopen(url).read()
        threads = [threading.Thread(target=fetch, args=(n,)) for n in range(20)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        assert bodies == {n: b"/%d" % n for n in range(20)}
        print("done")
        """
    )
    assert out == "done\n"


def test_threads_are_greenlets_of_one_thread(output_of):
    out = output_of(
        """
        from gevent import monkey; monkey.patch_all()
        import threading, gevent
        native_ident = monkey.get_original("_thread", "get_ident")
        local = threading.local()
        local.x = 1
        seen = []
        def run():
            assert not hasattr(local, "x")
            assert threading.current_thread() is thread
            assert isinstance(gevent.getcurrent(), gevent.Greenlet)
            seen.append(native_ident())
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        assert seen == [native_ident()] and not thread.is_alive()
        main = threading.main_thread()
        assert threading.current_thread() is main and type(main).__name__ == "_MainThread"
        assert main.ident == threading.get_ident() and threading.enumerate() == [main]
        print("done")
        """
    )
    assert out == "done\n"


def test_the_threads_of_other_greenlets_come_and_go(output_of):
    out = output_of(
        """
        from gevent import monkey; monkey.patch_all()
        import threading, gevent
        def ask():
            thread = threading.current_thread()
            assert thread.name.startswith("Dummy-") and thread.daemon
            gevent.sleep(0.01)
            assert threading.current_thread() is thread
        greenlets = [gevent.spawn(ask), gevent.spawn(ask)]
        gevent.sleep(0.001)
        assert threading.active_count() == 3
        gevent.joinall(greenlets, raise_error=True)
        assert threading.active_count() == 1
        raw = gevent.spawn_raw(ask)
        while not raw.dead:
            gevent.sleep(0.001)
        del raw
        assert threading.active_count() == 1
        print("done")
        """
    )
    assert out == "done\n"


def test_native_threads_from_before_can_be_joined(output_of):
    out = output_of(
        """
        import threading, time
        go = threading.Event()
        native = threading.Thread(target=go.wait)
        native.start()
        from gevent import monkey; monkey.patch_all()
        assert native in threading.enumerate() and native.is_alive()
        native.join(0.05)
        assert native.is_alive()
        ticks = []
        def tick():
            while native.is_alive():
                ticks.append(1)
                if len(ticks) == 5: go.set()
                time.sleep(0.001)
        ticker = threading.Thread(target=tick)
        ticker.start()
        native.join()
        assert len(ticks) >= 5 and not native.is_alive()
        ticker.join()
        assert threading.enumerate() == [threading.main_thread()]
        print("done")
        """
    )
    assert out == "done\n"


def test_the_end_waits_for_threads_but_not_for_daemons(output_of):
    out = output_of(
        """
        import threading, time
        late = threading.Thread(target=lambda: (time.sleep(0.1), print("native", flush=True)))
        late.start()
        from gevent import monkey; monkey.patch_all()
        stop = threading.Event()
        def work():
            stop.wait()
            threading.main_thread().join()
            time.sleep(0.2)
            print("thread", flush=True)
        threading.Thread(target=work).start()
        threading.Thread(target=lambda: (time.sleep(30), print("daemon")), daemon=True).start()
        threading._register_atexit(stop.set)
        print("main", flush=True)
        """
    )
    assert sorted(out.split()) == ["main", "native", "thread"]


def test_threads_end_as_in_cpython(run_python):
    result = run_python(
        """
        from gevent import monkey; monkey.patch_all()
        import _thread, sys, threading
        for function in (_thread.exit, sys.exit, lambda: 1 / 0):
            thread = threading.Thread(target=function, name="T")
            thread.start()
            thread.join()
        done = threading.Event()
        _thread.start_new_thread(lambda: (done.set(), sys.exit()), ())
        done.wait()
        print("main goes on")
        """
    )
    assert (result.returncode, result.stdout) == (0, "main goes on\n")
    assert result.stderr.count("Exception in thread T:") == 1
    assert "ZeroDivisionError" in result.stderr


def test_a_fork_from_a_thread(output_of):
    out = output_of(
        """
        from gevent import monkey; monkey.patch_all()
        import os, threading, time, gevent
        def other():
            time.sleep(0.05)
        def fork():
            pid = os.fork()
            if not pid:
                assert threading.main_thread() is threading.current_thread()
                assert threading.enumerate() == [threading.current_thread()]
                assert not bystander.is_alive()
                time.sleep(0.1)
                os._exit(7)
            assert os.waitpid(pid, 0) == (pid, 7 << 8)
            assert bystander.is_alive() or bystander.ident
        for spawn in (lambda f: threading.Thread(target=f), None):
            bystander = threading.Thread(target=other)
            bystander.start()
            if spawn is None:
                gevent.spawn(fork).get()
            else:
                forker = spawn(fork)
                forker.start()
                forker.join()
            bystander.join()
        assert type(threading.main_thread()).__name__ == "_MainThread"
        print("done")
        """
    )
    assert out == "done\n"


def test_a_greenlet_that_forks_is_the_main_thread_of_the_child(output_of):
    out = output_of(
        """
        from gevent import monkey; monkey.patch_all()
        import os, threading, gevent
        def fork():
            assert "Dummy" in repr(threading.current_thread())
            pid = os.fork()
            if pid:
                assert os.waitpid(pid, 0) == (pid, 0)
                return
            try:
                main = threading.current_thread()
                assert main is threading.main_thread()
                assert main.is_alive()
                print(type(main).__name__, main.name, main.daemon, flush=True)
            finally:
                os._exit(main.name != "MainThread")
        gevent.spawn(fork).get()
        """
    )
    assert out == "_MainThread MainThread False\n"


def test_a_child_of_a_fork_ends_by_itself(output_of):
    out = output_of(
        """
        from gevent import monkey; monkey.patch_all()
        import os, sys, threading, gevent
        parent = os.getpid()
        def fork():
            pid = os.fork()
            if pid:
                print(os.waitpid(pid, 0)[1], flush=True)
        for start in (gevent.spawn, lambda f: threading.Thread(target=f)):
            forker = start(fork)
            forker.start()
            forker.join()
            if os.getpid() != parent:
                sys.exit()
        """
    )
    assert out.split() == ["0", "0"]


def test_logging_locks_become_cooperative(output_of):
    out = output_of(
        """
        import logging, io
        stream = io.StringIO()
        logging.basicConfig(stream=stream, format="%(message)s")
        from gevent import monkey; monkey.patch_all()
        import gevent, threading
        class Slow(logging.Filter):
            def filter(self, record):
                gevent.sleep(0.001)
                return True
        logging.getLogger().handlers[0].addFilter(Slow())
        threads = [threading.Thread(target=logging.warning, args=(n,)) for n in range(10)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        assert sorted(stream.getvalue().split()) == [str(n) for n in range(10)]
        print("done")
        """
    )
    assert out == "done\n"


def test_native_threads_and_greenlets_log_at_once(output_of):
    out = output_of(
        """
        from gevent import monkey; monkey.patch_all()
        import io, logging, gevent
        stream = io.StringIO()
        logging.basicConfig(stream=stream, level=logging.INFO)
        def work(name):
            for n in range(100): logging.info("%s %s", name, n)
        pool = gevent.get_hub().threadpool
        workers = [pool.spawn(work, n) for n in range(5)]
        workers += [gevent.spawn(work, n) for n in range(20)]
        with gevent.Timeout(20):
            gevent.joinall(workers, raise_error=True)
        print(len(stream.getvalue().splitlines()))
        """
    )
    assert out == "2500\n"


def test_multiprocessing_forks(output_of):
    out = output_of(
        """
        from gevent import monkey; monkey.patch_all()
        import multiprocessing
        context = multiprocessing.get_context("fork")
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=sender.send, args=("hello",))
        process.start()
        print(receiver.recv())
        process.join()
        print(process.exitcode)
        """
    )
    assert out == "hello\n0\n"


def test_held_import_locks_are_handed_over(output_of, tmp_path):
    (tmp_path / "patches.py").write_text("from gevent import monkey; monkey.patch_all()\n")
    (tmp_path / "imports_it.py").write_text("import patches\n")
    output_of("import imports_it", PYTHONPATH=str(tmp_path))


def test_executors_work_and_fork_safely(output_of):
    out = output_of(
        """
        from concurrent.futures import ThreadPoolExecutor
        from gevent import monkey; monkey.patch_all()
        import subprocess, sys
        with ThreadPoolExecutor(4) as pool:
            print(list(pool.map(lambda n: subprocess.call(["true"]), range(4))))
        """
    )
    assert out == "[0, 0, 0, 0]\n"


@pytest.mark.parametrize("flags", [(), ("-X", "dev", "-W", "error")])
def test_nothing_is_printed_at_the_end(flags):
    code = (
        "from gevent import monkey; monkey.patch_all()\n"
        "import gevent, threading, time\n"
        "gevent.spawn(time.sleep, 30); threading.current_thread()\n"
        "gevent.get_hub().threadpool.apply(len, ('x',)); time.sleep(0.01)\n"
    )
    done = subprocess.run(
        [sys.executable, *flags, "-c", code], capture_output=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
