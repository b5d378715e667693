"""Context variables of greenlets: those of task groups, and others by ``inherit_context``."""

import contextvars
import decimal
import sys

import pytest
import structlog
from opentelemetry import trace

import gevent
from gevent.pool import Group, Pool
from gevent.threadpool import ThreadPool, ThreadPoolExecutor

variable = contextvars.ContextVar("variable", default="empty")


@pytest.fixture
def inheriting():
    before = gevent.config.inherit_context
    gevent.config.inherit_context = True
    yield
    gevent.config.inherit_context = before


@pytest.fixture(autouse=True)
def parents_value():
    token = variable.set("parent's")
    yield
    variable.reset(token)


def pooled():
    """Each way in which something else is run by one that spawns it."""
    get = variable.get
    one = lambda _=None: get()  # noqa: E731 - takes an argument or none
    group, pool, threads = Group(), Pool(2), ThreadPool(1)
    with ThreadPoolExecutor(1) as executor:
        found = {
            "spawn": gevent.spawn(get).get(),
            "spawn_later": gevent.spawn_later(0.001, get).get(),
            "Greenlet": started(gevent.Greenlet(get)).get(),
            "Group.spawn": group.spawn(get).get(),
            "Group.map": group.map(one, [1, 2])[-1],
            "Pool.spawn": pool.spawn(get).get(),
            "Pool.apply": pool.apply(get),
            "Pool.map": pool.map(one, [1, 2, 3])[-1],
            "Pool.imap": list(pool.imap(one, [1, 2, 3]))[-1],
            "Pool.imap_unordered": list(pool.imap_unordered(one, [1, 2, 3]))[-1],
            "ThreadPool.apply": threads.apply(get),
            "ThreadPool.map": threads.map(one, [1, 2])[-1],
            "ThreadPoolExecutor": executor.submit(get).result(),
        }
        raw = []
        gevent.spawn_raw(lambda: raw.append(get()))
        gevent.sleep(0.001)
        found["spawn_raw"] = raw[0]
    threads.kill()
    return found


def started(greenlet):
    greenlet.start()
    return greenlet


def test_empty_by_default():
    assert not gevent.config.inherit_context
    assert set(pooled().values()) == {"empty"}


def test_inherited_when_asked_for(inheriting):
    assert {name: value for name, value in pooled().items() if value != "parent's"} == {}


@pytest.mark.usefixtures("inheriting")
def test_what_a_greenlet_sets_stays_its_own():
    gevent.spawn(variable.set, "child's").join()
    assert variable.get() == "parent's"


@pytest.mark.usefixtures("inheriting")
def test_the_copy_is_made_as_the_greenlet_is():
    late = gevent.spawn(variable.get)
    variable.set("later")
    assert late.get() == "parent's"


def test_children_of_a_group_always_inherit():
    with gevent.TaskGroup() as group:
        child = group.spawn(variable.get)
        group.spawn(variable.set, "child's")
        assert group.start(lambda task_status: task_status.started(variable.get())) == "parent's"
    assert child.value == "parent's"
    assert variable.get() == "parent's"


def test_a_greenlets_own_context_is_kept(inheriting):
    own = contextvars.Context()
    greenlet = gevent.Greenlet(variable.get)
    greenlet.gr_context = own
    assert started(greenlet).get() == "empty"


#: Prints the values that a greenlet, a thread and a timer find which a patched program makes.
FOUND_BY_CHILDREN = """if True:
        import contextvars, threading
        from gevent import monkey; monkey.patch_all()
        import gevent
        variable = contextvars.ContextVar("variable", default="empty")
        variable.set("parent_s")
        found = [gevent.spawn(variable.get).get()]
        thread = threading.Thread(target=lambda: found.append(variable.get()))
        thread.start()
        thread.join()
        timer = threading.Timer(0.001, lambda: found.append(variable.get()))
        timer.start()
        timer.join()
        print(found)
"""


@pytest.mark.parametrize(
    ("setting", "expected"), [("", "empty"), ("1", "parent_s"), ("no", "empty")]
)
def test_the_environment(output_of, setting, expected):
    assert output_of(FOUND_BY_CHILDREN, GEVENT_INHERIT_CONTEXT=setting) == f"{[expected] * 3}\n"


def test_an_environment_that_is_no_boolean(run_python):
    result = run_python("import gevent; gevent.spawn(int)", GEVENT_INHERIT_CONTEXT="perhaps")
    assert "ValueError: Invalid boolean string: 'perhaps'" in result.stderr


@pytest.mark.skipif(sys.version_info < (3, 14), reason="threads have a context since CPython 3.14")
@pytest.mark.parametrize("setting", ["", "1"])
def test_the_context_that_a_thread_is_given(output_of, setting):
    code = """
        import contextvars, threading
        from gevent import monkey; monkey.patch_all()
        variable = contextvars.ContextVar("variable", default="empty")
        given = contextvars.Context()
        given.run(variable.set, "given")
        found = []
        def work():
            found.append(variable.get())
            variable.set("thread's")
        thread = threading.Thread(target=work, context=given)
        thread.start()
        thread.join()
        print(found, given[variable], variable.get())
        """
    assert output_of(code, GEVENT_INHERIT_CONTEXT=setting) == "['given'] thread's empty\n"


@pytest.mark.skipif(sys.version_info < (3, 14), reason="an option of CPython since 3.14")
def test_the_default_is_that_of_threads(output_of):
    code = "import gevent; print(gevent.config.inherit_context)"
    assert output_of(code, flags=["-X", "thread_inherit_context=1"]) == "True\n"


@pytest.mark.skipif(sys.version_info < (3, 14), reason="an option of CPython since 3.14")
@pytest.mark.parametrize("setting", ["0", "1"])
def test_the_setting_comes_before_the_option(output_of, setting):
    flags = ["-X", f"thread_inherit_context={1 - int(setting)}"]
    found = output_of(FOUND_BY_CHILDREN, flags=flags, GEVENT_INHERIT_CONTEXT=setting)
    assert found == f"{['parent_s' if setting == '1' else 'empty'] * 3}\n"


def test_tracking_is_turned_off(output_of):
    """The other setting that the engine looks at for each spawn."""
    code = """
        import gevent
        print(gevent.spawn(int).spawning_greenlet)
        gevent.config.track_greenlet_tree = True
        print(gevent.spawn(int).spawning_greenlet() is gevent.getcurrent())
        """
    assert output_of(code, GEVENT_TRACK_GREENLET_TREE="0") == "None\nTrue\n"


class Spans:
    """Spans as a tracer makes them: with the identifier of the one they began in."""

    def __init__(self):
        self.parents = {}

    def begin(self, number):
        parent = trace.get_current_span().get_span_context().span_id
        self.parents[number] = parent
        context = trace.SpanContext(trace_id=1, span_id=number, is_remote=False)
        return trace.use_span(trace.NonRecordingSpan(context))

    def request(self, number):
        """A request that makes two others at once, and one when these are done."""
        with self.begin(number):
            gevent.sleep(0.001)
            with gevent.TaskGroup() as group:
                group.spawn(self.call, 10 * number + 1)
                group.spawn(self.call, 10 * number + 2)
            gevent.spawn(self.call, 10 * number + 3).join()

    def call(self, number):
        with self.begin(number):
            gevent.sleep(0.001)


@pytest.mark.usefixtures("inheriting")
def test_parents_of_spans():
    spans = Spans()
    gevent.joinall([gevent.spawn(spans.request, number) for number in (1, 2, 3)], raise_error=True)
    expected = dict.fromkeys((1, 2, 3), 0)
    expected |= {10 * number + call: number for number in (1, 2, 3) for call in (1, 2, 3)}
    assert spans.parents == expected


def test_parents_of_spans_in_groups_alone():
    spans = Spans()
    gevent.joinall([gevent.spawn(spans.request, 1)], raise_error=True)
    assert spans.parents == {1: 0, 11: 1, 12: 1, 13: 0}


def test_names_bound_for_logging():
    found = []

    def request(number):
        with structlog.contextvars.bound_contextvars(request=number), gevent.TaskGroup() as group:
            group.spawn(log, "one")
            group.spawn(log, "other")

    def log(part):
        structlog.contextvars.bind_contextvars(part=part)
        gevent.sleep(0.001)
        found.append(structlog.contextvars.merge_contextvars(None, "info", {}))

    with gevent.TaskGroup() as group:
        group.spawn(request, 1)
        group.spawn(request, 2)
    bound = [(each["request"], each["part"]) for each in found]
    assert sorted(bound) == [(1, "one"), (1, "other"), (2, "one"), (2, "other")]
    assert structlog.contextvars.get_contextvars() == {}


def test_precision_of_decimals():
    def third(precision=None):
        if precision is None:
            return decimal.Decimal(1) / 3
        with decimal.localcontext() as context:
            context.prec = precision
            gevent.sleep(0.001)
            return decimal.Decimal(1) / 3

    with decimal.localcontext() as context:
        context.prec = 4
        with gevent.TaskGroup() as group:
            inherited, own = group.spawn(third), group.spawn(third, 2)
        separate = gevent.spawn(third).get()
    assert [str(child.value) for child in (inherited, own)] == ["0.3333", "0.33"]
    assert len(str(separate)) == decimal.DefaultContext.prec + 2
