"""The signatures of all public callables, for inspect and for mocks."""

import importlib
import inspect
import pkgutil
from unittest import mock

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


def public_classes():
    """Return the public classes that have an `__init__`, which exceptions and tuples do without."""
    found = {}
    for name in modules():
        for full, value in public_callables(importlib.import_module(name)):
            if isinstance(value, type) and not issubclass(value, BaseException | tuple):
                found.setdefault(value, f"{name}.{full}")
    return {name: value for value, name in found.items()}


def may_be_anything(parameters):
    """Return true for the signature of a constructor that accepts any call."""
    kinds = [parameter.kind for parameter in parameters.values()]
    return inspect.Parameter.VAR_POSITIONAL in kinds


def test_mocks_of_classes_refuse_wrong_calls():
    accepted, checked = [], 0
    for name, value in public_classes().items():
        try:
            parameters = inspect.signature(value).parameters
        except ValueError:
            continue
        if may_be_anything(parameters):
            continue
        checked += 1
        mocked = mock.create_autospec(value)
        try:
            mocked(*range(len(parameters) + 1))
        except TypeError:
            continue
        accepted.append(name)
    assert accepted == []
    assert checked > 40


def test_mocks_of_classes_know_the_names_of_parameters():
    assert mock.create_autospec(gevent.queue.Queue)(maxsize=3).put(1)
    assert mock.create_autospec(gevent.Greenlet)(int, "1", base=10)
    assert mock.create_autospec(gevent.Timeout)(seconds=1, ref=False)
    for wrong in ("max", "second"):
        with pytest.raises(TypeError, match=wrong):
            mock.create_autospec(gevent.queue.Queue)(**{wrong: 1})
        with pytest.raises(TypeError, match=wrong):
            mock.create_autospec(gevent.Timeout)(**{wrong: 1})


def test_documented_constructors_still_construct():
    """A class derived in Python inherits the constructor, or calls it."""

    class Plain(gevent.queue.Queue):
        pass

    class Calling(gevent.Timeout):
        def __init__(self, seconds):
            super().__init__(seconds, False)

    assert Plain(3).maxsize == 3
    assert Calling(5).seconds == 5
    with pytest.raises(TypeError, match="descriptor '__init__'"):
        gevent.queue.Queue.__init__(object())
