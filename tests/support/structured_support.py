"""The tests of task groups share this: children and checks."""

import gevent
from gevent import Cancelled

#: Longer than any test may take.
FOR_EVER = 30


def returning(value, after=0.0):
    gevent.sleep(after)
    return value


def failing(error=ZeroDivisionError, after=0.001):
    gevent.sleep(after)
    raise error


class Patient:
    """Waits until it is cancelled, and counts how often that happens to it."""

    def __init__(self, clean_up=0.002, error=None):
        self.cancelled = 0
        self.cleaned = False
        self.clean_up = clean_up
        self.error = error

    def __call__(self):
        try:
            gevent.sleep(FOR_EVER)
        except Cancelled:
            self.cancelled += 1
            try:
                gevent.sleep(self.clean_up)
            except Cancelled:
                self.cancelled += 1
                raise
            self.cleaned = True
            if self.error is not None:
                raise self.error from None
            raise


def kinds(group_error):
    return sorted(type(error).__name__ for error in group_error.exceptions)


def value_of(child):
    return type(child.value)
