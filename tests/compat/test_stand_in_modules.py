"""gevent.contextvars and gevent.builtins, which stand for the standard library's modules."""

import builtins
import contextvars

import pytest

import gevent
import gevent.builtins
import gevent.contextvars
from gevent.contextvars import Context, ContextVar, Token


def test_a_variable_is_the_greenlets_own():
    number = ContextVar("number", default=0)

    def work(value):
        number.set(value)
        gevent.sleep(0)
        return number.get()

    jobs = [gevent.spawn(work, value) for value in range(1, 5)]
    gevent.joinall(jobs, raise_error=True)
    assert [job.value for job in jobs] == [1, 2, 3, 4]
    assert number.get() == 0


def test_the_classes_make_and_recognise_the_standard_librarys():
    variable = ContextVar("variable")
    token = variable.set(1)
    context = gevent.contextvars.copy_context()
    assert type(variable) is contextvars.ContextVar
    for stand_in, made in ((ContextVar, variable), (Token, token), (Context, context)):
        assert isinstance(made, stand_in)
        assert issubclass(type(made), stand_in)
        assert not isinstance(object(), stand_in)
    assert Context().run(variable.get, "none") == "none"
    assert context.run(variable.get) == 1
    assert ContextVar[int] == contextvars.ContextVar[int]
    variable.reset(token)
    assert Token.MISSING is contextvars.Token.MISSING


@pytest.mark.parametrize("stand_in", [Context, ContextVar, Token])
def test_nothing_is_derived_from_them(stand_in):
    with pytest.raises(TypeError, match="is not an acceptable base type"):
        type("Derived", (stand_in,), {})


def test_builtins_are_the_interpreters():
    for name in gevent.builtins.__imports__:
        assert getattr(gevent.builtins, name) is getattr(builtins, name)
    assert gevent.builtins.__import__ is builtins.__import__
    assert gevent.builtins.RLock is gevent.lock.RLock
    gevent.builtins.imp_acquire_lock()
    gevent.builtins.imp_release_lock()
