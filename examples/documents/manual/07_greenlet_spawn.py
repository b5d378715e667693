# The gevent 0.13 manual, "gevent: Greenlet objects":
# the same by the shortcut.

import gevent
from gevent import Greenlet

# The text leaves the function open.
def myfunction(*args, **kwargs):
    print(args, kwargs)

g = Greenlet.spawn(myfunction, 'arg1', 'arg2', kwarg1=1)

gevent.sleep(0)
