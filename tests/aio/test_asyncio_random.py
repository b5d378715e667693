"""Random programs of coroutines, blocking calls, plain switches and kills, with asyncio patched.

Whatever they do, each coroutine finds its own loop, task and hooks, and everything else finds none.
"""

import pytest

PROGRAM = """
from gevent import monkey; monkey.patch_all()
import asyncio, greenlet, logging, random, sys, threading, time
import gevent

class Ours(Exception):
    pass

choose = random.Random(int(sys.argv[1]))
checks, wrong, living, switching = 0, [], [], set()
event, lock = threading.Event(), threading.Lock()
logging.disable(logging.CRITICAL)

def state():
    loop = asyncio._get_running_loop()
    task = asyncio.current_task() if loop else None
    return loop, task, tuple(sys.get_asyncgen_hooks()), sys.get_coroutine_origin_tracking_depth()

EMPTY = (None, None, (None, None), 0)

def check(wanted):
    global checks
    checks += 1
    if state() != wanted:
        wrong.append((state(), wanted))

def block(wanted):
    # Does something that may wait.
    how = choose.randrange(6)
    try:
        if how == 0:
            gevent.sleep(0)
        elif how == 1:
            time.sleep(choose.random() / 1000)
        elif how == 2:
            with gevent.Timeout(0.0005, False):
                gevent.sleep(1)
        elif how == 3:
            gevent.spawn(plain).join()
        elif how == 4:
            event.wait(0.0005)
        else:
            with lock:
                gevent.sleep(0)
    except Ours:
        pass
    finally:
        check(wanted)

def plain():
    check(EMPTY)
    if choose.random() < 0.3:
        gevent.sleep(0)
        check(EMPTY)

async def numbers(wanted):
    try:
        for number in range(3):
            block(wanted)
            yield number
            await asyncio.sleep(0)
    finally:
        check(state()[:1] + state()[1:2] + wanted[2:])
        assert asyncio.get_running_loop() is wanted[0]

async def coroutine(depth):
    wanted = state()
    assert wanted[0] is asyncio.get_running_loop() and wanted[1] is asyncio.current_task()
    for _ in range(choose.randrange(1, 6)):
        how = choose.randrange(7)
        try:
            if how == 0:
                await asyncio.sleep(choose.random() / 1000)
            elif how == 1:
                await asyncio.to_thread(plain)
            elif how == 2 and depth < 3:
                await asyncio.gather(*(coroutine(depth + 1) for _ in range(2)))
            elif how == 3 and depth < 3:
                gevent.spawn(run, depth + 1).join()
            elif how == 4:
                # One is not to be killed while another greenlet has its state.
                mine = gevent.getcurrent()
                switching.add(mine)
                child = greenlet.greenlet(lambda: [block(wanted), mine.switch(), block(wanted)])
                child.switch()
                check(wanted)
                child.switch()
                switching.discard(mine)
            elif how == 5:
                async for number in numbers(wanted):
                    if number == choose.randrange(3):
                        break
            else:
                block(wanted)
        except Ours:
            pass
        check(wanted)

def run(depth=0):
    mine = gevent.getcurrent()
    living.append(mine)
    check(EMPTY)
    try:
        asyncio.run(coroutine(depth), debug=choose.random() < 0.5)
    except (Ours, asyncio.CancelledError, RuntimeError):
        pass  # The last: an error may come while asyncio shuts the loop down.
    check(EMPTY)
    living.remove(mine)

def strike():
    # Throws an error into one of those that run loops; the hub calls this.
    able = [each for each in living if each not in switching]
    if able:
        choose.choice(able).throw(Ours)

def killer():
    for _ in range(20):
        gevent.sleep(0.002)
        gevent.get_hub().loop.run_callback(strike)
        check(EMPTY)

gevent.joinall([gevent.spawn(killer), *(gevent.spawn(run) for _ in range(12))])
check(EMPTY)
print(checks > 100, wrong[:2])
"""


@pytest.mark.parametrize("seed", range(4))
def test_random_programs(run_python, seed):
    # Coroutines that were struck down may never have been awaited, which is no news here.
    result = run_python(PROGRAM, str(seed), timeout=60, flags=["-W", "ignore::RuntimeWarning"])
    assert (result.stdout, result.returncode) == ("True []\n", 0)
