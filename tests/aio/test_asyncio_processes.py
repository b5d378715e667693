"""asyncio in a patched process: children, forks, native threads, and what a loop leaves."""

import pytest

PATCHED = """
from gevent import monkey; monkey.patch_all()
import asyncio, logging, os, sys, threading, time
import gevent

# In debug mode it warns of what takes long, as everything may on a busy machine.
logging.getLogger("asyncio").setLevel(logging.ERROR)

def running():
    return asyncio._get_running_loop()
"""


def test_a_child_goes_on_with_its_loops(output_of):
    # As of a thread that forks, the loop of the greenlet that forks does not run in the child.
    out = output_of(
        PATCHED
        + """
async def other():
    mine = asyncio.get_running_loop()
    for _ in range(50):
        await asyncio.sleep(0.001)
        assert asyncio.get_running_loop() is mine
    return "other's"

async def main():
    mine = asyncio.get_running_loop()
    await asyncio.sleep(0.001)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            assert running() is None
            assert asyncio.run(asyncio.sleep(0.001, "child's")) == "child's"
            if mode == "lives on":
                assert beside.get() == "other's"
            gevent.sleep(0)
            assert running() is None
            status = 7
        finally:
            os._exit(status)
    assert running() is mine
    _, status = await asyncio.to_thread(os.waitpid, pid, 0)
    assert running() is mine
    return os.waitstatus_to_exitcode(status)

for mode in ("alone", "lives on"):
    beside = gevent.spawn(lambda: asyncio.run(other()))
    gevent.sleep(0.005)
    print(gevent.spawn(lambda: asyncio.run(main())).get(), beside.get())
"""
    )
    assert out == "7 other's\n" * 2


def test_native_threads(output_of):
    out = output_of(
        PATCHED
        + """
from gevent.threadpool import ThreadPool
async def main(n):
    mine = asyncio.get_running_loop()
    time.sleep(0.001)
    gevent.spawn(lambda: seen.append(running())).join()
    await asyncio.sleep(0.001)
    gevent.sleep(0.001)
    assert asyncio.get_running_loop() is mine
    return n

seen = []
pool = ThreadPool(4)
native = [pool.spawn(lambda n=n: asyncio.run(main(n))) for n in range(8)]
greenlets = [gevent.spawn(lambda n=n: asyncio.run(main(n))) for n in range(8)]
print([each.get() for each in native] == [each.get() for each in greenlets] == [*range(8)])
print(seen == [None] * 16)
"""
    )
    assert out == "True\nTrue\n"


def test_children_of_coroutines(output_of):
    out = output_of(
        PATCHED
        + """
async def main(n):
    child = await asyncio.create_subprocess_exec(
        "sh", "-c", f"cat; exit {n}", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    text, _ = await child.communicate(b"%d" % n)
    return int(text), child.returncode

everyone = [gevent.spawn(lambda n=n: asyncio.run(main(n))) for n in range(5)]
print([each.get() for each in everyone] == [(n, n) for n in range(5)])
print(asyncio.run(main(5)))
""",
        flags=["-W", "ignore::DeprecationWarning"],
    )
    assert out == "True\n(5, 5)\n"


def test_a_loop_that_is_left_set_ends_with_its_greenlet(output_of):
    out = output_of(
        PATCHED
        + """
import greenlet
seen = []
def leaves():
    asyncio._set_running_loop(loop)

loop = asyncio.new_event_loop()
for spawn in (gevent.spawn, gevent.spawn_raw):
    spawn(leaves)
    gevent.spawn(lambda: seen.append(running()))
    gevent.sleep(0.001)
    seen.append(running())
# It is still known which loops run.
def sets():
    asyncio._set_running_loop(loop)
    gevent.sleep(0.002)
    seen.append(running() is loop)
    asyncio._set_running_loop(None)
runner = gevent.spawn(sets)
gevent.sleep(0.001)
seen.append(running())
runner.join()
print(seen)
loop.close()
"""
    )
    assert out == "[None, None, None, None, None, True]\n"


def test_odd_things_among_the_modules(output_of):
    out = output_of(
        """
        import sys
        class Odd:
            __dict__ = None
            def __getattr__(self, name):
                raise ZeroDivisionError
        sys.modules.update(odd=Odd(), nothing=None, number=5)
        import asyncio, ssl, warnings
        warnings.simplefilter("ignore")
        from gevent import monkey; monkey.patch_all()
        print(asyncio.run(asyncio.sleep(0, "ran")), monkey.is_module_patched("ssl"))
        """
    )
    assert out == "ran True\n"


def test_a_program_patched_by_a_coroutine(output_of):
    out = output_of(
        """
        import asyncio
        async def main():
            mine = asyncio.get_running_loop()
            from gevent import monkey; monkey.patch_all()
            import gevent, time
            seen = []
            gevent.spawn(lambda: seen.append(asyncio._get_running_loop()))
            time.sleep(0.001)
            other = gevent.spawn(lambda: asyncio.run(asyncio.sleep(0.001, "other's"))).get()
            return seen, asyncio.get_running_loop() is mine, other
        print(asyncio.run(main()))
        """,
        flags=["-W", "ignore"],
    )
    assert out == '([None], True, "other\'s")\n'


def test_signals_reach_the_main_greenlet_s_loop(output_of):
    out = output_of(
        PATCHED
        + """
import signal
async def main():
    gevent.spawn_later(0.01, os.kill, os.getpid(), signal.SIGINT)
    try:
        await asyncio.sleep(20)
    except asyncio.CancelledError:
        print("cancelled")
        raise

try:
    asyncio.run(main())
except KeyboardInterrupt:
    print("interrupted", running())
print(asyncio.run(asyncio.sleep(0, "again")))
"""
    )
    assert out == "cancelled\ninterrupted None\nagain\n"


UVLOOP = """
import warnings
{first}
from gevent import monkey; monkey.patch_all()
import asyncio, uvloop
async def main():
    return type(asyncio.get_running_loop()).__module__
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    names = [uvloop.run(main()) for _ in range(2)]
    names.append(asyncio.Runner(loop_factory=uvloop.new_event_loop).run(main()))
    uvloop.Loop().close()
ours = [each for each in caught if each.category is monkey.MonkeyPatchWarning]
print(names, len(ours), "gevent.aio" in str(ours[0].message))
"""


@pytest.mark.parametrize("first", ["", "import uvloop"], ids=["later", "before"])
def test_uvloop_warns_once(output_of, first):
    pytest.importorskip("uvloop")
    assert output_of(UVLOOP.format(first=first)) == "['uvloop', 'uvloop', 'uvloop'] 1 True\n"


def test_an_executor_of_native_threads(run_python):
    # It reports errors of calls, as pools do.
    result = run_python(
        PATCHED
        + """
import concurrent.futures
from gevent.threadpool import ThreadPoolExecutor
sleep = monkey.get_original("time", "sleep")

def fail():
    raise KeyError("on purpose")

async def main():
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1) as pool:
        call = loop.run_in_executor
        assert await call(pool, lambda: sleep(0.001) or "value") == "value"
        try:
            await call(pool, fail)
        except KeyError as error:
            print(error)
        running, waiting = call(pool, sleep, 0.05), call(pool, fail)
        waiting.cancel()
        await running
        return waiting.cancelled()

print(asyncio.run(main(), debug=True))
with ThreadPoolExecutor(1) as pool:
    future = pool.submit(sleep, 0)
    print(isinstance(future, concurrent.futures.Future), future._get_snapshot()[0])
    gevent.wait([future])
    print(future._get_snapshot())
"""
    )
    expected = "'on purpose'\nTrue\nTrue False\n(True, False, None, None)\n"
    assert (result.stdout, result.returncode) == (expected, 0)
