"""`python -m gevent.serve` under load, while it is told to reload and to end, and is killed.

Every request is accounted for. It is answered, whole and right; or it is refused, which may only
happen while the service is down; or it was in the hands of a worker at the moment when that was
killed. Anything else is lost. `CHAOS_SECONDS` says how long each run takes.
"""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import pytest
from serve_load import PROGRAM, under_load
from serve_support import Serving

SECONDS = float(os.environ.get("CHAOS_SECONDS", "6"))
CLIENTS = 6
#: The seconds between the moments at which two processes see one event on a busy machine.
BLUR = 0.25


class Chaos:
    """The events that happen to the service, made from a seed."""

    def __init__(self, start: Callable[[str], Serving], seed: int) -> None:
        self.start = start
        self.random = random.Random(seed)
        self.serving = start("127.0.0.1:0")
        self.address = self.serving.address()
        #: From when to when a worker was killed, and the service was ending or down.
        self.kills: list[tuple[float, float]] = []
        self.downs: list[tuple[float, float]] = []
        self.events: Counter[str] = Counter()

    def workers(self) -> list[int]:
        pid = self.serving.process.pid
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(one) for one in file.read().split()]

    def step(self) -> None:
        kinds = {
            self.reload: 4,
            self.reload_often: 1,
            self.end_worker: 4,
            self.kill_worker: 4,
            self.restart: 2,
            self.reload_and_restart: 2,
            self.change_number: 1,
            self.reopen: 1,
        }
        what = self.random.choices(list(kinds), list(kinds.values()))[0]
        self.events[what.__name__] += 1
        what()
        time.sleep(self.random.random() * 0.6)

    def send(self, number: int) -> None:
        self.serving.process.send_signal(number)

    def reload(self) -> None:
        self.send(signal.SIGHUP)

    def reload_often(self) -> None:
        for _ in range(10):
            self.send(signal.SIGHUP)
            time.sleep(0.02)

    def end_worker(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.random.choice(self.workers() or [0xFFFFFF]), signal.SIGTERM)

    def kill_worker(self) -> None:
        begun = time.monotonic()
        with suppress(ProcessLookupError):
            os.kill(self.random.choice(self.workers() or [0xFFFFFF]), signal.SIGKILL)
        self.kills.append((begun, time.monotonic()))

    def change_number(self) -> None:
        self.send(self.random.choice((signal.SIGTTIN, signal.SIGTTOU)))

    def reopen(self) -> None:
        self.send(signal.SIGUSR1)

    def restart(self) -> None:
        begun = time.monotonic()
        assert self.serving.stop() == 0, self.serving.rest()
        self.serving = self.start("{}:{}".format(*self.address))
        self.serving.address()
        self.downs.append((begun, time.monotonic()))

    def reload_and_restart(self) -> None:
        self.send(signal.SIGHUP)
        time.sleep(self.random.random() * 0.3)
        self.restart()


def overlaps(request: tuple[float, float, str], spans: list[tuple[float, float]]) -> bool:
    begun, ended, _ = request
    return any(begun <= end + BLUR and start - BLUR <= ended for start, end in spans)


@pytest.mark.parametrize(
    ("seed", "more"),
    [(1, ()), (2, ("--max-requests", "40", "--max-requests-jitter", "40"))],
)
def test_every_request_is_answered_or_refused(serve_program, tmp_path, seed, more):
    (tmp_path / "program.py").write_text(PROGRAM)

    def start(bind: str) -> Serving:
        options = ("--graceful-timeout", "20", "--access-log", str(tmp_path / "access"))
        return serve_program("program:app", "--bind", bind, "--workers", "2", *options, *more)

    chaos = Chaos(start, seed)
    end = time.monotonic() + SECONDS
    with under_load(chaos.address, CLIENTS, seed) as ledger:
        while time.monotonic() < end:
            chaos.step()
        time.sleep(0.5)
    assert chaos.serving.stop() == 0, chaos.serving.rest()
    print(f"seed {seed}: requests {dict(ledger.counts)}; events {dict(chaos.events)}")
    lost = [one for one in ledger.failures if not overlaps(one, chaos.kills)]
    assert lost == [], chaos.kills
    unserved = [one for one in ledger.refusals if not overlaps(one, chaos.downs)]
    assert unserved == [], chaos.downs
    # What a kill costs is at most what the worker had in its hands.
    assert ledger.counts["failed"] <= CLIENTS * len(chaos.kills)
    # It serves between the events, however slow the machine makes them.
    assert ledger.counts["answered"] > chaos.events.total()
