# The gevent 0.13 manual, "gevent.hub: Waiter":
# what the event loop passed before somebody waits.

from gevent import core, sleep
from gevent.hub import Waiter

result = Waiter()
_ = core.timer(0.1, result.switch, 'hi from Waiter')
sleep(0.2)
print(result.get()) # returns immediatelly without blocking
