"""The docstrings of the names that are read most: what they must say, and examples in code."""

import ast
import inspect
import re
import textwrap

import pytest

import gevent
from gevent import event, pool, pywsgi, queue, server

READ_MOST = [
    gevent.spawn,
    gevent.Greenlet,
    gevent.Timeout,
    event.Event,
    event.AsyncResult,
    queue.Queue,
    pool.Group,
    pool.Pool,
    server.StreamServer,
    pywsgi.WSGIServer,
]


def examples(doc):
    """Return the programs of a docstring that follow a line "Example::"."""
    found = re.findall(r"^Example::\n\n((?:(?: {4}.*)?\n)+)", doc + "\n", re.MULTILINE)
    return [textwrap.dedent(text) for text in found]


@pytest.mark.parametrize("obj", READ_MOST, ids=lambda obj: obj.__name__)
def test_example_is_a_program(obj):
    (program,) = examples(inspect.getdoc(obj))
    ast.parse(program)


@pytest.mark.parametrize("obj", READ_MOST, ids=lambda obj: obj.__name__)
def test_every_parameter_is_described(obj):
    doc = inspect.getdoc(obj)
    described = set(re.findall(r"^:param (\w+):", doc, re.MULTILINE))
    taken = {name for name in inspect.signature(obj).parameters if not name.startswith("_")}
    assert taken <= described


def test_every_limit_of_the_server_is_described():
    source = inspect.getsource(pywsgi.WSGIServer)
    for name in (*pywsgi.WSGIServer._LIMITS, "last_call", "max_per_address"):
        assert re.search(rf"^    #: .+\n    {name}: ", source, re.MULTILINE), name


def test_examples_of_events_run():
    for obj, names in ((event.Event, ("Event",)), (event.AsyncResult, ("AsyncResult",))):
        (program,) = examples(inspect.getdoc(obj))
        exec(program, {"gevent": gevent} | {name: getattr(event, name) for name in names})
    (program,) = examples(inspect.getdoc(pool.Group))
    exec(program.replace("print, ", "repr, "), {"Group": pool.Group})
