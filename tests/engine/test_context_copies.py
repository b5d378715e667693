"""The copies of a context that greenlets begin with: few, and as if each had been made at once."""

import contextvars
import gc
import random
import weakref

import pytest

import gevent
from gevent.event import Event

variable = contextvars.ContextVar("variable", default="empty")
other = contextvars.ContextVar("other", default=0)


@pytest.fixture(autouse=True)
def inheriting():
    before = gevent.config.inherit_context
    gevent.config.inherit_context = True
    token = variable.set("parent's")
    yield
    variable.reset(token)
    gevent.config.inherit_context = before


class Value:
    """An object that can be watched."""


def contexts():
    return sum(isinstance(each, contextvars.Context) for each in gc.get_objects())


def in_own_context(function):
    """Call *function* in a context that nothing else runs in."""
    return contextvars.copy_context().run(function)


def test_greenlets_that_have_not_begun_share_a_copy():
    before = contexts()
    greenlets = [gevent.spawn(variable.get) for _ in range(1000)]
    assert contexts() - before < 10
    gevent.joinall(greenlets)
    assert [each.value for each in greenlets] == ["parent's"] * 1000


def test_greenlets_that_have_ended_share_a_copy():
    greenlets = [gevent.spawn(variable.get) for _ in range(1000)]
    before = contexts()
    gevent.joinall(greenlets)
    assert contexts() - before < 10
    assert {each.gr_context[variable] for each in greenlets} == {"parent's"}


def test_children_of_a_group_share_a_copy():
    gevent.config.inherit_context = False
    with gevent.TaskGroup() as group:
        before = contexts()
        children = [group.spawn(variable.get) for _ in range(1000)]
        assert contexts() - before < 10
    assert [each.value for each in children] == ["parent's"] * 1000


def test_each_changes_its_own():
    def change(number):
        seen = [variable.get()]
        variable.set(number)
        gevent.sleep(0.001)
        return [*seen, variable.get()]

    greenlets = [gevent.spawn(change, number) for number in range(50)]
    gevent.joinall(greenlets, raise_error=True)
    assert [each.value for each in greenlets] == [["parent's", number] for number in range(50)]
    assert [each.gr_context[variable] for each in greenlets] == list(range(50))
    assert variable.get() == "parent's"


def test_the_values_of_the_moment_of_the_spawn():
    greenlets = []
    for number in range(20):
        variable.set(number // 2)
        greenlets.append(gevent.spawn(variable.get))
    gevent.joinall(greenlets)
    assert [each.value for each in greenlets] == [number // 2 for number in range(20)]


def test_the_context_is_known_before_the_beginning():
    first, second = gevent.spawn(variable.get), gevent.spawn(variable.get)
    context = first.gr_context
    assert context[variable] == "parent's"
    assert first.gr_context is context
    assert second.gr_context is not context
    context.run(variable.set, "changed before the beginning")
    third = gevent.spawn(variable.get)
    values = [each.get() for each in (first, second, third)]
    assert values == ["changed before the beginning", "parent's", "parent's"]
    assert first.gr_context is context


def test_the_context_is_the_same_to_the_end():
    seen = []
    greenlet = gevent.spawn(lambda: seen.append(gevent.getcurrent().gr_context))
    gevent.spawn(int).join()
    assert greenlet.gr_context is seen[0]


def test_the_context_after_the_end_can_be_used():
    greenlets = [gevent.spawn(variable.get) for _ in range(3)]
    gevent.joinall(greenlets)
    greenlets[0].gr_context.run(variable.set, "changed after the end")
    found = [each.gr_context[variable] for each in greenlets]
    assert found == ["changed after the end", "parent's", "parent's"]


def test_a_context_that_is_set_later_counts():
    own = contextvars.Context()
    before, after, removed = (gevent.spawn(variable.get) for _ in range(3))
    before.gr_context = own
    removed.gr_context = None
    assert [each.get() for each in (before, after, removed)] == ["empty", "parent's", "empty"]
    after.gr_context = own
    assert after.gr_context is own
    with pytest.raises(TypeError):
        after.gr_context = "no context"
    assert after.gr_context is own


def test_the_context_of_a_greenlet_that_waits_can_be_entered():
    event = Event()
    greenlet = gevent.spawn(lambda: event.wait())
    gevent.sleep(0)
    assert greenlet.gr_context.run(variable.get) == "parent's"
    greenlet.gr_context.run(variable.set, "another's")
    event.set()
    greenlet.join()
    assert greenlet.gr_context[variable] == "another's"


def test_a_class_of_ones_own():
    class Own(gevent.Greenlet):
        def _run(self):
            return variable.get()

    greenlets = [Own.spawn() for _ in range(5)]
    assert [each.get() for each in greenlets] == ["parent's"] * 5


def test_a_spawner_without_a_context():
    found = []
    gevent.get_hub().loop.run_callback(lambda: found.append(gevent.spawn(variable.get)))
    gevent.sleep(0.001)
    assert found[0].get() == "empty"


@pytest.mark.parametrize("how", ["run", "killed", "never started", "changed", "left"])
def test_values_live_no_longer_than_their_greenlets(how):
    def leave():
        raise gevent.GreenletExit

    functions = {"changed": lambda: variable.set("child's"), "left": leave}

    def spawn():
        value = Value()
        variable.set(value)
        function = functions.get(how, int)
        if how == "never started":
            return weakref.ref(value), [gevent.Greenlet(function) for _ in range(3)]
        return weakref.ref(value), [gevent.spawn(function) for _ in range(3)]

    value, greenlets = in_own_context(spawn)
    if how == "killed":
        gevent.killall(greenlets)
        gevent.sleep(0)  # They are still in the ready queue.
    elif how != "never started":
        gevent.joinall(greenlets)
    gc.collect()
    if how != "changed":
        assert value() is not None
    greenlets.clear()
    gc.collect()
    assert value() is None


def test_a_greenlet_that_lasts_does_not_keep_what_it_replaced():
    def serve():
        variable.set("child's")
        gevent.sleep(10)

    def spawn():
        value = Value()
        variable.set(value)
        return weakref.ref(value), gevent.spawn(serve)

    value, greenlet = in_own_context(spawn)
    gevent.sleep(0.001)
    assert value() is None
    greenlet.kill()


def test_a_circle_through_a_context_is_collected():
    def spawn():
        value = Value()
        variable.set(value)
        value.greenlets = [gevent.spawn(int) for _ in range(3)]
        gevent.joinall(value.greenlets)
        return weakref.ref(value)

    value = in_own_context(spawn)
    gc.collect()
    assert value() is None


def test_against_a_copy_for_each():
    """Spawns, changes and switches at random see what a copy for each greenlet would show."""
    seed = random.randrange(10**9)
    choices = random.Random(seed)
    wrong = []

    def work(depth, expected):
        for _ in range(choices.randrange(1, 6)):
            if (variable.get(), other.get()) != expected:
                wrong.append((depth, expected, variable.get(), other.get()))
            step = choices.randrange(5)
            if step == 0:
                variable.set(choices.randrange(3))
            elif step == 1:
                other.set(choices.randrange(3))
            elif step == 2:
                gevent.sleep(0)
            elif depth < 4:
                for _ in range(choices.randrange(1, 4)):
                    children.append(gevent.spawn(work, depth + 1, (variable.get(), other.get())))
            expected = variable.get(), other.get()

    children = []
    for _ in range(50):
        children.append(gevent.spawn(work, 0, (variable.get(), other.get())))
        variable.set(choices.randrange(3))
    while children:
        gevent.joinall([children.pop()], raise_error=True)
    assert wrong == [], f"seed {seed}"
