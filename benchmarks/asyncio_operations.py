"""The same operations in asyncio's terms, for asyncio's own loop and for uvloop.

They stand in the table for orientation. What asyncio has no counterpart for (a reentrant lock, a
bounded pool's `map`) is missing here and stays empty there.
"""

import asyncio
import os
import socket
from time import perf_counter, process_time


async def _nothing(*_args):
    return None


def _return_nothing():
    return None


async def _run_together(n, *functions):
    start = perf_counter()
    await asyncio.gather(*(function() for function in functions))
    return (perf_counter() - start) / n


async def sleep0_two(n):
    async def yielder():
        for _ in range(n // 2):
            await asyncio.sleep(0)

    return await _run_together(n, yielder, yielder)


async def sleep0_thousand(n):
    crowd = 1000
    each = n // crowd

    async def yielder():
        for _ in range(each + 1):
            await asyncio.sleep(0)

    tasks = [asyncio.create_task(yielder()) for _ in range(crowd)]
    await asyncio.sleep(0)
    start = perf_counter()
    await asyncio.gather(*tasks)
    return (perf_counter() - start) / (each * crowd)


async def sleep0_alone(n):
    start = perf_counter()
    for _ in range(n):
        await asyncio.sleep(0)
    return (perf_counter() - start) / n


async def spawn_join(n):
    start = perf_counter()
    for _ in range(n):
        await asyncio.create_task(_nothing())
    return (perf_counter() - start) / n


async def spawn_joinall(n):
    start = perf_counter()
    await asyncio.wait([asyncio.create_task(_nothing()) for _ in range(n)])
    return (perf_counter() - start) / n


async def queue_ping_pong(n):
    there, back = asyncio.Queue(), asyncio.Queue()

    async def ping():
        for item in range(n):
            await there.put(item)
            await back.get()

    async def pong():
        for _ in range(n):
            await back.put(await there.get())

    return await _run_together(n, ping, pong)


async def queue_bounded(n):
    queue = asyncio.Queue(1)

    async def produce():
        for item in range(n):
            await queue.put(item)

    async def consume():
        for _ in range(n):
            await queue.get()

    return await _run_together(n, produce, consume)


async def event_ping_pong(n):
    there, back = asyncio.Event(), asyncio.Event()

    async def ping():
        for _ in range(n):
            there.set()
            await back.wait()
            back.clear()

    async def pong():
        for _ in range(n):
            await there.wait()
            there.clear()
            back.set()

    return await _run_together(n, ping, pong)


async def async_result(n):
    loop = asyncio.get_running_loop()
    first = loop.create_future()

    async def ask():
        question = first
        for _ in range(n):
            answer, following = loop.create_future(), loop.create_future()
            question.set_result((answer, following))
            await answer
            question = following

    async def respond():
        question = first
        for _ in range(n):
            answer, question = await question
            answer.set_result(None)

    return await _run_together(n, ask, respond)


async def semaphore_contended(n):
    there, back = asyncio.Semaphore(0), asyncio.Semaphore(0)

    async def ping():
        for _ in range(n):
            there.release()
            await back.acquire()

    async def pong():
        for _ in range(n):
            await there.acquire()
            back.release()

    return await _run_together(n, ping, pong)


async def semaphore_uncontended(n):
    semaphore = asyncio.Semaphore(1)
    start = perf_counter()
    for _ in range(n):
        await semaphore.acquire()
        semaphore.release()
    return (perf_counter() - start) / n


async def timeout(n):
    start = perf_counter()
    for _ in range(n):
        async with asyncio.timeout(10):
            pass
    return (perf_counter() - start) / n


async def group_imap_unordered(n):
    start = perf_counter()
    for done in asyncio.as_completed([_nothing() for _ in range(n)]):
        await done
    return (perf_counter() - start) / n


async def _parked(n, wait, *args):
    entered = 0

    async def park():
        nonlocal entered
        entered += 1
        await wait(*args)

    tasks = [asyncio.create_task(park()) for _ in range(n)]
    while entered < n:
        await asyncio.sleep(0.001)
    return tasks


async def kill_sleeping(n):
    tasks = await _parked(n, asyncio.sleep, 1000)
    start = perf_counter()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    return (perf_counter() - start) / n


async def short_timers(n):
    start = process_time()
    sleeps = [asyncio.create_task(asyncio.sleep((1 + i % 100) / 10_000)) for i in range(n)]
    await asyncio.wait(sleeps)
    return (process_time() - start) / n


async def threadpool_apply(n):
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, _return_nothing)
    start = perf_counter()
    for _ in range(n):
        await loop.run_in_executor(None, _return_nothing)
    return (perf_counter() - start) / n


def _socketpair():
    pair = socket.socketpair()
    for end in pair:
        end.setblocking(False)
    return pair


async def socket_ping_pong(n):
    loop = asyncio.get_running_loop()
    left, right = _socketpair()

    async def ping():
        for _ in range(n):
            await loop.sock_sendall(left, b"x")
            await loop.sock_recv(left, 1)

    async def pong():
        for _ in range(n):
            await loop.sock_recv(right, 1)
            await loop.sock_sendall(right, b"x")

    with left, right:
        return await _run_together(n, ping, pong)


async def socket_ready(n):
    loop = asyncio.get_running_loop()
    left, right = _socketpair()
    with left, right:
        start = perf_counter()
        for _ in range(n):
            await loop.sock_sendall(left, b"x")
            await loop.sock_recv(right, 1)
        return (perf_counter() - start) / n


def _resident_bytes():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def _parked_bytes(n, wait, *args):
    first = await _parked(10, wait, *args)
    before = _resident_bytes()
    tasks = await _parked(n, wait, *args)
    after = _resident_bytes()
    assert len(first) + len(tasks) == n + 10
    return (after - before) / n


async def memory_sleep(n):
    return await _parked_bytes(n, asyncio.sleep, 1000)


async def memory_event(n):
    return await _parked_bytes(n, asyncio.Event().wait)
