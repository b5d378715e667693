"""Tools that trace in C see whose frame each line is in: coverage, profilers."""

import json
import sys
from pathlib import Path

import pytest

BODY = """
import gevent
def run(turns, wait):
    for turn in range(turns):
        wait()
        one = turn
        two = one
    three = turns
    return three
"""

PROGRAM = """
import sys
import gevent, gevent.event, gevent.queue, gevent.socket
import one, two

def waits():
    first, second = gevent.socket.socketpair()
    queues = gevent.queue.Queue(), gevent.queue.Queue()
    timer = gevent.event.Event()
    sent = [0, 0]
    def ping(mine, other):
        def wait():
            mine.send(b"x")
            mine.recv(1)
        return wait
    def exchange(mine, other):
        def wait():
            other.put(1)
            mine.get()
        return wait
    return {
        "sleep(0)": (lambda: gevent.sleep(0),) * 2,
        "sleep": (lambda: gevent.sleep(0.0001),) * 2,
        "event": (lambda: timer.wait(0.0001),) * 2,
        "socket": (ping(first, second), ping(second, first)),
        "queue": (exchange(queues[0], queues[1]), exchange(queues[1], queues[0])),
        "timeout": (limited,) * 2,
    }

def limited():
    with gevent.Timeout(0.0001, False):
        gevent.sleep(1)

here = waits()[sys.argv[1]]
jobs = [gevent.spawn(module.run, 4, wait) for module, wait in zip((one, two), here)]
gevent.sleep(0.01)
a = 1
b = 2
gevent.joinall(jobs)
c = 3
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "one.py").write_text(BODY)
    (tmp_path / "two.py").write_text("#\n" * 30 + BODY)
    (tmp_path / "prog.py").write_text(PROGRAM)
    return tmp_path


WAITS = ["sleep(0)", "sleep", "event", "socket", "queue", "timeout"]


@pytest.mark.parametrize("wait", WAITS)
def test_coverage_records_every_line_that_ran(folder, run_python, wait):
    pytest.importorskip("coverage")
    done = run_python(
        f"""
        import os, runpy, sys
        os.chdir({str(folder)!r}); sys.path.insert(0, ".")
        sys.argv[:] = ["prog.py", {wait!r}]
        import coverage
        measured = coverage.Coverage(
            data_file=None, concurrency="gevent", include=["one.py", "two.py", "prog.py"],
        )
        measured.start()
        runpy.run_path("prog.py", run_name="__main__")
        measured.stop()
        measured.json_report(outfile="report.json")
        """,
        timeout=60,
        COVERAGE_CORE="ctrace",
    )
    assert (done.returncode, done.stderr) == (0, "")
    files = json.loads((folder / "report.json").read_text())["files"]
    assert [files[name]["missing_lines"] for name in ("one.py", "two.py")] == [[], []]
    ran_at_the_end = {
        number for number, line in enumerate(PROGRAM.splitlines(), 1) if line in ("a = 1", "c = 3")
    }
    assert ran_at_the_end <= set(files["prog.py"]["executed_lines"])


@pytest.mark.parametrize("wait", WAITS)
def test_cprofile_counts_every_call(folder, run_python, wait):
    done = run_python(
        f"""
        import os, sys
        os.chdir({str(folder)!r}); sys.path.insert(0, ".")
        sys.argv[:] = ["prog.py", {wait!r}]
        import cProfile, pstats
        profile = cProfile.Profile()
        program = compile(open("prog.py").read(), "prog.py", "exec")
        profile.enable()
        exec(program, {{"__name__": "__main__"}})
        profile.disable()
        calls = {{}}
        for (file, line, name), (_, count, *_) in pstats.Stats(profile).stats.items():
            if file.endswith(("one.py", "two.py")) and name == "run":
                calls[os.path.basename(file)] = count
        print(sorted(calls.items()))
        """,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "[('one.py', 1), ('two.py', 1)]\n"


@pytest.mark.parametrize("wait", WAITS)
def test_a_debuggers_trace_function_stops_in_no_frame_of_the_package(folder, run_python, wait):
    done = run_python(
        f"""
        import os, sys
        os.chdir({str(folder)!r}); sys.path.insert(0, ".")
        sys.argv[:] = ["prog.py", {wait!r}]
        import gevent, gevent.event, gevent.queue, gevent.socket
        seen = set()
        def trace(frame, event, argument):
            seen.add(frame.f_code.co_name)
            return trace
        program = compile(open("prog.py").read(), "prog.py", "exec")
        sys.settrace(trace)
        exec(program, {{"__name__": "__main__"}})
        sys.settrace(None)
        print("run" in seen, "_resumed" in seen)
        """,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "True False\n"


PROFILERS = {
    "yappi": """
        import yappi
        yappi.set_context_backend("greenlet")
        yappi.start()
        exec(program, {"__name__": "__main__"})
        yappi.stop()
        stats = yappi.get_func_stats()
        ours = [s for s in stats if s.module.endswith(("one.py", "two.py")) and s.name == "run"]
        print(sorted((os.path.basename(s.module), s.ncall) for s in ours))
    """,
    "line_profiler": """
        from line_profiler import LineProfiler
        import one, two
        profile = LineProfiler(one.run, two.run)
        profile.enable()
        exec(program, {"__name__": "__main__"})
        profile.disable()
        for (file, *_), lines in sorted(profile.get_stats().timings.items()):
            print(os.path.basename(file), [hits for _, hits, _ in lines])
    """,
}
COUNTS = {
    "yappi": "[('one.py', 1), ('two.py', 1)]\n",
    "line_profiler": "one.py [5, 4, 4, 4, 1, 1]\ntwo.py [5, 4, 4, 4, 1, 1]\n",
}


@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.parametrize("profiler", PROFILERS)
def test_profilers_count_exactly(folder, run_python, profiler, wait):
    if profiler == "yappi" and sys.version_info >= (3, 15):
        pytest.skip("yappi cannot be compiled for CPython 3.15 yet")
    pytest.importorskip(profiler)
    prelude = f"""
        import os, sys
        os.chdir({str(folder)!r}); sys.path.insert(0, ".")
        sys.argv[:] = ["prog.py", {wait!r}]
        program = compile(open("prog.py").read(), "prog.py", "exec")
    """
    done = run_python(prelude + PROFILERS[profiler], timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == COUNTS[profiler]
