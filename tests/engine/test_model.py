"""Random programs against a model of the scheduler: who runs when, nobody lost, nobody woken twice.

A program is a tree of scripts, made from a seed. The model runs it with one queue, first in first
out; the greenlets that run the same scripts have to log the same steps in the same order.
"""

import random
from collections import deque

import pytest

import gevent
from gevent import GreenletExit
from gevent.hub import Waiter, get_hub

TURNS = 400


class Script:
    """The program of one greenlet: its steps, and true if it survives being killed."""

    def __init__(self, steps, stubborn):
        self.steps = steps
        self.stubborn = stubborn


def make_program(seed):
    """Return the scripts by number. Script 0 is spawned first; each other by one before it."""
    rnd = random.Random(seed)
    size = rnd.randint(5, 30)
    cells = rnd.randint(1, 8)
    spawned_by = {number: rnd.randrange(number) for number in range(1, size)}
    scripts = []
    for number in range(size):
        steps = [("spawn", child) for child, parent in spawned_by.items() if parent == number]
        for _ in range(rnd.randint(0, 8)):
            kind = rnd.choice(
                ("yield", "yield", "get", "put", "put", "kill", "join", "link", "callback")
            )
            match kind:
                case "yield":
                    steps.append(("yield",))
                case "get" | "put":
                    steps.append((kind, rnd.randrange(cells)))
                case _:
                    steps.append((kind, rnd.randrange(size)))
        rnd.shuffle(steps)
        scripts.append(Script(steps, stubborn=rnd.random() < 0.3))
    return scripts


class Model:
    """Runs the scripts in generators: each yields when it waits, and is sent how the wait ended."""

    def __init__(self, scripts):
        self.scripts = scripts
        self.log = []
        self.queue = deque()
        self.state = {}  # number -> "scheduled", "running", "over"
        self.bodies = {}
        self.waits = {}  # number -> the token of its wait
        self.links = {number: [] for number in range(len(scripts))}
        self.notifying = set()
        self.values = {}
        self.getters = {}

    def run(self):
        self.spawn(0)
        while self.queue:
            self.queue.popleft()()
        return self.log

    def spawn(self, number):
        if number not in self.state:
            self.state[number] = "scheduled"
            self.queue.append(lambda: self.start(number))

    def start(self, number):
        if self.state[number] == "scheduled":
            self.state[number] = "running"
            self.bodies[number] = self.body(number)
            self.resume(number, None)

    def resume(self, number, outcome):
        self.waits.pop(number, None)
        try:
            wait = self.bodies[number].send(outcome)
        except StopIteration:
            self.end(number)
        else:
            self.waits[number] = wait

    def wake(self, number, wait, first=False):
        """Queue a wake-up; it counts only if the greenlet waits for the same thing then."""
        if wait["woken"]:
            return
        wait["woken"] = True

        def carry_out():
            if self.waits.get(number) is wait:
                self.resume(number, "woken")

        if first:
            self.queue.appendleft(carry_out)
        else:
            self.queue.append(carry_out)

    def end(self, number):
        self.state[number] = "over"
        links = self.links[number]
        if any(kind == "call" for kind, *_ in links):
            self.notify_soon(number)
        else:
            while links:
                _, who, wait = links.pop(0)
                self.wake(who, wait)

    def notify_soon(self, number):
        if number not in self.notifying:
            self.notifying.add(number)
            self.queue.append(lambda: self.notify(number))

    def notify(self, number):
        """Tell everybody in turn; a greenlet goes on before the next is told."""
        links = self.links[number]
        while links:
            kind, who, wait = links.pop(0)
            if kind == "call":
                self.log.append(("linked", who, number))
            elif not wait["woken"]:
                self.queue.appendleft(lambda: self.notify(number))
                self.wake(who, wait, first=True)
                return
        self.notifying.discard(number)

    def kill(self, number):
        state = self.state.get(number)
        if state == "scheduled":
            self.state[number] = "over"
            self.end(number)
        elif state == "running":
            self.queue.append(lambda: self.throw(number))

    def throw(self, number):
        if self.state[number] == "running":
            if number in self.waits:
                self.waits[number]["woken"] = True
            self.resume(number, "killed")

    def put(self, cell, value):
        if cell in self.getters:
            number, wait = self.getters.pop(cell)
            if self.waits.get(number) is wait:
                self.values.setdefault(cell, [])
                self.resume(number, value)
        else:
            self.values[cell] = value

    def body(self, number):
        script = self.scripts[number]
        outcome = None
        for at, step in enumerate(script.steps):
            wait = {"woken": False}
            match step:
                case ("spawn", child):
                    self.spawn(child)
                    outcome = None
                case ("yield",):
                    self.wake(number, wait)
                    outcome = yield wait
                case ("get", cell):
                    if cell in self.getters:
                        outcome = "taken"
                    elif isinstance(self.values.get(cell), int):
                        outcome = self.values.pop(cell)
                    else:
                        self.getters[cell] = (number, wait)
                        outcome = yield wait
                        if self.getters.get(cell, (None, None))[1] is wait:
                            del self.getters[cell]
                case ("put", cell):
                    value = number * 100 + at
                    self.queue.append(lambda cell=cell, value=value: self.put(cell, value))
                    outcome = None
                case ("kill", other):
                    if other != number:
                        self.kill(other)
                    outcome = None
                case ("join", other):
                    outcome = None
                    if self.state.get(other) != "over" and other in self.state and other != number:
                        self.links[other].append(("wait", number, wait))
                        outcome = yield wait
                        entry = ("wait", number, wait)
                        if entry in self.links[other]:
                            self.links[other].remove(entry)
                case ("link", other):
                    outcome = None
                    if other in self.state:
                        self.links[other].append(("call", number, None))
                        if self.state[other] == "over":
                            self.notify_soon(other)
                case ("callback", other):
                    self.queue.append(
                        lambda other=other: self.log.append(("called", number, other))
                    )
                    outcome = None
            self.log.append((number, at, step, outcome))
            if outcome == "killed" and not script.stubborn:
                return


class Real:
    """Runs the scripts in greenlets."""

    def __init__(self, scripts):
        self.scripts = scripts
        self.log = []
        self.loop = get_hub().loop
        self.greenlets = {}
        self.waiters = {}

    def run(self):
        self.spawn(0)
        for _ in range(TURNS):
            gevent.sleep(0)
        log = list(self.log)
        # The stubborn take one for each of their waits.
        while not all(one.ready() for one in self.greenlets.values()):
            gevent.killall(self.greenlets.values(), block=False)
            gevent.sleep(0)
        return log

    def spawn(self, number):
        if number not in self.greenlets:
            self.greenlets[number] = gevent.spawn(self.body, number)

    def waiter(self, cell):
        return self.waiters.setdefault(cell, Waiter())

    def put(self, cell, value):
        self.waiter(cell).switch(value)

    def take(self, cell):
        waiter = self.waiter(cell)
        if waiter.greenlet is not None:
            return "taken"
        value = waiter.get()
        waiter.clear()
        return value

    def body(self, number):
        script = self.scripts[number]
        for at, step in enumerate(script.steps):
            try:
                outcome = self.step(number, at, step)
            except GreenletExit:
                outcome = "killed"
            self.log.append((number, at, step, outcome))
            if outcome == "killed" and not script.stubborn:
                return

    def step(self, number, at, step):
        match step:
            case ("spawn", child):
                self.spawn(child)
            case ("yield",):
                gevent.sleep(0)
                return "woken"
            case ("get", cell):
                return self.take(cell)
            case ("put", cell):
                self.loop.run_callback(self.put, cell, number * 100 + at)
            case ("kill", other):
                if other != number and other in self.greenlets:
                    self.greenlets[other].kill(block=False)
            case ("join", other):
                one = self.greenlets.get(other)
                if one is not None and not one.ready() and other != number:
                    one.join()
                    return "woken"
            case ("link", other):
                if other in self.greenlets:
                    self.greenlets[other].rawlink(
                        lambda _: self.log.append(("linked", number, other))
                    )
            case ("callback", other):
                self.loop.run_callback(self.log.append, ("called", number, other))
        return None


@pytest.mark.parametrize("start", range(0, 600, 50))
def test_steps_come_in_the_models_order(start):
    before = get_hub().loop.activecnt
    for seed in range(start, start + 50):
        scripts = make_program(seed)
        real = Real(scripts)
        got = real.run()
        expected = Model(scripts).run()
        assert got == expected, f"seed {seed}"
    gevent.sleep(0.001)
    assert get_hub().loop.activecnt <= before
