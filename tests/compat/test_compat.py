"""Names of gevent 0.13: where they are, what they warn of, and what they cost."""

import importlib
import warnings

import pytest

import gevent
from gevent.queue import Empty, Full, JoinableQueue, LifoQueue, PriorityQueue, Queue

MODULES = ["coros", "dns", "http", "proc", "rawgreenlet", "sslold", "win32util", "wsgi"]


def old_names():
    table = importlib.import_module("gevent.compat")._NAMES
    return [(module, name) for module, names in table.items() for name in names]


@pytest.mark.parametrize(("module", "name"), old_names())
def test_an_old_name_warns_of_itself(module, name):
    with pytest.warns(DeprecationWarning, match=f"{module}.{name} is of gevent 0.13; today: ") as w:
        assert getattr(importlib.import_module(module), name) is not None
    assert w[0].filename == __file__


@pytest.mark.parametrize("module", sorted({module for module, _ in old_names()}))
def test_what_was_never_there_is_not_there(module):
    with pytest.raises(AttributeError, match=f"module '{module}' has no attribute 'nothing'"):
        importlib.import_module(module).nothing  # noqa: B018


@pytest.mark.parametrize("name", MODULES)
def test_an_old_module_warns_of_itself(run_python, name):
    result = run_python(f"import gevent.{name}; print(gevent.{name}.__all__)")
    assert result.returncode == 0, result.stderr
    assert f"DeprecationWarning: gevent.{name} is of gevent 0.13; today: " in result.stderr
    assert "<string>:1:" in result.stderr


@pytest.mark.parametrize("name", MODULES)
def test_an_old_module_has_what_it_says(name):
    with warnings.catch_warnings(action="ignore"):
        module = importlib.import_module(f"gevent.{name}")
    assert all(hasattr(module, public) for public in module.__all__)


def test_calls_warn():
    calls = [
        lambda: gevent.spawn_link_exception(int).join(),
        lambda: gevent.spawn(int).link_exception(),
        lambda: gevent.spawn(int).unlink(),
        lambda: gevent.signal(10, print).cancel(),
        gevent.shutdown,
    ]
    for call in calls:
        with pytest.warns(DeprecationWarning, match="is of gevent 0.13; today: ") as seen:
            call()
        assert seen[0].filename == __file__


def test_nothing_is_loaded_before_it_is_used(output_of):
    assert (
        output_of("""
        import sys, gevent, gevent.pool, gevent.hub, gevent.greenlet, gevent.signal, gevent.queue
        gevent.spawn(int).link(print)
        print([name for name in sys.modules if name.startswith("gevent.compat")])
    """)
        == "[]\n"
    )


def test_todays_names_are_all_that_a_star_brings():
    assert not {"spawn_link", "shutdown", "signal", "core"} & set(gevent.__all__)
    assert "__getattr__" not in vars(gevent)


class TestChannel:
    """``Queue(0)`` with the setting on."""

    @pytest.fixture(autouse=True)
    def setting(self):
        gevent.config.compat = True
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Queue.0. is a channel", DeprecationWarning)
            yield
        gevent.config.compat = False

    def test_it_warns(self):
        with pytest.warns(DeprecationWarning, match="use gevent.queue.Channel"):
            Queue(0)

    @pytest.mark.parametrize("cls", [Queue, JoinableQueue, LifoQueue, PriorityQueue])
    def test_put_waits_for_get(self, cls):
        queue = cls(0)
        assert (queue.qsize(), queue.empty(), queue.full()) == (0, True, True)
        putters = [gevent.spawn(queue.put, item) for item in (1, 2)]
        gevent.sleep(0)
        assert (queue.qsize(), queue.empty(), queue.full()) == (0, True, True)
        assert not any(putter.ready() for putter in putters)
        assert queue.peek() == 1
        assert queue.get() == 1
        putters[0].join(20)
        assert [putter.ready() for putter in putters] == [True, False]
        assert queue.get_nowait() == 2
        putters[1].join(20)
        assert putters[1].successful()

    def test_get_waits_for_put(self):
        queue = Queue(0)
        getters = [gevent.spawn(queue.get) for _ in range(3)]
        gevent.sleep(0)
        queue.put("a")
        queue.put_nowait("b")
        queue.put("c", timeout=5)
        assert sorted(getter.get(timeout=20) for getter in getters) == ["a", "b", "c"]
        with pytest.raises(Full):
            queue.put_nowait("d")

    def test_put_from_the_hub(self):
        queue, results = Queue(0), []

        def put(item):
            try:
                queue.put(item)
                results.append(item)
            except Full:
                results.append(Full)

        getter = gevent.spawn(queue.get)
        gevent.sleep(0)
        for item in 1, 2:
            gevent.get_hub().loop.run_callback(put, item)
        assert getter.get(timeout=20) == 1
        assert results == [1, Full]

    def test_get_from_the_hub(self):
        queue, results = Queue(0), []
        putter = gevent.spawn(queue.put, 1)
        gevent.sleep(0)
        gevent.get_hub().loop.run_callback(lambda: results.append(queue.get()))
        putter.join(20)
        assert results == [1]

    def test_nobody_comes(self):
        queue = Queue(0)
        with pytest.raises(Full):
            queue.put(1, timeout=0.001)
        with pytest.raises(Empty):
            queue.get(timeout=0.001)
        with pytest.raises(Full):
            queue.put(1, block=False)
        with pytest.raises(Empty):
            queue.get_nowait()
        assert (len(queue), queue.empty()) == (0, True)

    def test_a_killed_putter_takes_its_item_back(self):
        queue = Queue(0)
        first, second = gevent.spawn(queue.put, 1), gevent.spawn(queue.put, 2)
        gevent.sleep(0)
        first.kill()
        assert queue.get() == 2
        second.join(20)
        assert second.successful()

    def test_a_killed_getter_loses_nothing(self):
        queue = Queue(0)
        first, second = gevent.spawn(queue.get), gevent.spawn(queue.get)
        gevent.sleep(0)
        first.kill(block=False)
        queue.put("item", timeout=5)
        assert second.get(timeout=20) == "item"
        assert isinstance(first.value, gevent.GreenletExit)

    def test_many(self):
        queue, got = Queue(0), []

        def consume():
            got.extend(queue.get() for _ in range(50))

        consumers = [gevent.spawn(consume) for _ in range(4)]
        producers = [
            gevent.spawn(lambda n=n: [queue.put((n, i)) for i in range(40)]) for n in range(5)
        ]
        gevent.joinall(consumers + producers, timeout=30, raise_error=True)
        assert sorted(got) == [(n, i) for n in range(5) for i in range(40)]

    def test_tasks_are_counted(self):
        queue = JoinableQueue(0)
        putter = gevent.spawn(queue.put, 1)
        gevent.sleep(0)
        queue.get()
        putter.join(20)
        assert queue.unfinished_tasks == 1
        assert not queue.join(timeout=0.001)
        queue.task_done()
        assert queue.join(timeout=5)

    @pytest.mark.usefixtures("printed")
    def test_shutdown_wakes_who_waits(self):
        queue = Queue(0)
        putter = gevent.spawn(queue.put, 1)
        gevent.sleep(0)
        queue.shutdown()
        putter.join(20)
        assert type(putter.exception).__name__ == "ShutDown"

    def test_other_sizes_are_as_ever(self, recwarn):
        queue = Queue(1)
        queue.put(1)
        assert queue.full()
        assert Queue().maxsize is None
        assert Queue(-1).maxsize is None
        assert not recwarn
