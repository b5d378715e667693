"""Exceptions that the engine makes: they look like classes written in Python."""

import copy
import inspect
import pickle

import pytest

from gevent import _core, _engine, exceptions

MADE = {
    "BlockingSwitchOutError": AssertionError,
    "ConcurrentObjectUseError": AssertionError,
    "InvalidSwitchError": AssertionError,
    "InvalidThreadUseError": RuntimeError,
}


@pytest.mark.parametrize(("name", "base"), MADE.items())
class TestMadeException:
    def test_is_the_class_of_the_module(self, name, base):
        error = getattr(exceptions, name)
        assert error is getattr(_core, name)
        assert name not in _engine.OBJECTS
        assert (error.__module__, error.__qualname__) == ("gevent.exceptions", name)
        assert error.__bases__ == (base,)
        assert repr(error) == f"<class 'gevent.exceptions.{name}'>"

    def test_has_what_a_class_of_python_has(self, name, base):
        error = getattr(exceptions, name)
        written = type(name, (base,), {"__doc__": "Text."})
        assert vars(error).keys() == vars(written).keys()
        assert inspect.getdoc(error).startswith("Raised when ")

    def test_is_pickled_and_copied(self, name, base):
        error = getattr(exceptions, name)("text", 2)
        error.note = [1]
        for other in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):
            assert type(other) is type(error)
            assert (other.args, other.note) == (("text", 2), [1])
            assert str(other) == str(error) == "('text', 2)"
        assert pickle.loads(pickle.dumps(type(error))) is type(error)

    def test_can_be_subclassed(self, name, base):
        subclasses = []

        class Error(getattr(exceptions, name)):
            def __init_subclass__(cls, **keywords):
                subclasses.append((cls.__name__, keywords))

            def __init__(self, number):
                super().__init__(f"number {number}")
                self.number = number

        class Special(Error, kind=1):
            pass

        assert subclasses == [("Special", {"kind": 1})]
        with pytest.raises(base) as info:
            raise Special(3)
        assert (str(info.value), info.value.number) == ("number 3", 3)
