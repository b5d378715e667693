"""gevent.util: run info, greenlet trees, wrap_errors, assert_switches."""

import copy
import functools
import gc
import io
import sys
import threading
import time
import weakref

import pytest
from greenlet import getcurrent, gettrace
from greenlet import greenlet as RawGreenlet

import gevent
from gevent import util
from gevent.local import local


class Marked(local):
    def __init__(self, value):
        self.marked_value = value


@pytest.fixture
def tracked(monkeypatch):
    """Let greenlets remember what spawned them."""
    before = gevent.config.track_greenlet_tree
    gevent.config.track_greenlet_tree = True
    yield
    gevent.config.track_greenlet_tree = before


def where_it_waits():
    gevent.sleep(60)


class TestRunInfo:
    def test_threads(self):
        ready, leave = threading.Event(), threading.Event()

        def wait_here():
            ready.set()
            leave.wait(30)

        thread = threading.Thread(target=wait_here, name="a thread with a name")
        thread.start()
        try:
            ready.wait(30)
            lines = "\n".join(util.format_run_info())
        finally:
            leave.set()
            thread.join()
        assert "* Threads" in lines
        assert f"Thread {hex(thread.ident)} (a thread with a name)" in lines
        assert f"Thread {hex(threading.get_ident())} (MainThread) (CURRENT)" in lines
        assert "in wait_here" in lines

    def test_greenlets(self, tracked):
        def spawner():
            getcurrent().spawn_tree_locals["marked_key"] = 1
            marked = Marked(42)
            spawned = gevent.spawn(where_it_waits)
            try:
                spawned.join()
            finally:
                spawned.kill()
            return marked

        greenlet = gevent.spawn(spawner)
        greenlet.name = "the spawner"
        gevent.sleep(0)
        gevent.sleep(0)
        lines = "\n".join(util.format_run_info(thread_stacks=False))
        greenlet.kill()
        assert "* Greenlets" in lines
        assert '<Greenlet "the spawner"' in lines
        assert "in where_it_waits" in lines
        assert "Spawned at:" in lines
        assert "{'marked_key': 1}" in lines
        assert "{'marked_value': 42}" in lines
        assert "...stack elided..." in lines

    def test_without_greenlet_stacks(self):
        greenlet = gevent.spawn(where_it_waits)
        gevent.sleep(0)
        lines = "\n".join(util.format_run_info(greenlet_stacks=False))
        greenlet.kill()
        assert "Running:" not in lines

    def test_leaves_nothing_behind(self):
        def report():
            util.print_run_info(file=io.StringIO())

        gc.collect()
        gc.disable()
        try:
            alive = weakref.ref(gevent.spawn(report))
            alive().join()
            gevent.sleep(0)
            assert alive() is None, "without a cycle that only the collector could break"
        finally:
            gc.enable()

    def test_print(self, capsys):
        stream = io.StringIO()
        util.print_run_info(file=stream)
        assert stream.getvalue().startswith("*" * 80 + "\n* Threads\n")
        util.print_run_info()
        assert "* Greenlets" in capsys.readouterr().err


class TestGreenletTree:
    def test_hierarchy(self, tracked):
        found = {}

        def inner():
            found["tree"] = util.GreenletTree.current_tree()

        def outer():
            found["inner"] = gevent.spawn(inner)
            found["inner"].join()

        greenlet = gevent.spawn(outer)
        greenlet.join()
        tree = found["tree"]
        assert tree.root
        assert tree.is_current_tree
        assert tree.greenlet is getcurrent()
        children = {child.greenlet: child for child in tree.child_trees}
        assert tree.child_trees[0].greenlet is gevent.get_hub()
        assert not children[greenlet].root
        assert [c.greenlet for c in children[greenlet].child_trees] == [found["inner"]]

    def test_states(self, tracked):
        def fail():
            raise ValueError("expected")

        gevent.get_hub().exception_stream = None
        failed = gevent.spawn(fail)
        returned = gevent.spawn(lambda: "x" * 100)
        gevent.joinall([failed, returned])
        del gevent.get_hub().exception_stream
        unstarted = gevent.Greenlet(fail)
        shown = str(util.GreenletTree.current_tree())
        assert f"{failed!r}; finished with exception ValueError('expected')" in shown
        assert f"{returned!r}; finished with value '{'x' * 29}\n" in shown + "\n"
        assert f"{unstarted!r}; not running" in shown
        assert "Parent" not in shown

    def test_layout(self):
        # Real trees hold whatever greenlets the process has; this one is built by hand.
        root, first, child, grandchild, sibling, second, nephew = trees = [
            util.GreenletTree(RawGreenlet(len)) for _ in range(7)
        ]
        root.add_child(first)
        first.add_child(child)
        child.add_child(grandchild)
        first.add_child(sibling)
        root.add_child(second)
        second.add_child(nephew)
        lines = root.format_lines({"running_stacks": False})
        names = {repr(tree.greenlet): f"<{index}>" for index, tree in enumerate(trees)}
        names[repr(getcurrent())] = "<main>"
        for name, short in names.items():
            lines = [line.replace(name, short) for line in lines]
        assert lines == [
            "<0>; not running",
            " :    Parent: <main>",
            " +--- <1>; not running",
            " :          Parent: <main>",
            " |    +--- <2>; not running",
            " :                Parent: <main>",
            " |    |    +--- <3>; not running",
            " :                      Parent: <main>",
            " |    +--- <4>; not running",
            " :                Parent: <main>",
            " +--- <5>; not running",
            "            Parent: <main>",
            "      +--- <6>; not running",
            "                  Parent: <main>",
        ]

    def test_roots_and_ignored(self):
        def run():
            child = RawGreenlet(util.GreenletTree.current_tree)
            child.parent.greenlet_tree_is_ignored = True
            child.greenlet_tree_is_root = True
            return child, child.switch()

        child, tree = RawGreenlet(run).switch()
        assert tree.greenlet is child
        assert tree.child_trees == []

    def test_forest_has_the_trees_of_other_threads(self):
        ready, leave = threading.Event(), threading.Event()
        mains = []

        def run():
            mains.append(getcurrent())
            ready.set()
            leave.wait(30)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            ready.wait(30)
            roots = {tree.greenlet: tree for tree in util.GreenletTree.forest()}
        finally:
            leave.set()
            thread.join()
        assert not roots[mains[0]].is_current_tree
        assert roots[getcurrent()].is_current_tree


class TestWrapErrors:
    def test_returns_the_expected(self):
        parse = util.wrap_errors((ValueError, TypeError), int)
        assert parse("3") == 3
        assert isinstance(parse("x"), ValueError)
        assert isinstance(parse(None), TypeError)

    def test_raises_the_rest(self):
        divide = util.wrap_errors(ValueError, lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            divide()

    def test_looks_like_the_function(self):
        def function():
            """Documented."""

        function.attribute = 5
        wrapped = util.wrap_errors(ValueError, function)
        assert (str(wrapped), repr(wrapped)) == (str(function), repr(function))
        assert wrapped.__name__ == "function"
        assert wrapped.__doc__ == "Documented."
        assert wrapped.attribute == 5
        assert copy.copy(wrapped)() is None

    def test_of_something_without_a_name(self):
        assert util.wrap_errors(ValueError, functools.partial(int, "x"))().args


class TestAssertSwitches:
    def test_a_body_that_does_not_switch(self):
        with (
            pytest.raises(AssertionError, match=r"^To any greenlet in \d\.\d{4} seconds\n") as info,
            util.assert_switches(),
        ):
            time.sleep(0.001)
        assert "appears to be blocked" in str(info.value)
        assert "test_a_body_that_does_not_switch" in str(info.value)

    def test_a_body_that_waits(self):
        with util.assert_switches():
            gevent.sleep(0.001)
        with util.assert_switches():
            gevent.sleep(0)

    def test_a_body_that_lets_a_greenlet_run(self):
        ran = []
        gevent.spawn(ran.append, 1)
        with util.assert_switches():
            gevent.sleep(0)
        assert ran == [1]

    def test_time_between_switches(self):
        def block_and_wait():
            time.sleep(0.05)
            gevent.sleep(0.001)

        with (
            pytest.raises(AssertionError, match=r"\(max allowed 0\.0010 seconds\)"),
            util.assert_switches(max_blocking_time=0.001),
        ):
            block_and_wait()
        with util.assert_switches(max_blocking_time=60):
            pass

    def test_time_away_from_the_hub(self):
        with (
            pytest.raises(AssertionError, match=r"^To the hub in"),
            util.assert_switches(max_blocking_time=0.001, hub_only=True),
        ):
            time.sleep(0)
        with util.assert_switches(max_blocking_time=60, hub_only=True):
            gevent.sleep(0.001)

    def test_exceptions_pass(self):
        with pytest.raises(KeyError), util.assert_switches():
            raise KeyError

    def test_nested(self):
        before = gettrace()
        with util.assert_switches() as outer:
            assert gettrace() is outer.tracer
            with util.assert_switches() as inner:
                assert gettrace() is inner.tracer
                assert inner.tracer.previous_trace_function is outer.tracer
                gevent.sleep(0.001)
            assert gettrace() is outer.tracer
        assert gettrace() is before
        assert outer.tracer is None


def test_clear_stack_frames():
    def finished():
        held = [1]
        return held and sys._getframe()

    frame = finished()
    assert frame.f_locals["held"] == [1]
    util.clear_stack_frames(frame)
    assert frame.f_locals == {}
