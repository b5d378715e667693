# The gevent 0.13 manual, "gevent.event: AsyncResult":
# an exception.

from gevent.event import AsyncResult

result = AsyncResult()
result.set_exception(RuntimeError('failure'))
result.get()
