"""Patching: what it replaces, when it refuses or warns, and what patched programs do."""

import sys

import pytest


def ok(result):
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def test_patch_all_replaces_and_remembers(run_python):
    out = ok(
        run_python(
            """
            import socket, time, threading, _thread, select, selectors, queue
            native = time.sleep
            from gevent import monkey
            assert monkey.get_original("time", "sleep") is native
            assert not monkey.saved and not monkey.is_module_patched("time")
            assert monkey.patch_all() is True
            import gevent.queue, gevent.socket, gevent.thread
            assert time.sleep is not native and monkey.get_original("time", "sleep") is native
            assert monkey.is_object_patched("time", "sleep")
            assert not monkey.is_object_patched("time", "time")
            assert socket.socket is gevent.socket.socket
            assert threading.Lock is _thread.allocate_lock is gevent.thread.LockType
            assert queue.SimpleQueue is gevent.queue.SimpleQueue
            assert not hasattr(select, "epoll")
            assert monkey.get_original("select", ["select", "epoll"])[1].__name__ == "epoll"
            assert selectors.DefaultSelector.__module__ == "gevent.selectors"
            for module in "os subprocess signal ssl".split():
                assert monkey.is_module_patched(module), module
            print("done")
            """
        )
    )
    assert out == "done\n"


def test_arguments_leave_things_alone(run_python):
    out = ok(
        run_python(
            """
            import socket, select, threading, ssl
            from gevent import monkey
            monkey.patch_all(dns=False, aggressive=False, Event=False, ssl=False, queue=False)
            assert not monkey.is_object_patched("socket", "getaddrinfo")
            assert monkey.is_object_patched("socket", "socket")
            assert hasattr(select, "epoll")
            assert not monkey.is_object_patched("threading", "Event")
            assert not monkey.is_module_patched("ssl") and not monkey.is_module_patched("queue")
            print("done")
            """
        )
    )
    assert out == "done\n"


def test_events_come_in_order_and_can_veto(run_python):
    out = ok(
        run_python(
            """
            from gevent import events, monkey
            seen = []
            def subscriber(event):
                name = getattr(event, "module_name", "")
                seen.append((type(event).__name__.removeprefix("Gevent"), name))
                if isinstance(event, events.GeventWillPatchModuleEvent) and name == "ssl":
                    raise events.DoNotPatch
            events.subscribers.append(subscriber)
            monkey.patch_all(mine=1)
            assert seen[0] == ("WillPatchAllEvent", "")
            assert seen[1:3] == [("WillPatchModuleEvent", "os"), ("DidPatchModuleEvent", "os")]
            assert seen[-2:] == [("DidPatchBuiltinModulesEvent", ""), ("DidPatchAllEvent", "")]
            assert ("WillPatchModuleEvent", "ssl") in seen
            assert ("DidPatchModuleEvent", "ssl") not in seen
            assert not monkey.is_module_patched("ssl") and monkey.is_module_patched("socket")
            print("done")
            """
        )
    )
    assert out == "done\n"


def test_veto_of_everything(run_python):
    out = ok(
        run_python(
            """
            import time
            from gevent import events, monkey
            def subscriber(event):
                raise events.DoNotPatch
            events.subscribers.append(subscriber)
            assert monkey.patch_all() is False
            assert monkey.patch_time() is None and monkey.patch_thread() is None
            assert not monkey.is_module_patched("time")
            print("done")
            """
        )
    )
    assert out == "done\n"


def test_patching_again_adds_with_a_warning(run_python):
    out = ok(
        run_python(
            """
            import warnings, time
            from gevent import monkey
            native = time.sleep
            monkey.patch_all(time=False)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                assert monkey.patch_all(time=False) is None and not caught
                assert monkey.patch_all() is True
                assert monkey.patch_all(os=False) is None
            assert [(w.category, w.filename) for w in caught] == 2 * [
                (monkey.MonkeyPatchWarning, "<string>")]
            assert all("more than once" in str(w.message) for w in caught)
            assert monkey.get_original("time", "sleep") is native is not time.sleep
            print("done")
            """
        )
    )
    assert out == "done\n"


@pytest.mark.parametrize(
    ("prelude", "arguments", "message"),
    [
        ("", "os=False", "Patching signal but not os will result in SIGCHLD handlers"),
        ("from ssl import SSLContext", "", "Modules that had direct imports (NOT patched): ['__ma"),
        ("import ssl\nclass Mine(ssl.SSLContext): pass", "", 'Subclasses (NOT patched): ["<class'),
    ],
)
def test_warnings_for_late_or_partial_patching(run_python, prelude, arguments, message):
    code = f"""
import warnings
{prelude}
from gevent import monkey
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    monkey.patch_all({arguments})
print(*[w.message for w in caught if issubclass(w.category, monkey.MonkeyPatchWarning)], sep="|")
"""
    out = ok(run_python(code))
    assert message in out
    assert "|" not in out


def test_importing_ssl_first_is_no_fault(run_python):
    code = "import ssl, http.client, urllib.request; from gevent import monkey; monkey.patch_all()"
    ok(run_python(code, PYTHONWARNINGS="error"))


def test_patching_in_a_thread_warns(run_python):
    out = ok(
        run_python(
            """
            import threading, warnings
            from gevent import monkey
            def patch():
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    monkey.patch_all()
                print(*[w.message for w in caught], sep="|")
            thread = threading.Thread(target=patch)
            thread.start()
            thread.join()
            """
        )
    )
    first, second = out.split("|")
    assert first.startswith("Monkey-patching outside the main native thread.")
    assert second.startswith("Monkey-patching not on the main thread;")


def test_patch_module_calls_hooks_and_checks(run_python):
    out = ok(
        run_python(
            """
            import types, warnings
            from gevent import events, monkey
            target, source = types.ModuleType("target"), types.ModuleType("source")
            target.x, target.y, source.x, source.y, source.z = 1, 1, 2, 2, 2
            try:
                monkey.patch_module(target, source)
            except AttributeError as error:
                print(error)
            source.__implements__ = ["x", "y", "z"]
            def will(module, items, warn, **kwargs):
                assert module is target
                items.remove("y")
                warn("careful")
            source._gevent_will_monkey_patch = will
            source._gevent_did_monkey_patch = lambda module, items, warn: print(items)
            with warnings.catch_warnings(record=True) as caught:
                assert monkey.patch_module(target, source) is True
            print(caught[0].message, target.x, target.y, target.z, monkey.saved["target"])
            def refuse(module, items, warn, **kwargs):
                raise events.DoNotPatch
            source._gevent_will_monkey_patch = refuse
            print(monkey.patch_module(target, source))
            """
        )
    )
    assert out.splitlines() == [
        "Module <module 'source'> has a bad or missing value for __implements__",
        "['x', 'z']",
        "careful 2 1 2 {'x': 1}",
        "False",
    ]


def test_get_original_of_what_is_missing():
    from gevent import monkey

    with pytest.raises(AttributeError, match="nosuch"):
        monkey.get_original("os", "nosuch")
    with pytest.raises(ImportError, match="nosuch_b"):
        monkey.get_original(("nosuch_a", "nosuch_b"), "x")
    assert monkey.get_original(("nosuch_a", "os"), "getpid")() > 0


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(
        "import sys, beside\n"
        "from gevent import monkey\n"
        "print(sys.argv[1:], __name__, *sorted(m for m in monkey.saved if m[0] != '_'))\n"
        "sys.exit(3)\n"
    )
    (tmp_path / "beside.py").touch()
    return path


def run_main(run_python, *argv):
    # run_python runs code; the runner is a module.
    return run_python("import runpy; runpy.run_module('gevent.monkey', None, '__main__')", *argv)


def test_main_runs_a_script(run_python, script):
    result = run_main(run_python, "--no-ssl", "--no-thread", str(script), "--no-time", "x")
    assert result.returncode == 3
    assert result.stdout == (
        "['--no-time', 'x'] __main__ os queue select selectors signal socket subprocess time\n"
    )


def test_main_patches_only_what_is_named(run_python, script):
    result = run_main(run_python, "--time", "--queue", str(script))
    assert (result.returncode, result.stdout) == (3, "[] __main__ queue time\n")


def test_main_describes_when_verbose(run_python, script):
    lines = run_main(run_python, "--verbose", "--no-dns", str(script)).stdout.splitlines()
    assert lines[0] == "gevent.monkey.patch_all(dns=False)"
    assert lines[1].startswith("sys.version=")


@pytest.mark.parametrize(
    ("argv", "status", "stdout", "stderr"),
    [
        ([], 0, "USAGE: python -m gevent.monkey", ""),
        (["--nosuch", "x"], 1, "", "Cannot patch 'nosuch'"),
        (["/nosuch.py"], 2, "", "can't open file '/nosuch.py': [Errno 2] No such file or dir"),
        (["--module", "no.such"], 1, "", "No module named no.such"),
    ],
)
def test_main_refuses_like_the_interpreter(run_python, argv, status, stdout, stderr):
    result = run_main(run_python, *argv)
    assert result.returncode == status
    assert stdout in result.stdout
    assert stderr in result.stderr
    assert "Traceback" not in result.stderr


def test_an_unaware_program_downloads_at_once(run_python):
    out = ok(
        run_python(
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
    )
    assert out == "done\n"


def test_threads_are_greenlets_of_one_thread(run_python):
    out = ok(
        run_python(
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
    )
    assert out == "done\n"


def test_the_threads_of_other_greenlets_come_and_go(run_python):
    out = ok(
        run_python(
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
            gevent.sleep(0.05)
            assert raw.dead
            del raw
            assert threading.active_count() == 1
            print("done")
            """
        )
    )
    assert out == "done\n"


def test_native_threads_from_before_can_be_joined(run_python):
    out = ok(
        run_python(
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
    )
    assert out == "done\n"


def test_the_end_waits_for_threads_but_not_for_daemons(run_python):
    out = ok(
        run_python(
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


def test_a_fork_from_a_thread(run_python):
    out = ok(
        run_python(
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
    )
    assert out == "done\n"


def test_a_greenlet_that_forks_is_the_main_thread_of_the_child(run_python):
    out = ok(
        run_python(
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
    )
    assert out == "_MainThread MainThread False\n"


def test_a_child_of_a_fork_ends_by_itself(run_python):
    out = ok(
        run_python(
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
    )
    assert out.split() == ["0", "0"]


def test_logging_locks_become_cooperative(run_python):
    out = ok(
        run_python(
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
    )
    assert out == "done\n"


def test_native_threads_and_greenlets_log_at_once(run_python):
    out = ok(
        run_python(
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
    )
    assert out == "2500\n"


def test_multiprocessing_forks(run_python):
    out = ok(
        run_python(
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
    )
    assert out == "hello\n0\n"


def test_held_import_locks_are_handed_over(run_python, tmp_path):
    (tmp_path / "patches.py").write_text("from gevent import monkey; monkey.patch_all()\n")
    (tmp_path / "imports_it.py").write_text("import patches\n")
    ok(run_python("import imports_it", PYTHONPATH=str(tmp_path)))


def test_executors_work_and_fork_safely(run_python):
    out = ok(
        run_python(
            """
            from concurrent.futures import ThreadPoolExecutor
            from gevent import monkey; monkey.patch_all()
            import subprocess, sys
            with ThreadPoolExecutor(4) as pool:
                print(list(pool.map(lambda n: subprocess.call(["true"]), range(4))))
            """
        )
    )
    assert out == "[0, 0, 0, 0]\n"


@pytest.mark.parametrize("flags", [(), ("-X", "dev", "-W", "error")])
def test_nothing_is_printed_at_the_end(flags):
    import subprocess

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
