"""What inspect.signature says of every public callable."""

import importlib
import inspect
import pkgutil

import pytest

import gevent
import gevent.queue
from gevent.pywsgi import WSGIHandler

#: Modules that take optional packages, are programs, are of gevent 0.13, or the standard library's.
LEFT_OUT = (
    "_",
    "compat",
    "serve",
    "pytest_plugin",
    "ares",
    "resolver",
    "core",
    "coros",
    "wsgi",
    "contextvars",
)


def modules():
    for found in pkgutil.iter_modules(gevent.__path__[:1]):
        if not found.name.startswith(LEFT_OUT):
            yield f"gevent.{found.name}"


def public_callables(module):
    for name in getattr(module, "__all__", ()):
        value = getattr(module, name)
        if not callable(value) or not str(value.__module__).startswith("gevent"):
            continue
        yield name, value
        if isinstance(value, type):
            for member, function in vars(value).items():
                if not member.startswith("_") and callable(function):
                    yield f"{name}.{member}", function


@pytest.mark.parametrize("name", list(modules()))
def test_no_placeholders(name):
    module = importlib.import_module(name)
    wrong = {}
    for full, value in public_callables(module):
        try:
            signature = inspect.signature(value)
        except ValueError:
            # CPython gives those of its own constructors, as most exceptions have them, none.
            if inspect.isroutine(value):
                wrong[full] = "none"
            continue
        if {"_args", "_kwargs"} & set(signature.parameters):
            wrong[full] = str(signature)
    assert wrong == {}


@pytest.mark.parametrize(
    ("value", "signature"),
    [
        (gevent.Timeout, "(seconds=None, exception=None, ref=True, priority=-1, _one_shot=False)"),
        (gevent.Greenlet, "(run=None, *args, **kwargs)"),
        (gevent.sleep, "(seconds=0, ref=True)"),
        (gevent.queue.Queue, "(maxsize=None, items=(), unfinished_tasks=None)"),
        (WSGIHandler, "(sock, address, server, rfile=None)"),
    ],
)
def test_signatures(value, signature):
    assert str(inspect.signature(value)) == signature


def test_a_subclass_has_its_own():
    class Mine(gevent.Greenlet):
        def __init__(self, name):
            super().__init__()

    assert str(inspect.signature(Mine)) == "(name)"
