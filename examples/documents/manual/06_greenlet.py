# The gevent 0.13 manual, "gevent: Greenlet objects":
# a function with arguments, started.

import gevent
from gevent import Greenlet

# The text leaves the function open.
def myfunction(*args, **kwargs):
    print(args, kwargs)

g = Greenlet(myfunction, 'arg1', 'arg2', kwarg1=1)
g.start()

gevent.sleep(0)
