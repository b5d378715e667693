"""Descriptors that gevent's test harness builds its classes with."""


class Lazy:
    """An attribute of an instance, computed when it is first read."""

    def __init__(self, compute):
        self.compute = compute

    def __set_name__(self, owner, name):
        self.name = name

    def __get__(self, instance, owner):
        if instance is None:
            return self
        value = instance.__dict__[self.name] = self.compute(instance)
        return value


class LazyOnClass(Lazy):
    """The same, kept in the class: computed once for all instances."""

    def __get__(self, instance, owner):
        if instance is None:
            return self
        value = self.compute(instance)
        setattr(owner, self.name, value)
        return value
