"""Differences between CPython's versions, each tested under the version that runs."""

import sys
import textwrap

import pytest

PATCHED = "from gevent import monkey; monkey.patch_all()\n"

PY314 = pytest.mark.skipif(sys.version_info < (3, 14), reason="CPython 3.14 does so first")
PY315 = pytest.mark.skipif(sys.version_info < (3, 15), reason="CPython 3.15 does so first")


def test_waiting_greenlets_begin_with_little_memory(output_of):
    # One that begins with a block of CPython's, and so with a page of its own, takes twice as much.
    taken = output_of(
        """
        import gevent

        def resident():
            with open("/proc/self/smaps_rollup") as file:
                return next(int(line.split()[1]) for line in file if line.startswith("Rss:")) * 1024

        def wait():
            gevent.sleep(100)

        def count():
            global started
            started += 1
            wait()

        def start(number):
            global started
            started = 0
            greenlets = [gevent.spawn(count) for _ in range(number)]
            while started < number:
                gevent.sleep(0)
            return greenlets

        gevent.killall(start(100))
        before = resident()
        greenlets = start(10_000)
        print((resident() - before) // 10_000)
        """
    )
    assert int(taken) < 5000


# CPython 3.14 renamed the attribute that holds a thread's handle: each name is free elsewhere.
FREE = ["_os_thread_handle"] if sys.version_info < (3, 14) else ["_handle"]


@pytest.mark.parametrize("attribute", FREE)
def test_attributes_of_a_thread_class_are_its_own(output_of, attribute):
    code = f"""
        import threading, time
        class Own(threading.Thread):
            def __init__(self):
                super().__init__()
                self.{attribute} = "mine"
            def run(self):
                with go:
                    pass
        go = threading.Lock()
        go.acquire()
        early = Own()
        early.start()
        from gevent import monkey
        monkey.patch_all()
        go.release()
        early.join(20)
        late = Own()
        late.start()
        late.join(20)
        for thread in early, late:
            print(thread.is_alive(), thread.{attribute})
    """
    assert output_of(code) == "False mine\n" * 2


@PY314
def test_threads_in_greenlets_do_not_rename_the_program(output_of):
    code = """
        import gevent, os, threading
        def name():
            with open("/proc/thread-self/comm") as file:
                return file.read().strip()
        before = name()
        def rename():
            threading.current_thread().name = "another"
        for target in (rename, lambda: None):
            thread = threading.Thread(target=target, name="of a greenlet")
            thread.start()
            thread.join()
        gevent.spawn(rename).join()
        print(name() == before)
        threading.current_thread().name = "the program"
        print(name())
        def native():
            rename()
            print(name())
            done.release()
        done = monkey.get_original("_thread", "allocate_lock")()
        done.acquire()
        monkey.get_original("_thread", "start_new_thread")(native, ())
        done.acquire()
        print(name())
        import gevent.thread
        gevent.spawn(gevent.thread.set_name, "asked for").join()
        print(name())
    """
    assert output_of(PATCHED + textwrap.dedent(code)).splitlines() == [
        "True",
        "the program",
        "another",
        "the program",
        "asked for",
    ]


@PY315
@pytest.mark.parametrize("how", ["-X", "environment"])
def test_patching_where_all_imports_are_lazy(run_python, how):
    code = PATCHED + textwrap.dedent(
        """
        import queue, select, socket, ssl, subprocess, threading, urllib.request
        import gevent, gevent.pool, gevent.pywsgi, gevent.server

        def import_at_once(name):
            imported.append(__import__(name, fromlist=["x"]).__name__)

        imported = []
        names = ["concurrent.futures", "email.mime.text", "http.server", "xml.dom.minidom"] * 4
        threads = [threading.Thread(target=import_at_once, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(sorted(imported) == sorted(names))

        def application(environ, start_response):
            start_response("200 OK", [])
            return [b"answer"]

        server = gevent.pywsgi.WSGIServer(("127.0.0.1", 0), application, log=None)
        server.start()
        print(urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/").read())
        server.stop()
        print(subprocess.check_output(["echo", "hello"]))
        print(sum(gevent.pool.Pool(2).map(int, "123")))
        """
    )
    if how == "-X":
        result = run_python(code, flags=["-X", "lazy_imports=all"])
    else:
        result = run_python(code, PYTHON_LAZY_IMPORTS="all")
    assert (result.stderr, result.returncode) == ("", 0)
    assert result.stdout.splitlines() == ["True", "b'answer'", "b'hello\\n'", "6"]


def test_arguments_of_a_reentrant_lock(output_of):
    # CPython 3.15 refuses them; before, they are ignored.
    code = """
        import threading, warnings
        warnings.simplefilter("ignore")

        def judge():
            found = []
            for args, kwargs in (((), {}), ((1,), {}), ((), {"x": 1})):
                try:
                    threading._CRLock(*args, **kwargs)
                    found.append("made")
                except TypeError:
                    found.append("refused")
            return found

        plain = judge()
        from gevent import monkey; monkey.patch_all()
        assert judge() == plain, (judge(), plain)
        print(*plain)
    """
    assert output_of(textwrap.dedent(code)).startswith("made ")
