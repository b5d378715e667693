"""The examples of the gevent 0.13 manual, run as printed."""

import re

import pytest


def test_subclass(output_of):
    assert output_of("manual/04_subclass") == ["True"]


def test_kill_with_an_exception(run):
    outcome = run("manual/05_kill_with_exception")
    assert (outcome.status, outcome.lines) == (0, [])
    assert "Exception: A time to kill\n" in outcome.errors
    # What __str__ returns.
    assert outcome.errors.rstrip().endswith(" MyNoopGreenlet(5) failed with Exception")


@pytest.mark.parametrize("name", ["06_greenlet", "07_greenlet_spawn"])
def test_greenlet_with_arguments(output_of, name):
    assert output_of(f"manual/{name}") == ["('arg1', 'arg2') {'kwarg1': 1}"]


def test_spawn_link(run):
    outcome = run("manual/08_spawn_link")
    assert outcome.status == 0, outcome.errors
    assert outcome.lines == [
        "function: LinkedCompleted",
        "fail: LinkedFailed",
        "function: LinkedCompleted",
        "fail: not told",
        "function: not told",
        "fail: LinkedFailed",
    ]
    assert "DeprecationWarning: spawn_link() is of gevent 0.13; today: " in outcome.errors


def test_timeout(run):
    outcome = run("manual/09_timeout")
    assert outcome.status == 1
    assert outcome.errors.endswith("RuntimeError: took too long\n")


def test_timeout_raises_itself(run):
    outcome = run("manual/10_timeout_raises_itself")
    assert outcome.status == 1
    assert re.search(r"\n(gevent\.timeout\.)?Timeout: 0\.1 seconds\n$", outcome.errors)


def test_timeout_of_a_block(output_of):
    assert output_of("manual/11_timeout_block") == ["True", "False"]


def test_silent_timeout(output_of):
    assert output_of("manual/12_silent_timeout") == [
        "0.5 seconds passed without reading a line",
        "a line was read within 0.5 seconds",
    ]


def test_whose_timeout_it_is(output_of):
    lines = output_of("manual/13_foreign_timeout")
    assert lines == ["my timeout", "not my timeout: 0.1 seconds"]


def test_async_result(output_of):
    assert output_of("manual/14_async_result") == ["100"]


def test_async_result_with_an_exception(run):
    outcome = run("manual/15_async_result_exception")
    assert outcome.status == 1
    assert outcome.errors.endswith("RuntimeError: failure\n")


def test_async_result_as_a_link(run):
    outcome = run("manual/16_async_result_link")
    assert outcome.status == 1
    assert outcome.errors.endswith("ZeroDivisionError: division by zero\n")


def test_channel(run):
    outcome = run("manual/17_channel", GEVENT_COMPAT="1")
    assert outcome.status == 0, outcome.errors
    assert outcome.lines == ["True True", "nobody has called get", "item", "put has returned"]


def test_without_the_setting_it_is_no_channel(output_of):
    lines = output_of("manual/17_channel")
    assert lines == ["True False", "put has returned", "nobody has called get", "item"]


def test_joinable_queue(output_of):
    lines = output_of("manual/18_joinable_queue")
    assert sorted(lines[:-1]) == [f"done with {n}" for n in range(10)]
    assert lines[-1] == "all tasks are done"


def test_libevent(output_of):
    assert output_of("manual/21_libevent") == [
        "True epoll",
        "False",
        "True",
        "READ True b'data' argument",
        "0",
        "1",
        "in the current loop iteration",
        "timeout True False",
        "signal",
    ]


def test_waiter(output_of):
    assert output_of("manual/22_waiter") == ["hello from Waiter"]
    assert output_of("manual/23_waiter_stores") == ["hi from Waiter"]
