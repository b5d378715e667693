"""Random programs of deadlines: they pass in their order, and every wait ends exactly once."""

import random
import time
from itertools import count

import pytest

import gevent
from gevent import Timeout
from gevent.hub import Waiter, get_hub

LONG = 60


class Program:
    """Greenlets that sleep, wait with limits, hand values over, and kill one another at random."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.sequence = count()
        #: Of each deadline that passed: when it was set, its delay, when it was noticed, and True
        #: for a timeout, which comes after the timers and the descriptors of its turn.
        self.passed = []
        self.begun = 0
        self.ended = 0
        self.mailboxes = [Waiter() for _ in range(5)]
        self.sent = set()
        self.received = []
        self.greenlets = []
        self.protected = set()

    def delay(self):
        # Few different ones, so that many are due together.
        return self.random.choice((0.0002, 0.0005, 0.001, 0.001, 0.002, 0.003))

    def deadline(self, wait, delay):
        """Call a function that a deadline ends after `delay`, unless something else does before."""
        self.begun += 1
        setting, before = next(self.sequence), time.monotonic()
        try:
            expired = wait(delay)
            if expired:
                assert time.monotonic() - before >= delay
                self.passed.append((setting, delay, next(self.sequence), wait != self.sleep))
        finally:
            self.ended += 1

    def sleep(self, delay):
        gevent.sleep(delay)
        return True

    def with_timeout(self, delay):
        with Timeout(delay, False) as timeout:
            gevent.sleep(LONG)
        assert not timeout.pending
        return True

    def with_timeout_in_time(self, delay):
        with Timeout(LONG):
            gevent.sleep(0)
        return False

    def join_other(self, delay):
        other = self.random.choice(self.greenlets)
        if other is gevent.getcurrent():
            return False
        other.join(timeout=delay)
        return False

    def receive(self, delay):
        mailbox = self.random.choice(self.mailboxes)
        if mailbox.greenlet is not None or mailbox.ready():
            return False
        with Timeout(delay, False):
            self.received.append(mailbox.get())
            return False
        return True

    def send(self, delay):
        mailbox, value = self.random.choice(self.mailboxes), next(self.sequence)

        def hand_over():
            if mailbox.greenlet is not None:
                self.sent.add(value)
                mailbox.switch(value)

        get_hub().loop.run_callback(hand_over)
        return False

    def kill_other(self, delay):
        other = self.random.choice(self.greenlets)
        if other not in self.protected:
            other.kill(block=False)
        return False

    def spawn_later(self, delay):
        def run():
            self.passed.append((setting, delay, next(self.sequence), False))

        setting = next(self.sequence)
        # Its delay counts from the time of the loop's turn, those of the others from the present.
        get_hub().loop.update_now()
        later = gevent.spawn_later(delay, run)
        self.protected.add(later)
        self.greenlets.append(later)
        return False

    def work(self):
        for _ in range(self.random.randint(1, 12)):
            wait = self.random.choice(
                (
                    *(self.sleep, self.sleep, self.sleep, self.with_timeout, self.receive),
                    *(self.with_timeout_in_time, self.join_other, self.send, self.kill_other),
                    self.spawn_later,
                )
            )
            self.deadline(wait, self.delay())

    def run(self):
        self.greenlets = [gevent.spawn(self.work) for _ in range(self.random.randint(2, 40))]
        with Timeout(LONG):
            for one in self.greenlets:
                one.join()
            # The list also has the greenlets that were spawned meanwhile.
            gevent.joinall(self.greenlets)


@pytest.mark.parametrize("start", range(0, 60, 10))
def test_deadlines_pass_in_their_order(start):
    before = get_hub().loop.activecnt
    for seed in range(start, start + 10):
        program = Program(seed)
        program.run()
        assert all(one.successful() for one in program.greenlets)
        assert program.begun == program.ended
        # A deadline that was set before another, and is not longer, is not after it, but for
        # timeouts set before timers.
        latest = {}
        for setting, delay, noticed, is_timeout in sorted(program.passed):
            overtaken = [
                late
                for (other, was_timeout), late in latest.items()
                if other <= delay and was_timeout <= is_timeout
            ]
            assert all(late < noticed for late in overtaken), f"seed {seed}, deadline {setting}"
            kind = delay, is_timeout
            latest[kind] = max(noticed, latest.get(kind, -1))
        assert sorted(program.received) == sorted(program.sent)
    gevent.sleep(0.001)
    assert get_hub().loop.activecnt <= before


def test_equal_delays_pass_in_the_order_in_which_they_were_set():
    order = []

    def run(number, kind):
        if kind == 0:
            gevent.sleep(0.002)
        elif kind == 1:
            with Timeout(0.002, False):
                gevent.sleep(LONG)
        else:
            stuck.join(timeout=0.002)
        order.append(number)

    stuck = gevent.spawn(gevent.sleep, LONG)
    gevent.joinall([gevent.spawn(run, number, number % 3) for number in range(300)])
    # Those of one turn come together: the sleeps first, as in gevent.
    sleeps = [number for number in order if number % 3 == 0]
    timeouts = [number for number in order if number % 3]
    assert sleeps == sorted(sleeps)
    assert timeouts == sorted(timeouts)
    assert len(order) == 300
    stuck.kill()


def test_many_deadlines_that_are_taken_back():
    rnd = random.Random(1)
    timeouts = [Timeout(rnd.uniform(1, LONG)) for _ in range(2000)]
    before = get_hub().loop.activecnt
    for timeout in timeouts:
        timeout.start()
    rnd.shuffle(timeouts)
    for timeout in timeouts[:1000]:
        timeout.cancel()
    assert get_hub().loop.activecnt == before + 1000
    for timeout in timeouts:
        timeout.close()
    assert get_hub().loop.activecnt <= before
    gevent.sleep(0.001)
