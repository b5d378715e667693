#!/usr/bin/env python3
"""Random programs of nested task groups, scopes and shields, against a model.

A program's greenlets wait at places of their own. One thing at a time happens to it: a wait is
released or fails, a greenlet is killed, a scope or a group cancelled. After each, every greenlet
is where the model says, and has got what the model says.

``python tests/support/structured_fuzzer.py --seconds 60`` runs programs until the time is up or one
fails, and prints the seed of that; ``--seed N`` runs it again.
"""

import argparse
import sys
import time
from itertools import count
from random import Random

from structured_model import Model

import gevent
from gevent.event import Event


class Error(Exception):
    """The error that a wait fails with."""


class Kill(gevent.GreenletExit):
    """The error that a greenlet is killed with."""


def make_program(rng, names, depth=0):
    """Return the statements of one body."""
    statements = []
    for _ in range(rng.randint(1, 2)):
        name = f"{next(names)}"
        kind = rng.random()
        if depth > 3 or kind < 0.3:
            statements.append(("wait", name, rng.random() < 0.3))
        elif kind < 0.7:
            body = make_program(rng, names, depth + 1)
            statements.append(("scope", name, rng.random() < 0.3, body))
        else:
            children = [
                make_program(rng, names, depth + 1) for _ in range(rng.randint(0, 3 - depth // 2))
            ]
            statements.append(("group", name, children, make_program(rng, names, depth + 1)))
    return statements


def describe(error):
    """Return the words of the model for an exception."""
    if isinstance(error, gevent.Cancelled):
        return f"cancelled {error.scope.name}"
    if isinstance(error, Kill):
        return f"killed {error.args[0]}"
    if isinstance(error, Error):
        return f"error {error.args[0]}"
    if isinstance(error, BaseExceptionGroup):
        return f"group {sorted(map(describe, error.exceptions))}"
    raise error


class Scope(gevent.CancelScope):
    """A scope with a name."""


class Program:
    """A program that runs."""

    def __init__(self, statements):
        self.log = []
        self.blocks = {}
        self.places = {}
        self.failures = {}
        self.caught = set()
        self.workers = {}
        self.outcomes = {}
        self.spawn(gevent.spawn, "main", statements)

    def spawn(self, spawn, name, statements):
        self.workers[name] = spawn(self.function, name, statements)
        self.workers[name].rawlink(lambda worker: self.end(name, worker))

    def end(self, name, worker):
        if worker.exception is not None:
            self.outcomes[name] = describe(worker.exception)
        elif worker.value is None:
            self.outcomes[name] = "value"
        else:
            self.outcomes[name] = describe(worker.value)

    def function(self, worker, statements):
        for kind, name, *given in statements:
            if kind == "wait":
                self.wait(worker, name, *given)
            elif kind == "scope":
                self.scope(worker, name, *given)
            else:
                self.group(worker, name, *given)

    def wait(self, worker, name, cleans):
        try:
            self.stay(worker, name)
        except BaseException:
            if cleans:
                self.stay(worker, name + "c")
            raise

    def stay(self, worker, name):
        event = Event()
        self.places[worker] = (name, event)
        try:
            event.wait()
            if worker in self.failures:
                raise Error(self.failures.pop(worker))
        except BaseException as error:
            self.log.append((worker, name, describe(error)))
            raise
        else:
            self.log.append((worker, name, "ok"))
        finally:
            del self.places[worker]

    def scope(self, worker, name, shield, body):
        scope = Scope(shield=shield)
        scope.name = name
        self.blocks[name] = scope
        try:
            with scope:
                self.function(worker, body)
        finally:
            if scope.cancelled_caught:
                self.caught.add(name)

    def group(self, worker, name, children, body):
        group = gevent.TaskGroup(name)
        group._scope.name = name
        self.blocks[name] = group
        try:
            with group:
                for number, child in enumerate(children):
                    self.spawn(group.spawn, f"{name}.{number}", child)
                self.function(worker, body)
        finally:
            if group._scope.cancelled_caught:
                self.caught.add(name)

    def settle(self):
        """Let all that is ready run."""
        for _ in range(40):
            gevent.sleep(0)

    # The actions on it.

    def release(self, worker):
        self.places[worker][1].set()

    def fail(self, worker, number):
        self.failures[worker] = number
        self.release(worker)

    def kill(self, worker, number):
        self.workers[worker].kill(Kill(number), block=False)

    def cancel(self, name):
        self.blocks[name].cancel()


def compare(model, program, story):
    """Check that a program is where its model is."""
    seen = {name: place for name, (place, _) in program.places.items()}
    expected = {name: place for name, (place, _) in model.waiting().items()}
    assert seen == expected, f"waits at {seen}, not {expected}: {story}"
    assert sorted(program.log) == sorted(model.log), f"{program.log} not {model.log}: {story}"
    assert program.caught == model.caught, f"caught {program.caught}, not {model.caught}: {story}"
    outcomes = {
        name: worker.outcome for name, worker in model.workers.items() if worker.outcome is not None
    }
    assert program.outcomes == outcomes, f"{program.outcomes}, not {outcomes}: {story}"


def run(seed):
    """Run the program of *seed* beside its model."""
    rng = Random(seed)
    statements = make_program(rng, count())
    hub = gevent.get_hub()
    # What a child of a killed greenlet fails with, and `main`, is reported.
    hub.exception_stream = None
    try:
        model, program = Model(statements), Program(statements)
        story = [statements]
        for number in range(40):
            program.settle()
            compare(model, program, story)
            waiting = sorted(model.waiting())
            if model.workers["main"].outcome is not None:
                break
            step = rng.choice(["release", "release", "fail", "kill", "cancel", "cancel"])
            if number > 25:
                # To the end.
                step = "release" if waiting else "kill"
            if step == "cancel":
                active = sorted(model.active())
                if not active:
                    continue
                given = [rng.choice(active)]
            elif not waiting:
                continue
            else:
                given = [rng.choice(waiting)]
                given += [] if step == "release" else [number]
            story.append((step, *given))
            getattr(model, step)(*given)
            getattr(program, step)(*given)
        program.settle()
        compare(model, program, story)
    finally:
        gevent.killall(list(program.workers.values()), block=False)
        for _ in range(30):
            program.settle()
            if all(worker.dead for worker in program.workers.values()):
                break
            for _, event in list(program.places.values()):
                event.set()
        program.settle()
        del hub.exception_stream
    assert all(worker.dead for worker in program.workers.values()), "greenlets are left"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--seed", type=int)
    options = parser.parse_args()
    if options.seed is not None:
        run(options.seed)
        return
    first = Random().randrange(10**9)
    ends = time.monotonic() + options.seconds
    for number in count():
        if time.monotonic() > ends:
            print(f"{number} programs")
            return
        try:
            run(first + number)
        except BaseException:
            print(f"--seed {first + number}", file=sys.stderr)
            raise


if __name__ == "__main__":
    main()
