"""The conformance runner, on small suites of its own."""

import json
import sys
import textwrap

import pytest

import run
import suite

MIXED = """
    import unittest

    class Test(unittest.TestCase):
        def test_good(self):
            from gevent._patcher import MAPPING
            self.assertEqual(MAPPING["gevent.socket"], "socket")

        def test_good_too(self):
            pass

        def test_wrong(self):
            self.fail()

        def test_broken(self):
            raise OSError

        def test_skipped(self):
            self.skipTest("not here")

    if __name__ == "__main__":
        unittest.main()
"""


@pytest.fixture
def small_suite(tmp_path):
    """A function that writes a suite of the given modules and returns its folder."""
    tests = tmp_path / "gevent" / "tests"
    tests.mkdir(parents=True)
    (tests / "__init__.py").touch()

    def write(**modules):
        for name, source in modules.items():
            (tests / f"{name}.py").write_text(textwrap.dedent(source))
        return tmp_path

    return write


@pytest.fixture
def run_main(small_suite, tmp_path, monkeypatch, capsys):
    """Run the command line on a small suite; returns exit status, floors after it, and output."""

    def run_it(floors, *argv, **modules):
        folder = small_suite(**modules)
        file = tmp_path / "floors.json"
        file.write_text(json.dumps(floors))
        monkeypatch.setattr(run, "FLOORS", file)
        monkeypatch.setattr(run, "CACHE", tmp_path / "cache")
        monkeypatch.setattr(run, "fetch", lambda _cache: folder)
        monkeypatch.setattr(sys, "argv", ["run.py", *argv])
        status = run.main()
        return status, json.loads(file.read_text()), capsys.readouterr().out

    return run_it


def test_counts_each_kind_of_result(small_suite):
    outcome = suite.run_module(sys.executable, small_suite(test_mixed=MIXED), "test_mixed", 60)
    assert (outcome.passed, outcome.failed, outcome.exit) == (2, 2, 1)
    assert outcome.broken == ("test_broken", "test_wrong")


@pytest.mark.parametrize(("source", "passed"), [("pass", 1), ("raise SystemExit(3)", 0)])
def test_a_script_counts_as_one_test(small_suite, source, passed):
    outcome = suite.run_module(sys.executable, small_suite(test_script=source), "test_script", 60)
    assert (outcome.passed, outcome.failed) == (passed, 1 - passed)


def test_a_hanging_module_is_ended(small_suite):
    folder = small_suite(test_hangs="import time; time.sleep(600)")
    outcome = suite.run_module(sys.executable, folder, "test_hangs", 1)
    assert (outcome.passed, outcome.failed, outcome.exit) == (0, 1, "timeout")


def test_a_crash_after_the_tests_is_a_failure():
    outcome = suite.count("test_x", "Ran 3 tests in 0.1s\n\nOK\nSegmentation fault", -11, 0.1)
    assert (outcome.passed, outcome.failed) == (2, 1)


def test_a_module_under_its_floor_fails_the_run(run_main):
    status, floors, output = run_main({"test_mixed": 3}, test_mixed=MIXED)
    assert status == 1
    assert floors == {"test_mixed": 3}
    assert "test_mixed: 2 passed, floor 3, 2 failed, exit 1: test_broken, test_wrong" in output
    assert "conformance: 2 passed, 2 failed in 1 modules" in output


def test_a_module_at_its_floor_is_silent(run_main):
    status, _, output = run_main({"test_mixed": 2}, test_mixed=MIXED)
    assert status == 0
    assert output.count("\n") == 1


def test_a_short_module_gets_a_second_chance(run_main, tmp_path):
    mark = tmp_path / "ran"
    source = f"""
        import pathlib, sys
        mark = pathlib.Path({str(mark)!r})
        again = mark.exists()
        mark.touch()
        sys.exit(0 if again else 1)
    """
    status, _, _ = run_main({"test_twice": 1}, test_twice=source)
    assert status == 0


def test_update_raises_floors_and_never_lowers_them(run_main):
    status, floors, _ = run_main(
        {"test_fails": 1, "test_mixed": 1},
        "--update",
        *("test_fails", "test_mixed", "test_new"),
        test_fails="raise SystemExit(1)",
        test_mixed=MIXED,
        test_new="pass",
    )
    assert status == 1
    assert floors == {"test_fails": 1, "test_mixed": 2, "test_new": 1}


def test_a_version_may_have_floors_of_its_own(run_main, tmp_path):
    own = tmp_path / f"floors-{sys.version_info[0]}.{sys.version_info[1]}.json"
    own.write_text(json.dumps({"test_mixed": 1}))
    status, floors, output = run_main({"test_mixed": 3}, "--update", test_mixed=MIXED)
    assert status == 0
    assert floors == {"test_mixed": 3}
    assert json.loads(own.read_text()) == {"test_mixed": 2}
    assert "conformance: 2 passed, 2 failed in 1 modules" in output


def test_an_unknown_module_is_refused(run_main):
    with pytest.raises(SystemExit, match="no such test modules: test_missing"):
        run_main({}, "test_missing")
