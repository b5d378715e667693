"""Random programs of coroutines and greenlets that call each other, against a model; and a soak.

A program is a tree. Each node runs on one of the two sides, and calls its children on either. The
model says what becomes of it. Nothing depends on how long anything takes: a leaf either ends at
once or never, and only what never ends runs into a limit.
"""

import asyncio
import gc
import os
import random
import socket

import pytest
from conditions import settle

import gevent
from gevent import aio

NEVER = "never"
LIMIT = "limit"
#: Seconds until a limit ends what never ends, and what ends in any case.
SHORT, LONG = 0.002, 60


class Failure(Exception):
    """The error that a leaf raises."""


class Node:
    """One node of a program, with the way in which its parent calls it."""

    def __init__(self, rng, depth):
        self.side = rng.choice(["coroutine", "greenlet"])
        self.way = rng.randrange(2)
        self.yields = rng.randrange(3)
        self.slow_clean_up = rng.random() < 0.3
        kinds = ["value", "error", NEVER, "sequence", "parallel", LIMIT, LIMIT, "caught"]
        weights = [3, 1, 1, 3, 2, 2, 2, 1] if depth else [6, 1, 1, 0, 0, 0, 0, 0]
        self.kind = rng.choices(kinds, weights)[0]
        self.number = rng.randrange(1000)
        count = {"sequence": 3, "parallel": 3, LIMIT: 1, "caught": 1}.get(self.kind, 0)
        if count == 3:
            count = rng.randint(1, 3)
        self.children = [Node(rng, depth - 1) for _ in range(count)]

    def model(self):
        """Return what becomes of it: a value, a Failure, or NEVER."""
        if self.kind == "value":
            return self.number
        if self.kind == "error":
            return Failure(self.number)
        if self.kind == NEVER:
            return NEVER
        if self.kind == LIMIT:
            found = self.children[0].model()
            return LIMIT if found is NEVER else found
        if self.kind == "caught":
            found = self.children[0].model()
            return str(found) if isinstance(found, Failure) else found
        outcomes = []
        for child in self.children:
            found = child.model()
            if found is NEVER and self.kind == "sequence":
                return NEVER
            if isinstance(found, Failure) and self.kind == "sequence":
                return found
            outcomes.append(str(found) if isinstance(found, Failure) else found)
        return NEVER if NEVER in outcomes else outcomes

    def limit(self):
        return SHORT if self.children[0].model() is NEVER else LONG


class Program:
    """Runs a tree and notes which nodes began and ended."""

    def __init__(self):
        self.running = set()
        self.began = 0

    def begin(self, node):
        self.running.add(node)
        self.began += 1

    async def coroutine(self, node):
        self.begin(node)
        try:
            for _ in range(node.yields):
                await asyncio.sleep(0)
            return await self.body_of_coroutine(node)
        finally:
            try:
                if node.slow_clean_up:
                    await asyncio.sleep(0.001)
            finally:
                self.running.remove(node)

    async def body_of_coroutine(self, node):
        if node.kind == "value":
            return node.number
        if node.kind == "error":
            raise Failure(node.number)
        if node.kind == NEVER:
            await asyncio.get_running_loop().create_future()
        if node.kind == LIMIT:
            try:
                async with asyncio.timeout(node.limit()):
                    return await self.await_child(node.children[0])
            except TimeoutError:
                return LIMIT
        if node.kind == "caught":
            try:
                return await self.await_child(node.children[0])
            except Failure as failure:
                return str(failure)
        if node.kind == "sequence":
            return [await self.await_child(child) for child in node.children]
        calls = [self.await_child(child) for child in node.children]
        found = await asyncio.gather(*calls, return_exceptions=True)
        return [str(each) if isinstance(each, Failure) else each for each in found]

    async def await_child(self, child):
        if child.side == "coroutine":
            if child.way:
                return await self.coroutine(child)
            return await asyncio.create_task(self.coroutine(child))
        if child.way:
            return await aio.to_greenlet(self.greenlet, child)
        return await quiet(gevent.Greenlet(self.greenlet, child))

    def greenlet(self, node):
        self.begin(node)
        try:
            for _ in range(node.yields):
                gevent.sleep(0)
            return self.body_of_greenlet(node)
        finally:
            try:
                if node.slow_clean_up:
                    gevent.sleep(0.001)
            finally:
                self.running.remove(node)

    def body_of_greenlet(self, node):
        if node.kind == "value":
            return node.number
        if node.kind == "error":
            raise Failure(node.number)
        if node.kind == NEVER:
            gevent.get_hub().switch()
        if node.kind == LIMIT:
            limit = gevent.Timeout(node.limit())
            try:
                with limit:
                    return self.call_child(node.children[0])
            except gevent.Timeout as timeout:
                if timeout is not limit:
                    raise
                return LIMIT
        if node.kind == "caught":
            try:
                return self.call_child(node.children[0])
            except Failure as failure:
                return str(failure)
        if node.kind == "sequence":
            return [self.call_child(child) for child in node.children]
        greenlets = [quiet(gevent.Greenlet(self.call_child, child)) for child in node.children]
        try:
            gevent.joinall(greenlets)
        finally:
            gevent.killall(greenlets)
        return [str(each.exception) if each.exception else each.value for each in greenlets]

    def call_child(self, child):
        if child.side == "coroutine":
            if child.way:
                return aio.run(self.coroutine(child))
            greenlet = quiet(aio.spawn(self.coroutine(child)))
        elif child.way:
            return self.greenlet(child)
        else:
            greenlet = quiet(gevent.Greenlet(self.greenlet, child))
        try:
            return greenlet.get()
        finally:
            greenlet.kill()


class QuietHub:
    """Keeps the failures of programs from being reported."""

    def __init__(self):
        self.hub = gevent.get_hub()

    def __enter__(self):
        self.before = self.hub.NOT_ERROR
        self.hub.NOT_ERROR = (*self.before, Failure, asyncio.CancelledError)

    def __exit__(self, *exc_info):
        self.hub.NOT_ERROR = self.before


def quiet(greenlet):
    if not greenlet.started:
        greenlet.start()
    return greenlet


def run(root, own):
    """Return what becomes of a program; one that never ends is killed after a while."""
    program = Program()

    def in_own_loop():
        with asyncio.Runner(loop_factory=aio.EventLoop) as runner:
            return runner.run(program.coroutine(root))

    call = in_own_loop if own else lambda: program.call_child(root)
    greenlet = quiet(gevent.Greenlet(call))
    if root.model() is NEVER:
        gevent.sleep(SHORT)
        greenlet.kill()
        assert isinstance(greenlet.value, gevent.GreenletExit) or greenlet.exception is None
        found = NEVER
        # The kill may have ended the wait for a clean-up, which goes on by itself.
        for _ in range(1000):
            if not program.running:
                break
            gevent.sleep(0.002)
    else:
        greenlet.join()
        found = greenlet.exception or greenlet.value
    assert program.running == set()
    return found


@pytest.mark.parametrize("seed", range(8))
def test_random_programs(seed):
    rng = random.Random(seed)
    with QuietHub():
        for number in range(25):
            root = Node(rng, 4)
            wanted = root.model()
            found = run(root, own=number % 4 == 0)
            assert str(found) == str(wanted), (seed, number)
    assert not asyncio.all_tasks(aio.loop())


def greenlets():
    gc.collect()
    return sum(isinstance(each, gevent.Greenlet) and not each.dead for each in gc.get_objects())


def test_cancelled_calls_leave_nothing():
    async def read():
        reader, writer = await asyncio.open_connection(sock=left.dup())
        try:
            await reader.read(1)
        finally:
            writer.close()

    async def nested():
        await aio.to_greenlet(aio.run, asyncio.sleep(60))

    async def ticks():
        while True:
            yield 1
            await asyncio.sleep(60)

    def iterate():
        with aio.iterate(ticks()) as items:
            list(items)

    def spawned():
        greenlet = aio.spawn(nested())
        try:
            greenlet.get()
        finally:
            greenlet.kill()

    def own():
        with asyncio.Runner(loop_factory=aio.EventLoop) as runner:
            runner.run(asyncio.sleep(60))

    calls = [
        lambda: aio.run(asyncio.sleep(60)),
        lambda: aio.run(read()),
        lambda: aio.run(nested()),
        spawned,
        iterate,
        own,
    ]
    left, right = socket.socketpair()
    count = int(os.environ.get("AIO_SOAK", "20"))

    def use():
        for number in range(count):
            many = [gevent.spawn(call) for call in calls]
            gevent.sleep(0 if number % 2 else 0.001)
            gevent.killall(many)

    def settled():
        # Loops that have just ended close what they had within a few turns.
        settle()
        gc.collect()
        return greenlets(), len(os.listdir("/proc/self/fd")), len(gc.get_objects())

    with QuietHub():
        use()
        before = settled()
        use()
        after = settled()
    left.close()
    right.close()
    assert not asyncio.all_tasks(aio.loop())
    assert after[0] <= before[0]
    assert after[1] <= before[1]
    # As many, however many calls there were.
    assert after[2] - before[2] < 200
