"""The examples of the two gevent tutorials, run as printed: what they say comes out."""

import re
import signal
import time
from pathlib import Path

import pytest

both = pytest.mark.parametrize("tutorial", ["tutorial", "tutorial_ja"])


@both
def test_context_switch(output_of, tutorial):
    assert output_of(f"{tutorial}/01_context_switch") == [
        "Running in foo",
        "Explicit context to bar",
        "Explicit context switch to foo again",
        "Implicit context switch back to bar",
    ]


@both
def test_select(output_of, tutorial):
    lines = output_of(f"{tutorial}/02_select")
    words = [re.sub(r":?,?( +at)+ [\d.]+ seconds$", "", line) for line in lines]
    assert words == [
        "Started Polling",
        "Started Polling",
        "Hey lets do some stuff while the greenlets poll",
        "Ended Polling",
        "Ended Polling",
    ]
    seconds = [float(line.split()[-2]) for line in lines]
    assert all(second < 1.9 for second in seconds[:3])
    # Side by side: one after another it would be four seconds.
    assert all(1.9 < second < 3.9 for second in seconds[3:])


@both
def test_nondeterministic_tasks(output_of, tutorial):
    lines = output_of(f"{tutorial}/03_nondeterministic_tasks")
    one_by_one, side_by_side = lines[1:10], lines[11:]
    assert (lines[0], lines[10]) == ("Synchronous:", "Asynchronous:")
    assert one_by_one == [f"Task {n} done" for n in range(1, 10)]
    assert sorted(side_by_side) == [f"Task {n} done" for n in range(10)]


@both
def test_fetch(output_of, web, tutorial):
    lines = output_of(f"{tutorial}/04_fetch", **web.settings)
    processes = [int(line.split()[1].rstrip(":")) for line in lines if "Process" in line]
    assert (lines[0], lines[10]) == ("Synchronous:", "Asynchronous:")
    assert processes[:9] == list(range(1, 10))
    assert sorted(processes[9:]) == list(range(1, 10))
    assert all(re.search(r" 2013-01-01 00:00:\d\d$", line) for line in lines if "Process" in line)
    assert set(web.asked) == {"http://json-time.appspot.com/time.json"}
    assert web.most > 1


def test_determinism(output_of):
    processes, greenlets = output_of("tutorial_ja/05_determinism", forking=True)
    assert greenlets == "True"
    if processes == "True":
        # Chance may have the processes end in the same order, but hardly twice.
        processes, _ = output_of("tutorial_ja/05_determinism", forking=True)
    assert processes == "False"


@pytest.mark.parametrize("name", ["tutorial/05_spawning", "tutorial_ja/06_spawning"])
def test_spawning(output_of, name):
    assert output_of(name) == ["Hello", "I live!"]


@pytest.mark.parametrize("name", ["tutorial/06_subclass", "tutorial_ja/07_subclass"])
def test_subclass(run, name):
    outcome = run(name)
    assert (outcome.status, outcome.lines) == (0, ["Hi there!"])
    assert outcome.seconds >= 3


@pytest.mark.parametrize("name", ["tutorial/07_state", "tutorial_ja/08_state"])
def test_state(run, name):
    outcome = run(name)
    assert outcome.status == 0
    winner, loser = outcome.lines[0:8:2], outcome.lines[1:8:2]
    # started, value, ready(), successful()
    assert winner == ["True", "You win!", "True", "True"]
    assert loser == ["True", "None", "True", "False"]
    assert outcome.lines[8:] == ["You fail at failing."]
    assert "Exception: You fail at failing.\n" in outcome.errors
    assert outcome.errors.rstrip().endswith(" failed with Exception")


def test_shutdown(started):
    with started("tutorial_ja/09_shutdown") as process:
        status = Path(f"/proc/{process.pid}/status")
        caught = 1 << (signal.SIGQUIT - 1)
        end = time.monotonic() + 30
        while not int(re.search(r"SigCgt:\s*(\w+)", status.read_text())[1], 16) & caught:
            assert time.monotonic() < end, "the handler was not installed"
            time.sleep(0.01)
        time.sleep(0.2)
        process.send_signal(signal.SIGQUIT)
        assert process.wait(30) == 0


def test_timeout(output_of):
    assert output_of("tutorial_ja/10_timeout") == ["Could not complete"]


def test_timeout_of_a_block(run):
    outcome = run("tutorial_ja/11_timeout_block")
    assert (outcome.status, outcome.lines) == (1, [])
    assert outcome.errors.rstrip().endswith("TooLong")
    assert 5 <= outcome.seconds < 10


def test_timeout_arguments(output_of):
    lines = output_of("tutorial_ja/12_timeout_arguments")
    assert lines == [f"Thread {n} timed out" for n in (1, 2, 3)]


def test_event(output_of):
    assert output_of("tutorial/08_event") == [
        "A: Hey wait for me, I have to do something",
        *["I'll wait for you"] * 5,
        "Ok, I'm done",
        *["It's about time"] * 5,
    ]


def test_event_without_a_value(run):
    outcome = run("tutorial_ja/13_event")
    assert (outcome.status, outcome.lines) == (0, ["I live!"])
    assert outcome.seconds >= 3


@pytest.mark.parametrize("name", ["tutorial/09_async_result", "tutorial_ja/14_async_result"])
def test_async_result(run, name):
    outcome = run(name)
    assert (outcome.status, outcome.lines) == (0, ["Hello!"])
    assert outcome.seconds >= 3


@pytest.mark.parametrize("name", ["tutorial/10_queue", "tutorial_ja/15_queue"])
def test_queue(output_of, name):
    workers = ["steve", "john", "nancy"] * 8
    got = [f"Worker {workers[n]} got task {n + 1}" for n in range(24)]
    assert output_of(name) == [*got, *["Quitting time!"] * 3]


def test_bounded_queue(output_of):
    lines = output_of("tutorial_ja/16_bounded_queue")
    got = [line for line in lines if "got task" in line]
    assert [int(line.split()[-1]) for line in got] == list(range(1, 20))
    assert {line.split()[1] for line in got} == {"steve", "john", "bob"}
    assert lines[-3:] == ["Quitting time!"] * 3
    # The boss is ahead of the workers by what the queue holds, and what they have in hand.
    first = lines.index("Assigned all work in iteration 1")
    second = lines.index("Assigned all work in iteration 2")
    assert 9 - 3 - 1 <= first <= 9
    assert first < second


def test_group(output_of):
    assert output_of("tutorial_ja/17_group") == ["bar"] * 3 + ["foo"] * 3 + ["fizz"] * 3


def test_group_map(output_of):
    lines = output_of("tutorial_ja/18_group_map")
    assert lines[0:6:2] == ["Size of group 3"] * 3
    assert len(set(lines[1:6:2])) == 3
    assert all(re.fullmatch(r"Hello from Greenlet \d+", line) for line in lines[1:6:2])
    assert lines[6:10] == ["Ordered", "('task', 0)", "('task', 1)", "('task', 2)"]
    assert lines[10:] == ["Unordered", "('task', 2)", "('task', 1)", "('task', 0)"]


def test_pool(output_of):
    sizes = [int(line.removeprefix("Size of pool ")) for line in output_of("tutorial_ja/19_pool")]
    assert sizes == [2, 2, 1]


def test_socket_pool_is_a_class_to_read(output_of):
    assert output_of("tutorial_ja/20_socket_pool") == []


def test_semaphore(run):
    outcome = run("tutorial_ja/21_semaphore")
    assert outcome.lines == [
        f"Worker {n} {what} semaphore"
        for pair in ((0, 1), (3, 4), (5,))
        for what in ("acquired", "released")
        for n in pair
    ]
    assert (
        "DeprecationWarning: gevent.coros is of gevent 0.13; today: gevent.lock" in outcome.errors
    )


def test_actors(started):
    with started("tutorial_ja/22_actors") as process:
        lines = [process.stdout.readline().strip() for _ in range(201)]
    assert lines == ["start", *["ping", "pong"] * 100]
