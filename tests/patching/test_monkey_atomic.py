"""What the standard library does without waiting lets no other greenlet run in a patched process.

A kill or a timeout could come there, and would lose what is half done: a permit, an item or a
notification.
"""

import pytest

PRELUDE = """
from gevent import monkey; monkey.patch_all()
import concurrent.futures, io, logging, queue, random, threading, time
import gevent
"""


def test_nobody_runs_where_nothing_waits(run_python):
    result = run_python(
        PRELUDE
        + """
def runs_others(call):
    seen = []
    other = gevent.spawn(seen.append, 1)
    call()
    within = bool(seen)
    other.join()
    return within

condition, plain = threading.Condition(), threading.Condition(threading.Lock())
condition.acquire(), plain.acquire()
semaphore, bounded = threading.Semaphore(0), threading.BoundedSemaphore(3)
bounded.acquire(), bounded.acquire()
event, lock, rlock = threading.Event(), threading.Lock(), threading.RLock()
barrier = threading.Barrier(1)
kinds = queue.Queue, queue.LifoQueue, queue.PriorityQueue, queue.SimpleQueue
queues = [kind() for kind in kinds]
future, done = concurrent.futures.Future(), concurrent.futures.Future()
done.set_result(1)
executor = concurrent.futures.ThreadPoolExecutor(2)
executor.submit(int).result()
logger = logging.getLogger("atomic")
logger.addHandler(logging.StreamHandler(io.StringIO()))
calls = {
    "notify": condition.notify, "notify_all": condition.notify_all,
    "notify with a plain lock": plain.notify, "notify_all with a plain lock": plain.notify_all,
    "release": semaphore.release, "acquire": semaphore.acquire,
    "release of two": lambda: bounded.release(2),
    "set": event.set, "wait of what is set": event.wait, "clear": event.clear,
    "lock": lock.acquire, "failed lock": lambda: lock.acquire(False), "unlock": lock.release,
    "nested lock": lambda: (rlock.acquire(), rlock.acquire(), rlock.release(), rlock.release()),
    "barrier": barrier.wait, "reset": barrier.reset,
    "result": done.result, "callback": lambda: done.add_done_callback(str),
    "set_result": lambda: future.set_result(1), "submit": lambda: executor.submit(int),
    "enumerate": threading.enumerate, "log": lambda: logger.warning("x"),
    **{f"put {type(q).__name__}": lambda q=q: q.put(1) for q in queues},
    **{f"get {type(q).__name__}": q.get for q in queues},
}
print([name for name, call in calls.items() if runs_others(call)], len(calls))
executor.shutdown()
"""
    )
    assert (result.stdout, result.stderr) == ("[] 30\n", "")


PERMITS = """
def program(random):
    lock = random.choice([threading.Semaphore, threading.BoundedSemaphore])(2)
    def worker():
        try:
            with gevent.Timeout(random.choice([0.0005, 0.001, 5]), False):
                for _ in range(5):
                    with lock:
                        gevent.sleep(random.choice([0, 0, 0.0005]))
        except gevent.GreenletExit:
            pass
    yield [gevent.spawn(worker) for _ in range(6)]
    assert lock._value == 2
"""
NOTIFICATIONS = """
def program(random):
    condition = threading.Condition(random.choice([threading.Lock, threading.RLock])())
    items, got = [], []
    def worker():
        try:
            with condition:
                while not items:
                    condition.wait(random.choice([None, 0.0005, 0.001]))
                got.append(items.pop())
        except gevent.GreenletExit:
            pass
    workers = [gevent.spawn(worker) for _ in range(6)]
    for item in range(6):
        gevent.sleep(random.choice([0, 0.0004]))
        with condition:
            items.append(item)
            condition.notify()
    yield workers
    assert len(got) + len(items) == 6
    assert condition.acquire(False)
"""


@pytest.mark.parametrize("program", [PERMITS, NOTIFICATIONS], ids=["permits", "notifications"])
def test_kills_and_timeouts_lose_nothing(run_python, program):
    result = run_python(
        PRELUDE
        + program
        + """
for seed in range(60):
    chance = random.Random(seed)
    steps = program(chance)
    workers = next(steps)
    for _ in range(4):
        gevent.sleep(chance.choice([0, 0.0004]))
        chance.choice(workers).kill(block=False)
    with gevent.Timeout(20):
        gevent.joinall(workers)
    next(steps, None)
print(seed)
"""
    )
    assert (result.stdout, result.stderr) == ("59\n", "")


# A library may put something else in the place of `threading.Condition` before the process is
# patched, as profilers of locks do.
REPLACEMENTS = {
    "nothing": "def put(original): return original",
    "an object": """
class put:
    __slots__ = ["original"]
    def __init__(self, original): self.original = original
    def __call__(self, *args): return self.original(*args)
    def __mro_entries__(self, bases): return (self.original,)
""",
    "a function": "def put(original): return lambda *args: original(*args)",
    "a derived class": "def put(original): return type('Watched', (original,), {})",
    "the class of a reloaded module": """
def put(original):
    import importlib
    return importlib.reload(threading).Condition
""",
    "the class with another method": """
def put(original):
    def init(self, *args, _init=original.__init__): _init(self, *args)
    original.__init__ = init
    return original
""",
}


@pytest.mark.parametrize("replacement", REPLACEMENTS)
def test_a_notification_is_passed_on_by_a_waiter_that_is_killed(output_of, replacement):
    output = output_of(
        f"""{REPLACEMENTS[replacement]}
import threading
older = threading.Condition()
threading.Condition = put(threading.Condition)
{PRELUDE}
for condition in older, threading.Condition():
    def wait():
        with condition:
            condition.wait()
    killed, other = gevent.spawn(wait), gevent.spawn(wait)
    gevent.sleep(0)
    killed.kill(block=False)
    with condition:
        condition.notify()
    other.join(20)
    print(other.ready())
"""
    )
    assert output == "True\nTrue\n"
