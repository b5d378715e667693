"""What is measured: every operation, how often it runs, and the bar it has to clear.

The function that performs an operation has the operation's name, in `operations.py` for gevent and
in `asyncio_operations.py` for asyncio and uvloop where these can do the same, and in
`stdlib_operations.py` for the patched standard library.
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Operation:
    """One row of the table."""

    name: str
    title: str
    #: Iterations of one round: about a fifth of a second under gevent.
    iterations: int
    #: How many times faster (for memory: smaller) than gevent this must be.
    bar: float
    #: Measured rounds in one process; its result is their median.
    rounds: int = 3
    #: False where the number of iterations is part of the operation's definition.
    scalable: bool = True
    #: The function returns bytes instead of seconds, in a process that has done nothing else.
    memory: bool = False

    def quick(self) -> "Operation":
        """Return a shorter version of this operation, for a first impression."""
        if self.memory:
            return replace(self, iterations=self.iterations // 5)
        iterations = self.iterations // 4 if self.scalable else self.iterations
        return replace(self, iterations=iterations, rounds=1)


OPERATIONS = (
    Operation("sleep0_two", "`sleep(0)`, two greenlets", 200_000, 4),
    Operation("sleep0_thousand", "`sleep(0)`, 1,000 greenlets", 200_000, 4),
    Operation("sleep0_alone", "`sleep(0)`, nobody else ready", 200_000, 5),
    Operation("spawn_join", "`spawn(f).join()`", 20_000, 6),
    Operation("spawn_joinall", "50,000 spawned, then `joinall`", 50_000, 6, 1, scalable=False),
    Operation(
        "spawn_in_context", "as before, with a copy of the context", 50_000, 5, 1, scalable=False
    ),
    Operation("spawn_in_group", "as before, by a `TaskGroup`", 50_000, 3, 1, scalable=False),
    Operation("queue_ping_pong", "Queue ping-pong", 40_000, 3),
    Operation("queue_bounded", "Queue(1) producer/consumer", 60_000, 3),
    Operation("event_ping_pong", "Event ping-pong", 40_000, 3),
    Operation("async_result", "AsyncResult set/get", 30_000, 3),
    Operation("semaphore_contended", "Semaphore, contended", 50_000, 3),
    Operation("semaphore_uncontended", "Semaphore, uncontended", 1_000_000, 1.3),
    Operation("rlock", "RLock in `with`", 500_000, 3),
    Operation("timeout", "`with Timeout(10): pass`", 100_000, 4),
    Operation("pool_map", "`Pool(10).map`", 10_000, 5, 5),
    Operation("group_imap_unordered", "`Group.imap_unordered`", 10_000, 5, 5),
    Operation("kill_sleeping", "killing 20,000 sleeping greenlets", 20_000, 6, 1, scalable=False),
    Operation("short_timers", "10,000 short timers", 10_000, 5, scalable=False),
    Operation("threadpool_apply", "`threadpool.apply`", 5_000, 2),
    Operation("socket_ping_pong", "one-byte ping-pong over a socketpair", 20_000, 2.5),
    Operation("socket_ready", "send + recv that need no waiting", 80_000, 1.4),
    Operation("memory_sleep", "memory, parked in `sleep`", 100_000, 1.25, memory=True),
    Operation("memory_event", "memory, parked in `Event.wait`", 100_000, 1.25, memory=True),
)

STDLIB_OPERATIONS = (
    Operation("lock_acquire_release", "`Lock.acquire`, `release`", 1_000_000, 2),
    Operation("lock_with", "`with Lock(): pass`", 500_000, 2),
    Operation("lock_contended", "`Lock`, four threads", 50_000, 2),
    Operation("queue_put_get", "`Queue.put`, `get`", 1_000_000, 2),
    Operation("queue_handed_over", "`Queue(1)`, producer and consumer", 40_000, 2),
    Operation("time_sleep0_alone", "`time.sleep(0)`, nobody else ready", 200_000, 2),
    Operation("time_sleep0_two", "`time.sleep(0)`, two threads", 100_000, 2),
    Operation("thread_start_join", "`Thread.start`, `join`", 5_000, 2),
    Operation("thread_crowd", "100 `Thread`s started, then joined", 5_000, 2),
    Operation("import_and_patch", "`import gevent.monkey; patch_all()`", 10, 1, 1),
    Operation("subprocess_run", '1,000 `run(["true"])` by 50 threads', 1_000, 1, 1, scalable=False),
)
