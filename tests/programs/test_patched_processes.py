"""multiprocessing, and Celery's fork of it, in processes where everything is patched."""

import pytest

METHODS = ["fork", "spawn", "forkserver"]
PROGRAM = "patched_processes.py"
INTERRUPTED = "interrupted_processes.py"


@pytest.mark.parametrize("method", METHODS)
def test_every_primitive_lets_other_greenlets_run(result_of, method):
    found, ticked = result_of(PROGRAM, "primitives", method, timeout=170)
    assert [name for name, right in found.items() if not right] == []
    assert len(found) == 17
    assert ticked


@pytest.mark.parametrize("method", METHODS)
def test_children_are_killed(result_of, method):
    assert result_of(PROGRAM, "kill_children", method) == [-9, "end", -15, True]


@pytest.mark.parametrize("method", METHODS)
def test_a_parent_is_killed(result_of, method):
    assert result_of(PROGRAM, "kill_parent", method) == ["another greenlet runs", False]


@pytest.mark.parametrize("method", METHODS)
def test_greenlets_are_killed(result_of, method):
    got, sent, stuck = result_of(PROGRAM, "kill_greenlets", method)
    assert got == ["first", "next"]
    assert stuck == "BrokenPipeError"
    assert sent


@pytest.mark.parametrize(
    ("part", "outcome"),
    [
        ("proxies", [0, 1, 2]),
        ("queues", [[True, "kept", True, "kept", "kept"], []]),
        ("conditions", [False, *[True] * 6] * 2),
        ("messages", [True, True, True]),
        ("executors", [True, True, 0]),
        ("handles", ["sent", [True, True]]),
    ],
)
def test_an_interrupted_greenlet_leaves_everything_usable(result_of, part, outcome):
    assert result_of(INTERRUPTED, part, "fork") == outcome


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_other_greenlets_run_while_a_process_starts(result_of, method):
    starting, with_arguments = result_of(INTERRUPTED, "ticks", method)
    # The first start waits for the fork server, and a spawned process begins to read late.
    assert (starting if method == "forkserver" else with_arguments) >= 5


@pytest.mark.parametrize("method", METHODS)
def test_many_greenlets_wait_for_a_process(result_of, method):
    assert result_of(INTERRUPTED, "joins", method) == [3] * 5


def test_a_process_whose_start_is_killed_does_not_stay(result_of):
    assert result_of(INTERRUPTED, "starts", "spawn")


def test_the_prefork_pool_of_celery(result_of, started, redis_server):
    where = {"REDIS_URL": f"{redis_server}/14"}
    with started("prefork_worker", "worker", "--pool", "prefork", "-c", 2, **where) as worker:
        seen = result_of("prefork_worker.py", "use_worker", **where)
        assert worker.wait(30) == 0
    assert seen == {"sums": True, "processes": 2, "patched": [True], "failed": "ValueError('no')"}
