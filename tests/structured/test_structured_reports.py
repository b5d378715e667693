"""Groups and scopes in reports: tracebacks, representations, trees."""

import traceback

import pytest

import gevent
from gevent import CancelScope, TaskGroup
from gevent.util import GreenletTree, format_run_info


def failing():
    raise ZeroDivisionError


def test_a_traceback_names_the_group_and_the_children():
    with pytest.raises(ExceptionGroup) as caught, TaskGroup("crawl") as group:
        child = group.spawn(failing)
    text = "".join(traceback.format_exception(caught.value))
    assert "unhandled errors in TaskGroup 'crawl' (1 sub-exception)" in text
    assert f"Raised in {child!r}" in text
    assert "in failing" in text


def test_an_error_that_takes_no_notes():
    class Stubborn(Exception):
        def add_note(self, note):
            raise TypeError("no notes")

    def fail():
        raise Stubborn

    with pytest.raises(ExceptionGroup) as caught, TaskGroup() as group:
        group.spawn(fail)
    assert [type(error) for error in caught.value.exceptions] == [Stubborn]


def test_a_child_is_shown_with_its_group():
    with TaskGroup("crawl") as group:
        child = group.spawn(gevent.sleep, 0)
        assert ": sleep(0) in TaskGroup 'crawl'" in repr(child)
    assert "in TaskGroup 'crawl'" in repr(child)
    assert "TaskGroup" not in repr(gevent.spawn(int))


def test_a_group_is_shown_with_its_state():
    group = TaskGroup("crawl")
    assert repr(group) == "<TaskGroup 'crawl': not entered>"
    with group:
        group.spawn(int)
        assert repr(group) == "<TaskGroup 'crawl': 1 child>"
        group.spawn(int)
        assert repr(group) == "<TaskGroup 'crawl': 2 children>"
        group.cancel()
        assert repr(group) == "<TaskGroup 'crawl': 0 children, cancelled>"
    assert repr(group) == "<TaskGroup 'crawl': over, cancelled>"

    class Crawl(TaskGroup):
        pass

    group = Crawl()
    assert repr(group) == f"<Crawl at {id(group):#x}: not entered>"


def test_trees_show_groups_and_scopes():
    with TaskGroup("crawl") as group, CancelScope(shield=True) as scope:
        child = group.spawn(gevent.sleep, 0.001)
        tree = GreenletTree.current_tree().format()
        info = "\n".join(format_run_info())
        for text in (tree, info):
            assert f"Child of: {group!r}" in text
            assert f"Inside: <scope of {group!r}>" in text
            assert f"Inside: {scope!r}" in text
            assert repr(child) in text
    # Not as a text that the stack in the tree shows.
    words = ("Inside:", "<")
    assert " ".join(words) not in GreenletTree.current_tree().format()


def test_the_report_of_a_child_that_is_no_group_s_error(printed):
    """An error that a kill hides is reported in the name of the group."""

    def child():
        try:
            gevent.sleep(30)
        finally:
            failing()

    def host():
        with TaskGroup("crawl") as group:
            group.spawn(child)

    greenlet = gevent.spawn(host)
    gevent.sleep(0.001)
    greenlet.kill()
    text = printed.getvalue()
    assert "<TaskGroup 'crawl': over, cancelled> failed with ZeroDivisionError" in text
    assert "Raised in <Greenlet" in text
