"""Random coroutines in scopes of gevent, timeouts and groups of both sides, cancelled at random.

Whatever happens, every coroutine comes to its end, no cancellation leaves the block that it is of,
and none is left in the count of its task.
"""

import asyncio
from random import Random

import pytest

import gevent
from gevent import CancelScope, TaskGroup, aio, move_on_after

#: The most blocks inside each other.
DEEPEST = 4

#: Longer than a program may take, in seconds.
LONGEST = 60


class Failure(Exception):
    """The error of a child."""


def fail():
    raise Failure


class Program:
    """Coroutines, and the scopes that may be cancelled."""

    def __init__(self, seed):
        self.random = Random(seed)
        self.scopes = []

    def pause(self):
        return self.random.choice([0, 0.0005, 0.001])

    async def block(self, depth):
        """Run one or two random statements."""
        kinds = [self.wait, self.wait_blocking]
        if depth < DEEPEST:
            kinds += [
                self.scope,
                self.limit,
                self.limit_of_asyncio,
                self.clean_up,
                self.group,
                self.group_of_asyncio,
            ]
        for _ in range(self.random.randint(1, 2)):
            await self.random.choice(kinds)(depth + 1)

    async def wait(self, _depth):
        await asyncio.sleep(self.pause())

    async def wait_blocking(self, _depth):
        gevent.sleep(self.pause())

    async def inside(self, scope, depth):
        self.scopes.append(scope)
        try:
            await self.block(depth)
        finally:
            self.scopes.remove(scope)

    async def scope(self, depth):
        with CancelScope(shield=self.random.random() < 0.2) as scope:
            await self.inside(scope, depth)

    async def limit(self, depth):
        with move_on_after(self.pause()):
            await self.block(depth)

    async def limit_of_asyncio(self, depth):
        try:
            async with asyncio.timeout(self.pause()):
                await self.block(depth)
        except TimeoutError:
            pass

    async def clean_up(self, depth):
        try:
            await self.block(depth)
        finally:
            await asyncio.sleep(self.pause())

    async def group(self, depth):
        try:
            with TaskGroup() as group:
                group.spawn(gevent.sleep, self.pause())
                if self.random.random() < 0.3:
                    group.spawn(fail)
                await self.inside(group, depth)
        except* Failure:
            pass

    async def group_of_asyncio(self, depth):
        async with asyncio.TaskGroup() as group:
            group.create_task(self.task(depth))
            group.create_task(self.task(depth))

    async def task(self, depth):
        await self.block(depth)
        # A cancellation that came late would come here.
        await asyncio.sleep(0)
        return asyncio.current_task().cancelling()

    async def cancel_some(self):
        while True:
            await asyncio.sleep(self.pause())
            if self.scopes:
                self.random.choice(self.scopes).cancel()

    async def run(self):
        canceller = asyncio.create_task(self.cancel_some())
        tasks = [asyncio.create_task(self.task(0)) for _ in range(4)]
        async with asyncio.timeout(LONGEST):
            counts = await asyncio.gather(*tasks)
        canceller.cancel()
        return counts


@pytest.mark.parametrize("own_loop", [False, True])
@pytest.mark.usefixtures("printed")  # Errors of children behind a cancellation are reported.
def test_every_coroutine_ends_with_nothing_left(own_loop):
    for seed in range(80):
        program = Program(seed)
        if own_loop:
            with asyncio.Runner(loop_factory=aio.EventLoop) as runner:
                counts = runner.run(program.run())
        else:
            counts = aio.run(program.run())
        assert counts == [0, 0, 0, 0], seed
