# The gevent 0.13 manual, "gevent.hub: Waiter":
# what the event loop passes to a greenlet that waits.

from gevent import core
from gevent.hub import Waiter

result = Waiter()
_ = core.timer(0.1, result.switch, 'hello from Waiter')
print(result.get()) # blocks for 0.1 seconds
