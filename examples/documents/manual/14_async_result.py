# The gevent 0.13 manual, "gevent.event: AsyncResult":
# a value.

from gevent.event import AsyncResult

result = AsyncResult()
result.set(100)
print(result.get())
