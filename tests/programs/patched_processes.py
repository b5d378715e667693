"""multiprocessing in a patched process: what other processes do is waited for by greenlets.

usage: patched_processes.py FUNCTION METHOD
"""

from gevent import monkey

monkey.patch_all()

import json
import multiprocessing
import os
import signal
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import shared_memory

import gevent
from gevent import socket


def square(number):
    return number * number


def put(queue, item):
    queue.put(item)


def answer(connection):
    while (message := connection.recv()) is not None:
        connection.send(message)
    connection.send_bytes(b"y" * 300_000)


def set_soon(event):
    time.sleep(0.02)
    event.set()


def count(lock, value):
    for _ in range(50):
        with lock:
            value.value += 1


def pass_through(semaphore, queue):
    with semaphore:
        queue.put(semaphore.get_value() < 2)


def notify(condition, value):
    with condition:
        value.value = 1
        condition.notify_all()


def meet(barrier, queue):
    barrier.wait(20)
    queue.put(True)


def fill(array):
    array[:] = range(len(array))


def write_shared(name):
    memory = shared_memory.SharedMemory(name)
    memory.buf[0] = 7
    memory.close()


def change(mapping, values):
    mapping["key"] = 1
    values.append(2)


def serve(connection):
    sock = connection.recv()
    sock.sendall(b"from the child")
    sock.close()


class Primitives:
    """Each method uses one of them, and returns true if it does what it should."""

    def __init__(self, method):
        self.context = multiprocessing.get_context(method)

    def run(self, function, *args):
        process = self.context.Process(target=function, args=args)
        process.start()
        return process

    def ends_well(self, *processes):
        for process in processes:
            process.join(30)
        return all(process.exitcode == 0 for process in processes)

    def process(self):
        return self.ends_well(self.run(square, 2))

    def pool(self):
        with self.context.Pool(3) as pool:
            return (
                pool.map(square, range(50)) == list(map(square, range(50)))
                and sorted(pool.imap_unordered(square, range(9))) == list(map(square, range(9)))
                and [gevent.spawn(pool.apply, square, (n,)).get() for n in range(5)][4] == 16
            )

    def queue(self):
        queue = self.context.Queue()
        process = self.run(put, queue, "x" * 200_000)
        received = queue.get(timeout=30)
        queue.put("from here" * 20_000)
        return len(received) == 200_000 and len(queue.get()) == 180_000 and self.ends_well(process)

    def simple_queue(self):
        queue = self.context.SimpleQueue()
        process = self.run(put, queue, b"x" * 200_000)
        return len(queue.get()) == 200_000 and self.ends_well(process)

    def joinable_queue(self):
        queue = self.context.JoinableQueue()
        gevent.spawn(lambda: [(queue.get(), queue.task_done()) for _ in range(3)])
        for number in range(3):
            queue.put(number)
        queue.join()
        return True

    def pipe(self):
        here, there = self.context.Pipe()
        process = self.run(answer, there)
        here.send("x" * 1_000_000)
        received = len(here.recv())
        gevent.spawn_later(0.01, here.send, None)
        return (
            received == 1_000_000 and len(here.recv_bytes()) == 300_000 and self.ends_well(process)
        )

    def socket(self):
        one, other = socket.socketpair()
        here, there = self.context.Pipe()
        process = self.run(serve, there)
        here.send(other)
        received = one.recv(20)
        one.close()
        other.close()
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        return received == b"from the child" and self.ends_well(process) and not blocked

    def manager(self):
        with self.context.Manager() as manager:
            mapping, values, event = manager.dict(), manager.list(), manager.Event()
            good = self.ends_well(self.run(change, mapping, values))
            # Each greenlet has a connection of its own.
            gevent.joinall([gevent.spawn(mapping.__setitem__, n, n) for n in range(9)])
            gevent.spawn_later(0.02, event.set)
            return good and event.wait(20) and len(mapping) == 10 and list(values) == [2]

    def event(self):
        event = self.context.Event()
        process = self.run(set_soon, event)
        return event.wait(30) and self.ends_well(process)

    def lock(self):
        lock, value = self.context.Lock(), self.context.Value("i", 0, lock=False)
        processes = [self.run(count, lock, value) for _ in range(2)]
        count(lock, value)
        return self.ends_well(*processes) and value.value == 150

    def rlock(self):
        lock, value = self.context.RLock(), self.context.Value("i", 0)
        with lock, lock:
            refused = not gevent.spawn(lock.acquire, False).get()
            process = self.run(count, lock, value)
            gevent.sleep(0.02)
            alone = value.value == 0
        try:
            lock.release()
        except AssertionError:
            return refused and alone and self.ends_well(process) and value.value == 50

    def semaphore(self):
        semaphore, queue = self.context.Semaphore(2), self.context.Queue()
        processes = [self.run(pass_through, semaphore, queue) for _ in range(3)]
        passed = [queue.get(timeout=30) for _ in processes]
        bounded = self.context.BoundedSemaphore(1)
        with bounded:
            late = not gevent.spawn(bounded.acquire, timeout=0.01).get()
        try:
            bounded.release()
        except ValueError:
            return late and all(passed) and self.ends_well(*processes)

    def condition(self):
        condition, value = self.context.Condition(), self.context.Value("i", 0)
        with condition:
            process = self.run(notify, condition, value)
            met = condition.wait_for(lambda: value.value == 1, 30)
        return met and self.ends_well(process)

    def barrier(self):
        barrier, queue = self.context.Barrier(3), self.context.Queue()
        processes = [self.run(meet, barrier, queue) for _ in range(2)]
        barrier.wait(30)
        return all(queue.get(timeout=30) for _ in processes) and self.ends_well(*processes)

    def array(self):
        array = self.context.Array("i", 10)
        return self.ends_well(self.run(fill, array)) and list(array) == list(range(10))

    def shared_memory(self):
        memory = shared_memory.SharedMemory(create=True, size=10)
        try:
            return self.ends_well(self.run(write_shared, memory.name)) and memory.buf[0] == 7
        finally:
            memory.close()
            memory.unlink()

    def executor(self):
        with ProcessPoolExecutor(2, mp_context=self.context) as executor:
            squares = list(executor.map(square, range(20)))
            return squares == list(map(square, range(20)))


def primitives(method):
    """Use each of them while another greenlet counts on."""
    ticks = []

    def tick():
        while True:
            ticks.append(None)
            gevent.sleep(0.001)

    gevent.spawn(tick)
    made = Primitives(method)
    found = {}
    for name in (name for name in vars(Primitives) if name not in ("run", "ends_well")):
        if not name.startswith("_"):
            with gevent.Timeout(50, TimeoutError(name)):
                found[name] = bool(getattr(made, name)())
    return found, len(ticks) > 20


def kill_children(method):
    """The end of a killed child ends the waits for it, and no other greenlet's work."""
    context = multiprocessing.get_context(method)
    process = context.Process(target=time.sleep, args=(60,))
    process.start()
    gevent.spawn_later(0.02, process.kill)
    process.join(30)
    here, there = context.Pipe()
    answering = context.Process(target=answer, args=(there,))
    answering.start()
    there.close()
    here.send("x")
    here.recv()
    gevent.spawn_later(0.02, answering.terminate)
    try:
        here.recv()
        ended = "no end"
    except (EOFError, ConnectionResetError):
        ended = "end"
    answering.join(30)
    with ProcessPoolExecutor(1, mp_context=context) as executor:
        try:
            executor.submit(os.kill, executor.submit(os.getpid).result(30), signal.SIGKILL).result(
                30
            )
            broken = False
        except BrokenProcessPool:
            broken = True
    return process.exitcode, ended, answering.exitcode, broken


def wait_for_parent(connection):
    parent = multiprocessing.parent_process()

    def tick():
        for _ in range(3):
            gevent.sleep(0.001)
        connection.send("another greenlet runs")

    gevent.spawn(tick)
    parent.join()
    connection.send(parent.is_alive())


def run_parent(method, connection):
    process = multiprocessing.get_context(method).Process(
        target=wait_for_parent, args=(connection,), daemon=False
    )
    process.start()
    gevent.sleep(60)


def kill_parent(method):
    """A child of a parent that was killed learns of it, while its other greenlets run."""
    context = multiprocessing.get_context(method)
    here, there = context.Pipe()
    parent = context.Process(target=run_parent, args=(method, there))
    parent.start()
    told = here.recv()
    parent.kill()
    parent.join(30)
    return told, here.recv()


def kill_greenlets(method):
    """A greenlet that is killed while it waits tears no message and keeps no lock."""
    context = multiprocessing.get_context(method)
    gevent.get_hub().exception_stream = None
    queue = context.Queue()
    for _ in range(3):
        waiting = gevent.spawn(queue.get)
        gevent.sleep(0.01)
        waiting.kill()
    queue.put("first")
    got = [queue.get(timeout=30)]
    here, there = context.Pipe()
    size = 2_000_000
    # Killed in the middle of a message: both sides still find the next one.
    sending = gevent.spawn(here.send_bytes, b"a" * size)
    gevent.sleep(0.01)
    sending.kill(block=False)
    receiving = gevent.spawn(there.recv_bytes)
    gevent.sleep(0)
    receiving.kill(block=False)
    gevent.joinall([sending, receiving], timeout=30)
    following = gevent.spawn(here.send, "next")
    message = there.recv_bytes()
    got += [len(message) == size and there.poll(20) and there.recv()]
    following.join(30)
    # A receiver that never comes keeps no greenlet for ever.
    stuck = gevent.spawn(here.send_bytes, b"a" * size)
    gevent.sleep(0.01)
    there.close()
    stuck.join(30)
    return got, sending.successful(), type(stuck.exception).__name__


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
