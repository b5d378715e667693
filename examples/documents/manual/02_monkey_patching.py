# The gevent 0.13 manual, "Introduction: Monkey patching":
# the standard library's urllib, used from several greenlets.

from gevent import monkey; monkey.patch_socket()
import urllib.request # it's usable from multiple greenlets now

import gevent

# The text stops at the import; this uses it from multiple greenlets.
jobs = [gevent.spawn(urllib.request.urlopen, 'http://www.python.org') for _ in range(3)]
gevent.joinall(jobs)
print([job.value.status for job in jobs])
