# The gevent tutorial in Japanese, "Events":
# a wake-up without a value.

import gevent
from gevent.event import AsyncResult

a = AsyncResult()

def setter():
    """
    After 3 seconds set wake all threads waiting on the value of
    a.
    """
    gevent.sleep(3)
    a.set()

def waiter():
    """
    After 3 seconds the get call will unblock.
    """
    a.get() # blocking
    print('I live!')

gevent.joinall([
    gevent.spawn(setter),
    gevent.spawn(waiter),
])
