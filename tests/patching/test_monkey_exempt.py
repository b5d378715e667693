"""Modules that keep the standard library without gevent in a patched process."""

import pytest

MODULE = """
import concurrent.futures.thread as pools
from concurrent.futures import ThreadPoolExecutor
import os, queue, select, signal, socket, ssl, subprocess, threading, time
from threading import Thread
from time import sleep

def in_thread(call):
    box = queue.Queue()
    thread = Thread(target=lambda: box.put((threading.get_ident(), call())))
    thread.start()
    thread.join()
    return box.get()

def in_pool(call):
    assert ThreadPoolExecutor is pools.ThreadPoolExecutor
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()
"""
PATCH = "from gevent import monkey; monkey.patch_all()\n"
EXEMPT = "from gevent import monkey\nwith monkey.unpatched():\n    import exempt\n"


@pytest.mark.parametrize(
    "begin",
    [PATCH + EXEMPT, EXEMPT + PATCH, "import ssl, queue\n" + PATCH + EXEMPT],
    ids=["after", "before", "imported"],
)
def test_an_exempt_module_has_native_threads_and_waits(run_python, tmp_path, begin):
    (tmp_path / "exempt.py").write_text(MODULE)
    result = run_python(
        f"""
import sys
{begin}
import concurrent.futures
import _thread, os, queue, select, signal, socket, ssl, subprocess, threading, time
import gevent
native = monkey.get_original("_thread", "get_ident")
ticks = []
def tick():
    while True:
        ticks.append(1)
        gevent.sleep(0.001)
gevent.spawn(tick)
# It blocks this thread, and its threads are others.
gevent.sleep(0.01)
count = len(ticks)
ident, value = exempt.in_thread(lambda: exempt.sleep(0.05) or native())
assert ident == value != native() and len(ticks) == count
assert exempt.in_pool(native) != native()
pipe = os.pipe()
assert exempt.select.select([pipe[0]], [], [], 0.01) == ([], [], [])
assert exempt.subprocess.run(["sh", "-c", "exit 3"]).returncode == 3
a, b = exempt.socket.socketpair()
assert a.getblocking() and not type(a).__module__.startswith("gevent")
assert len(ticks) == count
assert not exempt.ssl.SSLContext.__module__.startswith("gevent")
# Everybody else is patched.
thread = threading.Thread(target=lambda: ticks.append(native()))
thread.start()
thread.join()
assert native() in ticks
while len(ticks) <= count + 1:
    time.sleep(0.001)
for module in (_thread, os, queue, select, signal, socket, ssl, subprocess, threading, time):
    assert sys.modules[module.__name__] is module
    assert module is not getattr(exempt, module.__name__, None)
assert concurrent.futures.ThreadPoolExecutor is not exempt.ThreadPoolExecutor
assert type(socket.socket()).__module__.startswith("gevent")
# Waited for at the end of the program, as any thread that is no daemon.
exempt.Thread(target=lambda: (exempt.sleep(0.1), print("right"))).start()
""",
        PYTHONPATH=str(tmp_path),
        flags=["-W", "ignore"],
    )
    assert (result.stdout, result.stderr) == ("right\n", "")


def test_an_import_that_fails_leaves_everything_as_it_was(run_python, tmp_path):
    (tmp_path / "exempt.py").write_text("1 / 0")
    result = run_python(
        f"""
import sys
{PATCH}
before = dict(sys.modules)
try:
    with monkey.unpatched():
        import exempt
except ZeroDivisionError:
    print(all(sys.modules[name] is module for name, module in before.items()))
""",
        PYTHONPATH=str(tmp_path),
    )
    assert (result.stdout, result.stderr) == ("True\n", "")


OVERLAPPING = """
import sys, threading
from gevent import monkey; monkey.patch_all()
import gevent
usual = threading
with monkey.unpatched():
    import threading as native
    with monkey.unpatched():
        import threading as nested
    import threading as after
assert native is nested is after is not usual
assert sys.modules["threading"] is usual
entered, left = gevent.event.Event(), gevent.event.Event()

def first():
    with monkey.unpatched():
        entered.set()
        second_entered.wait(20)
    # The other block is still entered.
    assert sys.modules["threading"] is native
    left.set()

def second():
    entered.wait(20)
    with monkey.unpatched():
        second_entered.set()
        left.wait(20)
"""


def test_blocks_that_overlap(run_python):
    """Blocks of greenlets and of threads are not left in the reverse order of their beginnings."""
    result = run_python(
        OVERLAPPING
        + """
second_entered = gevent.event.Event()
gevent.joinall([gevent.spawn(first), gevent.spawn(second)], raise_error=True)
assert sys.modules["threading"] is usual
entered, left, second_entered = native.Event(), native.Event(), native.Event()
pool = gevent.get_hub().threadpool
gevent.joinall([pool.spawn(first), pool.spawn(second)], raise_error=True)
assert sys.modules["threading"] is usual

def killed():
    with monkey.unpatched():
        gevent.sleep(60)

greenlet = gevent.spawn(killed)
gevent.sleep(0)
assert sys.modules["threading"] is native
greenlet.kill()
assert sys.modules["threading"] is usual
print("right")
"""
    )
    assert (result.stdout, result.stderr) == ("right\n", "")


@pytest.mark.parametrize("patch", ["before", "after"])
def test_modules_of_gevent_that_are_first_imported_within_are_the_usual_ones(
    run_python, tmp_path, patch
):
    (tmp_path / "exempt.py").write_text(
        "import gevent.pywsgi, gevent.selectors, gevent.subprocess, threading, subprocess\n"
    )
    result = run_python(
        f"""
import sys
from gevent import monkey
{"monkey.patch_all()" if patch == "before" else ""}
with monkey.unpatched():
    import exempt
{"" if patch == "before" else "monkey.patch_all()"}
import selectors, subprocess, threading
import gevent.selectors, gevent.subprocess
from gevent.monkey._state import native
assert native["threading"] is exempt.threading is not threading
assert gevent.selectors._selectors is selectors
assert subprocess.Popen is gevent.subprocess.Popen is not exempt.subprocess.Popen
assert issubclass(subprocess.Popen, monkey.get_original("subprocess", "Popen"))
copies = set(map(id, native.values()))
found = [
    (name, attribute)
    for name, module in list(sys.modules.items())
    if name.partition(".")[0] == "gevent"
    for attribute, value in vars(module).items()
    if id(value) in copies
]
print(found)
""",
        PYTHONPATH=str(tmp_path),
    )
    assert (result.stdout, result.stderr) == ("[]\n", "")


def test_modules_that_are_exempt_wherever_they_are_imported(run_python, tmp_path):
    package = tmp_path / "exempt"
    package.mkdir()
    (package / "__init__.py").write_text("import threading\n")
    (package / "part.py").write_text("import socket\n")
    (tmp_path / "exempted.py").write_text("import threading\n")
    (tmp_path / "imported.py").write_text("import threading\n")
    result = run_python(
        """
import importlib, sys, warnings
import imported
from gevent import monkey
assert monkey.patch_all(exempt=["exempt"]) is True
import exempt, exempted, socket, threading

def later():
    import exempt.part

later()
assert exempt.threading is not threading
assert exempt.part.socket is not socket
assert exempted.threading is threading is sys.modules["threading"]
assert exempt.__loader__ is exempt.__spec__.loader
native = exempt.threading
importlib.reload(exempt)
assert exempt.threading is native
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    assert monkey.patch_all(exempt=["exempt", "imported"]) is None
print([(str(one.message), one.category.__name__, one.filename) for one in caught])
for wrong in ("exempt", [1], ["socket"]):
    try:
        monkey.patch_all(exempt=wrong)
    except (TypeError, ValueError) as error:
        print(error)
""",
        PYTHONPATH=str(tmp_path),
    )
    assert result.stderr == ""
    assert result.stdout.splitlines() == [
        "[(\"Modules that were imported before they became exempt: ['imported']\", "
        "'MonkeyPatchWarning', '<string>')]",
        "exempt must be a list of names, not 'exempt'",
        "exempt must be a list of names, and has 1",
        "socket cannot be exempt: an argument of its own leaves it unpatched",
    ]


def test_nothing_is_patched_within(run_python):
    result = run_python("""
from gevent import monkey
for patch in (monkey.patch_all, monkey.patch_thread, monkey.patch_time, monkey.patch_dns):
    try:
        with monkey.unpatched():
            patch()
    except RuntimeError as error:
        print(error)
import threading, time
assert not monkey.is_module_patched("time")
assert monkey.patch_all() is True
assert time.sleep.__module__ != "time" and monkey.is_module_patched("threading")
with monkey.unpatched():
    # There is nothing left to do.
    assert monkey.patch_all() is None
""")
    message = "Nothing can be patched within a block of monkey.unpatched()\n"
    assert (result.stdout, result.stderr) == (4 * message, "")


def test_an_executor_that_is_idle_at_the_end_does_not_keep_the_program(run_python):
    done = run_python("""
        from gevent import monkey; monkey.patch_all()

        with monkey.unpatched():
            from concurrent.futures.thread import ThreadPoolExecutor
        executor = ThreadPoolExecutor(2)
        print(executor.submit(abs, -1).result())
    """)
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")


def test_a_profiler_that_is_left_alone_sees_all_greenlets(run_python):
    pytest.importorskip("pyinstrument", reason="pyinstrument has no release for this version yet")
    done = run_python(
        """
        from gevent import monkey; monkey.patch_all()

        with monkey.unpatched():
            import pyinstrument
        import threading, time
        import gevent

        # It counts seconds of the processor, as a busy machine may let neither thread run.
        def compute():
            end = time.process_time() + 0.2
            while time.process_time() < end:
                len("x")

        def waits():
            for _ in range(20):
                time.sleep(0.002)
                compute_a_little()

        def compute_a_little():
            end = time.process_time() + 0.01
            while time.process_time() < end:
                len("x")

        def names(frame):
            return {frame.function}.union(*map(names, frame.children)) if frame else set()

        # Some of pyinstrument's sessions have no samples at all, without gevent too.
        for _ in range(20):
            # Its thread is a native one, which goes on while greenlets compute.
            profiler = pyinstrument.Profiler(0.001, async_mode="disabled", use_timing_thread=True)
            profiler.start()
            waiter = gevent.spawn(waits)
            compute()
            waiter.join()
            found = names(profiler.stop().root_frame())
            found &= {"compute", "waits", "compute_a_little"}
            if len(found) == 3:
                break

        print(sorted(found))
        print(threading.active_count())
        """
    )
    assert (done.stdout, done.stderr) == ("['compute', 'compute_a_little', 'waits']\n1\n", "")
