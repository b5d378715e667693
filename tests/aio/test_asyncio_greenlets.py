"""asyncio in a patched process: each greenlet is a thread to it."""

import sys

import pytest

PATCH = "from gevent import monkey; monkey.patch_all()\n"
NO_ACCELERATOR = "import sys; sys.modules['_asyncio'] = None\n"

#: Ways to come to a patched asyncio.
PRELUDES = {
    "imported later": PATCH + "import asyncio\n",
    "imported before": "import asyncio\n" + PATCH,
    "in Python, later": NO_ACCELERATOR + PATCH + "import asyncio\n",
    "in Python, before": NO_ACCELERATOR + "import asyncio\n" + PATCH,
}

#: The code that follows each prelude.
HELPERS = """
import logging, sys, threading, time
import gevent

# In debug mode it warns of what takes long, as everything may on a busy machine.
logging.getLogger("asyncio").setLevel(logging.ERROR)

def running():
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None

def state():
    loop = running()
    task = asyncio.current_task() if loop else None
    return loop, task, tuple(sys.get_asyncgen_hooks()), sys.get_coroutine_origin_tracking_depth()

EMPTY = (None, None, (None, None), 0)
"""


#: Two of them, which differ in both respects.
LATER_AND_BEFORE = ("imported later", "in Python, before")


@pytest.fixture(params=LATER_AND_BEFORE)
def run_patched(request, output_of):
    """Run a snippet in a process that is patched in one of the ways; it must print "done".

    A test that is parametrized with names of `PRELUDES` for this fixture comes to asyncio so.
    """

    def run(code, *argv, **settings):
        assert output_of(PRELUDES[request.param] + HELPERS + code, *argv, **settings) == "done\n"

    return run


def test_loops_run_in_greenlets_and_threads_at_once(run_patched):
    run_patched("""
async def job(n):
    mine = asyncio.get_running_loop()
    task = asyncio.current_task()
    for _ in range(3):
        await asyncio.sleep(0.01)
        assert asyncio.get_running_loop() is mine and asyncio.current_task() is task
        assert asyncio.all_tasks() == {task}
    everyone.append(mine)
    return n

everyone, out = [], []
def work(n):
    out.append(asyncio.run(job(n)))
    assert state() == EMPTY
threads = [threading.Thread(target=work, args=(n,)) for n in range(20)]
greenlets = [gevent.spawn(work, n) for n in range(20, 40)]
for thread in threads: thread.start()
work(40)
for thread in threads: thread.join()
gevent.joinall(greenlets, raise_error=True)
assert sorted(out) == list(range(41)) and len(set(everyone)) == 41
print("done")
""")


@pytest.mark.parametrize("run_patched", PRELUDES, indirect=True)
def test_nobody_else_sees_the_state(run_patched):
    run_patched("""
seen, came = [], set()
def look(who=None, *_):
    seen.append(state())
    came.add(who)

async def main(wait):
    before = state()
    assert before[0] and before[1] and before[2] != (None, None) and before[3] == 10, before
    gevent.spawn(look, 0); gevent.spawn_later(0.001, look, 1); gevent.spawn_raw(look, 2)
    threading.Thread(target=look, args=(3,)).start()
    hub = gevent.get_hub()
    hub.loop.run_callback(look, 4)
    timer = hub.loop.timer(0.001); timer.start(look, 5)
    hub.threadpool.spawn(look, 6)
    ended = gevent.spawn(int)
    ended.link(lambda _: look(7)); ended.rawlink(lambda _: look(8))
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, look, 9)
    await asyncio.to_thread(look, 10)
    await wait()
    assert state() == before

async def blocks():
    time.sleep(0.01)
async def yields():
    for _ in range(20):
        gevent.sleep(0)
        time.sleep(0.0005)
async def awaits():
    await asyncio.sleep(0.01)

for wait in (blocks, yields, awaits):
    seen.clear(); came.clear()
    runner = gevent.spawn(lambda: asyncio.run(main(wait), debug=True))
    while not runner.dead:
        look()
        gevent.sleep(0.0002)
    runner.get()
    while not came >= {*range(11)}:
        gevent.sleep(0.001)
    assert set(seen) == {EMPTY}, seen
print("done")
""")


def test_the_state_comes_back_with_errors(run_patched):
    run_patched("""
class Ours(Exception): pass

async def main():
    before = state()
    me = gevent.getcurrent()
    gevent.spawn_later(0.001, me.kill, Ours, block=False)
    try:
        gevent.sleep(5)
    except Ours:
        assert state() == before
    with gevent.Timeout(0.001, False):
        gevent.sleep(5)
    assert state() == before
    from gevent.event import AsyncResult
    bad = AsyncResult()
    gevent.spawn(bad.set_exception, Ours())
    try:
        bad.get()
    except Ours:
        assert state() == before
    # A blocking call that fails at once, and one in the hub's place.
    try:
        gevent.sleep("x")
    except TypeError:
        assert state() == before
    await asyncio.sleep(0)
    assert state() == before
    return "main's"

assert gevent.spawn(lambda: asyncio.run(main(), debug=True)).get() == "main's"
assert state() == EMPTY
print("done")
""")


def test_kills_and_timeouts_end_a_run(run_patched):
    run_patched("""
begun, ended = [], []
async def tidy(how):
    begun.append(how)
    try:
        await asyncio.sleep(5)
    finally:
        await asyncio.sleep(0.001)
        assert running()
        ended.append(how)

async def main(how):
    begun.clear()
    both = [asyncio.create_task(tidy(name)) for name in (how, "a task of " + how)]
    while len(begun) < 2:
        await asyncio.sleep(0)
    if how == "timeout":
        timeout.start()
    elif how == "cancel":
        asyncio.current_task().cancel()
    await both[0]

runner = gevent.spawn(lambda: asyncio.run(main("kill")))
while len(begun) < 2:
    gevent.sleep(0.001)
runner.kill()
assert isinstance(runner.value, gevent.GreenletExit)
timeout = gevent.Timeout(0.001)
def timed():
    try:
        asyncio.run(main("timeout"))
    except gevent.Timeout as error:
        assert error is timeout and state() == EMPTY
gevent.spawn(timed).get()
try:
    asyncio.run(main("cancel"))
except asyncio.CancelledError:
    pass
whose = ("kill", "timeout", "cancel")
assert sorted(ended) == sorted([*whose, *("a task of " + how for how in whose)]), ended
assert state() == EMPTY
assert asyncio.run(asyncio.sleep(0, "again")) == "again"
print("done")
""")


def test_a_greenlet_that_is_switched_to_sees_the_loop(run_patched):
    run_patched("""
import greenlet
called = []

async def main():
    before = state()
    mine = gevent.getcurrent()
    def child():
        assert state() == before
        # In debug mode, too, it is of the thread that the loop is of.
        asyncio.get_running_loop().call_soon(called.append, True)
        gevent.sleep(0.001)
        assert state() == before
        got = mine.switch("asked")
        assert state() == before and got == "answer"
        time.sleep(0.001)
        assert state() == before
        return "over"
    # As SQLAlchemy's greenlet_spawn does.
    other = greenlet.greenlet(child)
    assert other.switch() == "asked"
    await asyncio.sleep(0.001)
    assert state() == before
    assert other.switch("answer") == "over"
    assert state() == before
    await asyncio.sleep(0)
    # Other greenlets are other threads.
    loop = before[0]
    def refused():
        try:
            loop.call_soon(called.append, False)
        except RuntimeError:
            return "refused"
    assert gevent.spawn(refused).get() == "refused"

runs = [gevent.spawn(lambda: asyncio.run(main(), debug=True)) for _ in range(3)]
gevent.joinall(runs, raise_error=True)
assert state() == EMPTY and called == [True] * 3
print("done")
""")


def test_an_error_finds_the_state_that_a_switched_to_greenlet_waits_with(run_patched):
    run_patched("""
import greenlet
class Ours(Exception): pass
kept = []

async def main(how):
    before = state()
    # It waits for ever, as what ended would end in its parent.
    child = greenlet.greenlet(lambda: gevent.get_hub().switch())
    grandchild = greenlet.greenlet(lambda: child.switch())
    kept.append((child, grandchild))
    child.parent = grandchild
    try:
        if how == "timeout":
            with gevent.Timeout(0.001):
                grandchild.switch()
        gevent.spawn_later(0.001, gevent.getcurrent().kill, Ours, block=False)
        grandchild.switch()
    except (Ours, gevent.Timeout) as error:
        assert state() == before, error
    await asyncio.sleep(0.001)
    assert state() == before
    return how

for how in ("kill", "timeout"):
    assert gevent.spawn(lambda: asyncio.run(main(how), debug=True)).get() == how
    assert state() == EMPTY
print("done")
""")


def test_loops_in_loops(run_patched):
    run_patched("""
async def inner():
    await asyncio.sleep(0.001)
    return asyncio.get_running_loop()

async def main():
    mine = asyncio.get_running_loop()
    # A coroutine's callback spawns a greenlet that runs a loop.
    runs = []
    mine.call_soon(lambda: runs.append(gevent.spawn(lambda: asyncio.run(inner()))))
    await asyncio.sleep(0.01)
    # A coroutine blocks until the loop of another greenlet has ended.
    blocked = gevent.spawn(lambda: asyncio.run(inner())).get()
    threads = await asyncio.gather(*(asyncio.to_thread(asyncio.run, inner()) for _ in range(3)))
    refused = inner()
    try:
        asyncio.run(refused)
        raise AssertionError("ran in a running loop")
    except RuntimeError:
        refused.close()
    assert asyncio.get_running_loop() is mine
    return {mine, runs[0].get(), blocked, *threads}

assert len(asyncio.run(main())) == 6
assert state() == EMPTY
print("done")
""")


def test_generators_are_closed_by_their_own_loop(run_patched):
    run_patched("""
import gc
closed = []
async def numbers():
    mine = asyncio.get_running_loop()
    try:
        for n in range(9):
            yield n
            await asyncio.sleep(0)
    finally:
        await asyncio.sleep(0)
        closed.append(asyncio.get_running_loop() is mine)

kept = []
async def main():
    async for n in numbers():
        time.sleep(0.001)
        if n == 2:
            break
    # One is left to the end of the loop, one is dropped by another greenlet.
    last = numbers()
    await last.__anext__()
    kept.append(last)
    dropped = [numbers()]
    await dropped[0].__anext__()
    gevent.spawn(dropped.clear).join()
    gc.collect()
    while len(closed) < 2:
        await asyncio.sleep(0.001)

for _ in range(2):
    closed.clear()
    gevent.spawn(lambda: asyncio.run(main())).get()
    assert closed == [True] * 3, closed
print("done")
""")


def test_each_greenlet_has_its_own_loop_of_the_policy(run_patched):
    run_patched("""
import warnings
warnings.simplefilter("ignore")
mine = asyncio.new_event_loop()
asyncio.set_event_loop(mine)
def other():
    try:
        asyncio.get_event_loop()
        raise AssertionError("sees another one's loop")
    except RuntimeError:
        pass
    own = asyncio.new_event_loop()
    asyncio.set_event_loop(own)
    gevent.sleep(0.001)
    assert asyncio.get_event_loop() is own
    own.close()
    return own
owns = [gevent.spawn(other) for _ in range(3)]
thread = threading.Thread(target=other)
thread.start(); thread.join()
assert len({greenlet.get() for greenlet in owns}) == 3
assert asyncio.get_event_loop() is mine
mine.close()
print("done")
""")


def test_what_the_policy_had_before_patching_stays(output_of):
    out = output_of(
        """
        import asyncio, threading, warnings
        warnings.simplefilter("ignore")
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        from gevent import monkey; monkey.patch_all()
        import gevent
        assert asyncio.get_event_loop() is loop
        assert loop.run_until_complete(asyncio.sleep(0.001, "ran")) == "ran"
        def other():
            try:
                asyncio.get_event_loop()
            except RuntimeError:
                return "none"
        assert gevent.spawn(other).get() == "none"
        loop.close()
        """
    )
    assert out == ""


def test_results_of_executors_come_at_once(run_patched):
    # Newer versions of CPython hand a result over directly where the loop seems to be running.
    run_patched("""
import asyncio.futures, inspect
source = inspect.getsource(asyncio.futures._chain_future)
newer = source.replace("dest_loop is source_loop", "dest_loop is events._get_running_loop()")
exec(newer, asyncio.futures.__dict__)

async def main():
    order = []
    async def timer():
        await asyncio.sleep(5)
        order.append("timer")
    waiting = asyncio.create_task(timer())
    loop = asyncio.get_running_loop()
    await asyncio.to_thread(time.sleep, 0.001)
    await loop.run_in_executor(None, time.sleep, 0.001)
    await loop.run_in_executor(None, threading.get_ident)
    waiting.cancel()
    return order

assert asyncio.run(main()) == []
print("done")
""")


def test_it_can_be_left_out(output_of):
    out = output_of(
        """
        from gevent import monkey; monkey.patch_all(asyncio=False)
        import asyncio, gevent
        loops = []
        async def main():
            gevent.spawn(lambda: loops.append(asyncio._get_running_loop()))
            await asyncio.sleep(0.01)
        asyncio.run(main())
        print(loops == [None], monkey.is_module_patched("asyncio"))
        """
    )
    assert out == "False False\n"
    out = output_of(
        """
        from gevent import monkey; monkey.patch_all(thread=False)
        print(monkey.is_module_patched("asyncio"))
        monkey.patch_asyncio()
        print(monkey.is_module_patched("asyncio"))
        """
    )
    assert out == "False\nTrue\n"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are new in CPython 3.12")
def test_eager_tasks(run_patched):
    run_patched("""
async def job():
    task = asyncio.current_task()
    time.sleep(0.001)
    assert asyncio.current_task() is task
    await asyncio.sleep(0.001)
    assert asyncio.current_task() is task
    gevent.sleep(0)
    return asyncio.current_task() is task

async def main():
    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
    mine = asyncio.current_task()
    tasks = [asyncio.create_task(job()) for _ in range(3)]
    assert asyncio.current_task() is mine
    return await asyncio.gather(*tasks)

runs = [gevent.spawn(lambda: asyncio.run(main())) for _ in range(3)]
assert [run.get() for run in runs] == [[True] * 3] * 3
print("done")
""")


def test_waits_change_the_hooks_where_they_lie(output_of):
    """The functions of `sys` for them report audit events. If waits cause any, the fields of
    CPython's thread state were not found, and each wait of a greenlet that runs a loop takes
    several times as long."""
    code = """
import asyncio, sys
import gevent
from gevent import monkey
monkey.patch_all()

events = []

async def main():
    gevent.sleep(0.001)
    events.clear()
    for _ in range(10):
        gevent.sleep(0.001)
    print([event for event in events if "asyncgen" in event])

sys.addaudithook(lambda event, _: events.append(event))
asyncio.run(main())
print(any("asyncgen" in event for event in events))
"""
    assert output_of(code) == "[]\nTrue\n"
