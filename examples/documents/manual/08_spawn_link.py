# The gevent 0.13 manual, "gevent: Spawn helpers":
# the end of a greenlet is raised in the one that spawned it.

import gevent
from gevent.greenlet import LinkedExited

# The text leaves the functions open.
def function(seconds):
    gevent.sleep(seconds)

def fail(seconds):
    gevent.sleep(seconds)
    raise ValueError('failed')

for spawn in gevent.spawn_link, gevent.spawn_link_value, gevent.spawn_link_exception:
    for target in function, fail:
        spawn(target, 0.01)
        try:
            gevent.sleep(0.1)
        except LinkedExited as e:
            print('%s: %s' % (target.__name__, type(e).__name__))
        else:
            print('%s: not told' % target.__name__)
