"""The signatures of all public callables, for inspect and for mocks."""

import copy
import importlib
import inspect
import json
import pickle
import pkgutil
import socket
import sys
import types
from unittest import mock

import pytest

import gevent
import gevent._core
import gevent.event
import gevent.lock
import gevent.pool
import gevent.queue
import gevent.socket
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


def is_in_c(value):
    return isinstance(value, types.BuiltinFunctionType | types.MethodDescriptorType)


def engine_classes():
    return [value for value in vars(gevent._core).values() if isinstance(value, type)]


def functions_and_methods():
    """Return the functions of the extension, and the methods of its classes, by name."""
    found = {}
    for name, value in vars(gevent._core).items():
        if isinstance(value, types.BuiltinFunctionType):
            found[name] = value
        elif isinstance(value, type):
            for member in vars(value):
                method = getattr(value, member)
                if not member.startswith("__") and is_in_c(method):
                    found[f"{name}.{member}"] = method
    return found


def called_with(value):
    """Return the parameters of a call of a mock, which has no ``self``; none if it takes any."""
    parameters = list(inspect.signature(value).parameters.values())
    if isinstance(value, types.MethodDescriptorType):
        parameters = parameters[1:]
    kinds = {parameter.kind for parameter in parameters}
    if kinds & {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}:
        return None
    return parameters


def refuses(mocked, *args, **kwargs):
    try:
        mocked(*args, **kwargs)
    except TypeError:
        return True
    return False


def wrong_answers(mocked, parameters):
    """Return the calls that a mock of a function with these parameters wrongly answers."""
    positional = [p for p in parameters if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    required = [p.name for p in positional if p.default is inspect.Parameter.empty]
    named = {
        p.name: 1
        for p in parameters
        if p not in positional and p.default is inspect.Parameter.empty
    }
    most = range(len(positional))
    checks = {
        "the least": not refuses(mocked, *range(len(required)), **named),
        "the most": not refuses(mocked, *most, **named),
        "too many": refuses(mocked, *most, 1, **named),
        "an unknown name": refuses(mocked, *range(len(required)), **named, no_such_name=1),
    }
    if required:
        checks["too few"] = refuses(mocked, *range(len(required) - 1), **named)
    return [name for name, right in checks.items() if not right]


def test_mocks_of_functions_and_methods_refuse_wrong_calls():
    wrong, checked = {}, 0
    for name, value in functions_and_methods().items():
        parameters = called_with(value)
        if parameters is None:
            continue
        checked += 1
        if answers := wrong_answers(mock.create_autospec(value), parameters):
            wrong[name] = answers
    assert wrong == {}
    assert checked > 300


@pytest.fixture
def left():
    left, right = gevent.socket.socketpair()
    with left, right:
        yield left


def instances(connection):
    return [
        gevent.event.Event(),
        gevent.event.AsyncResult(),
        gevent.lock.Semaphore(),
        gevent.lock.BoundedSemaphore(),
        gevent.lock.RLock(),
        gevent.queue.Queue(),
        gevent.queue.PriorityQueue(),
        gevent.queue.Channel(),
        gevent.pool.Pool(1),
        gevent.Greenlet(int),
        gevent.Timeout(),
        gevent.get_hub().loop,
        gevent.get_hub().loop.timer(1),
        connection,
    ]


def test_mocks_of_instances_refuse_wrong_calls(left):
    wrong, checked, classes = {}, 0, engine_classes()
    for instance in instances(left):
        mocked = mock.create_autospec(instance)
        for name in dir(type(instance)):
            method = None if name.startswith("_") else getattr(type(instance), name)
            if getattr(method, "__objclass__", None) not in classes or not is_in_c(method):
                continue
            parameters = called_with(method)
            bound = getattr(instance, name)
            if parameters is None:
                continue
            checked += 1
            assert str(inspect.signature(bound)) == str(inspect.signature(bound.__call__))
            if answers := wrong_answers(getattr(mocked, name), parameters):
                wrong[name] = answers
    assert wrong == {}
    assert checked > 100


def test_patching_with_autospec():
    with mock.patch.object(gevent, "sleep", autospec=True) as sleep:
        gevent.sleep(1)
        assert sleep.call_args_list == [mock.call(1)]
        assert refuses(gevent.sleep, 1, 2, 3)
    event = gevent.event.Event()
    with mock.patch.object(event.__class__, "isSet", autospec=True) as is_set:
        assert event.isSet() is is_set.return_value
        assert refuses(event.isSet, 1)


def test_mocks_of_modules_refuse_wrong_calls():
    mocked = mock.create_autospec(gevent)
    assert refuses(mocked.sleep, 1, 2, 3)
    assert refuses(mocked.with_timeout)
    assert refuses(mocked.queue.Queue().put)
    assert mocked.sleep(seconds=1)


def test_functions_and_methods_stay_those_of_cpython():
    """The interpreter calls exactly these types fast, and profilers are notified of their calls."""
    event = gevent.event.Event()
    assert type(gevent.sleep) is types.BuiltinFunctionType
    assert type(event.wait) is types.BuiltinFunctionType
    assert type(gevent.event.Event.wait) is types.MethodDescriptorType
    assert inspect.isbuiltin(gevent.sleep)
    assert inspect.ismethoddescriptor(gevent.event.Event.wait)
    assert inspect.isroutine(event.wait)
    assert repr(gevent.sleep) == "<built-in function sleep>"
    for value in (gevent.sleep, gevent.event.Event.wait):
        assert copy.copy(value) is copy.deepcopy(value) is value
        assert pickle.loads(pickle.dumps(value)) is value


def test_profilers_are_notified_of_calls():
    event, seen = gevent.event.Event(), []

    def notified(_frame, kind, argument):
        if kind == "c_call":
            seen.append(argument.__qualname__)

    event.set()
    sys.setprofile(notified)
    try:
        gevent.sleep(0)
        event.wait()
    finally:
        sys.setprofile(None)
    assert {"sleep", "Event.wait"} <= set(seen)


def test_a_documented_call_calls():
    event = gevent.event.Event()
    assert gevent.event.Event.wait.__call__(event, timeout=0) is False
    assert event.wait.__call__(0) is False
    assert event.set.__call__() is None
    assert gevent.event.Event.wait.__call__(event) is True
    assert gevent.sleep.__call__(seconds=0) is None
    with pytest.raises(TypeError):
        gevent.event.Event.wait.__call__(object())
    with pytest.raises(TypeError):
        gevent.sleep.__call__(1, 2, 3)
    assert type(event.wait.__call__) is type(len.__call__)
    assert "Event" in repr(event.wait.__call__.__self__)


@pytest.mark.parametrize(
    "value", [len, [].append, str.join, json.dumps, socket.htons, dict.fromkeys]
)
def test_those_of_others_are_documented_as_before(value):
    signature = inspect.signature(value.__call__)
    if isinstance(value, types.FunctionType):
        assert str(signature) == str(
            inspect.signature(types.FunctionType(value.__code__, {}).__call__)
        )
    else:
        assert str(signature) == "(*args, **kwargs)"


def test_the_type_of_functions_is_as_before():
    for kind in (types.BuiltinFunctionType, types.MethodDescriptorType):
        call = vars(kind)["__call__"]
        assert isinstance(call, types.WrapperDescriptorType)
        assert kind.__call__ is call
        assert call.__objclass__ is kind
        assert call.__text_signature__ == "($self, /, *args, **kwargs)"
        assert repr(call) == f"<slot wrapper '__call__' of '{kind.__name__}' objects>"
        assert inspect.ismethoddescriptor(call)
    assert types.BuiltinFunctionType.__call__(len, "ab") == 2
    assert types.MethodDescriptorType.__call__(str.join, ",", "ab") == "a,b"
    with pytest.raises(TypeError, match="requires a 'builtin_function_or_method' object"):
        types.BuiltinFunctionType.__call__(str.join, ",", "ab")
    for _ in range(100):
        assert len.__call__("ab") == 2
        assert str.upper.__call__("a") == "A"
