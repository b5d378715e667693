"""Patching: what it replaces, when it refuses or warns, and how a script is run patched."""

import pytest


def test_patch_all_replaces_and_remembers(output_of):
    out = output_of(
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
        assert select.epoll.__module__ == "gevent.select"
        assert monkey.get_original("select", ["select", "epoll"])[1].__name__ == "epoll"
        assert selectors.DefaultSelector.__module__ == "gevent.selectors"
        for module in "os subprocess signal ssl".split():
            assert monkey.is_module_patched(module), module
        print("done")
        """
    )
    assert out == "done\n"


def test_arguments_leave_things_alone(output_of):
    out = output_of(
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
    assert out == "done\n"


def test_events_come_in_order_and_can_veto(output_of):
    out = output_of(
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
    assert out == "done\n"


def test_veto_of_everything(output_of):
    out = output_of(
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
    assert out == "done\n"


def test_patching_again_adds_with_a_warning(output_of):
    out = output_of(
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
    assert out == "done\n"


@pytest.mark.parametrize(
    ("prelude", "arguments", "message"),
    [
        ("", "os=False", "Patching signal but not os will result in SIGCHLD handlers"),
        ("from ssl import SSLContext", "", "Modules that had direct imports (NOT patched): ['__ma"),
        ("import ssl\nclass Mine(ssl.SSLContext): pass", "", 'Subclasses (NOT patched): ["<class'),
    ],
)
def test_warnings_for_late_or_partial_patching(output_of, prelude, arguments, message):
    code = f"""
import warnings
{prelude}
from gevent import monkey
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    monkey.patch_all({arguments})
print(*[w.message for w in caught if issubclass(w.category, monkey.MonkeyPatchWarning)], sep="|")
"""
    out = output_of(code)
    assert message in out
    assert "|" not in out


def test_importing_ssl_first_is_no_fault(output_of):
    code = "import ssl, http.client, urllib.request; from gevent import monkey; monkey.patch_all()"
    output_of(code, PYTHONWARNINGS="error")


def test_patching_in_a_thread_warns(output_of):
    out = output_of(
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
    first, second = out.split("|")
    assert first.startswith("Monkey-patching outside the main native thread.")
    assert second.startswith("Monkey-patching not on the main thread;")


def test_patching_in_a_greenlet(output_of):
    out = output_of(
        """
        import gevent, warnings
        from gevent import monkey
        warnings.simplefilter("error")
        def patch():
            monkey.patch_all()
            import threading, time
            main = threading.main_thread()
            work = lambda: (time.sleep(0.05), print("thread"))
            threading.Thread(target=work, daemon=False).start()
            print(threading.current_thread() is main)
        gevent.spawn(patch).get()
        import threading
        print(threading.current_thread() is threading.main_thread())
        """
    )
    assert out == "False\nTrue\nthread\n"


def test_first_hubs_of_several_threads_at_once(output_of):
    out = output_of(
        """
        from gevent import monkey; monkey.patch_all()
        import gevent, threading
        start = monkey.get_original("_thread", "start_new_thread")
        make_lock = monkey.get_original("_thread", "allocate_lock")
        ends = [make_lock() for _ in range(8)]
        def use_hub(end):
            gevent.sleep(0.001)
            end.release()
        for end in ends:
            end.acquire()
            start(use_hub, (end,))
        gevent.sleep(0.001)
        print(all(end.acquire(timeout=20) for end in ends))
        """
    )
    assert out == "True\n"


def test_patch_module_calls_hooks_and_checks(output_of):
    out = output_of(
        """
        import types, warnings
        from gevent import events, monkey
        target, source = types.ModuleType("target"), types.ModuleType("source")
        target.x, target.y, source.x, source.y, source.z = 1, 1, 2, 2, 2
        try:
            monkey.patch_module(target, source)
        except AttributeError as error:
            print(error)
        try:
            monkey.patch_module(target, source, ["x", "missing"])
        except AttributeError as error:
            print(error, target.x)
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
    assert out.splitlines() == [
        "Module <module 'source'> has a bad or missing value for __implements__",
        "module 'source' has no attribute 'missing' 1",
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
