# The gevent 0.13 manual, "gevent.event: AsyncResult":
# as what a greenlet is linked to.

import gevent
from gevent.event import AsyncResult

result = AsyncResult()
gevent.spawn(lambda : 1/0).link(result)
result.get()
