"""The standard library's executors and its logging in patched processes."""

import pytest


def test_thread_pool_executor(result_of):
    seen = result_of("executors.py", "thread_pool_executor")
    assert seen == {
        "met": True,
        "threads": 1,
        "done": [True, True],
        "ended": ["ZeroDivisionError", "TimeoutError"],
        "gathered": [None],
    }


def test_executor_of_native_threads(result_of):
    seen = result_of("executors.py", "native_executor")
    assert seen == {"results": True, "elsewhere": True, "ticked": True}


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_process_pool_executor(result_of, method):
    seen = result_of("executors.py", "process_pool_executor", method)
    assert seen == {
        "squares": True,
        "many": True,
        "elsewhere": True,
        "failed": "ValueError(7)",
        "ticked": True,
    }


def test_logging_from_greenlets_and_native_threads(result_of, tmp_path):
    seen = result_of("executors.py", "log_from_everywhere", tmp_path / "log")
    # 20 greenlets, 10 patched threads and 4 native ones write 50 lines each.
    assert seen == {"lines": 1700, "writers": 34, "ordered": True, "seen": 1700, "queued": 1700}


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_pool_of_processes_beside_one_of_greenlets(result_of, method):
    seen = result_of("process_pool.py", "both", method)
    assert seen == {
        "mapped": True,
        "unordered": True,
        "asked": 40,
        "failed": "ValueError(7)",
        "elsewhere": True,
        "ticked": True,
    }
