"""The examples of gevent's introduction, run as printed."""

import re


def test_concurrent_lookups(output_of, name_server):
    # The program waits for two seconds, which is too short for one answer after another.
    for name in "introduction/01_concurrent_lookups", "manual/01_concurrent_lookups":
        assert output_of(name, **name_server) == ["['10.1.2.3', '10.1.2.3', '10.1.2.3']"]


def test_unhandled_error(run):
    for name in "introduction/02_unhandled_error", "manual/03_unhandled_error":
        outcome = run(name)
        assert (outcome.status, outcome.lines) == (0, [])
        assert outcome.errors.startswith("Traceback (most recent call last):\n")
        assert "\nZeroDivisionError: " in outcome.errors
        assert re.search(r"<Greenlet at 0x\w+: .*> failed with ZeroDivisionError\n", outcome.errors)


def test_monkey_patching(output_of, web):
    web.together = 3
    lines = output_of("introduction/03_monkey_patching", **web.settings)
    hosts = [f"http://www.{name}" for name in ("google.com", "example.com", "python.org")]
    assert lines[:3] == [f"Starting {host}" for host in hosts]
    assert sorted(line.split(": ")[0] for line in lines[3:]) == sorted(hosts)
    assert all(': 35 bytes: b\'{"datetime"' in line for line in lines[3:])
    assert web.most == 3


def test_monkey_patching_in_the_manual(output_of, web):
    web.together = 3
    assert output_of("manual/02_monkey_patching", **web.settings) == ["[200, 200, 200]"]
    assert web.most == 3
