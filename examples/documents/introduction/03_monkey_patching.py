# Gevent's introduction, "Monkey patching":
# the standard library's urllib, used from several greenlets.

from gevent import monkey; monkey.patch_socket()
import urllib.request # it's usable from multiple greenlets now

import gevent

# The text stops at the import; this uses it from multiple greenlets.
urls = ['http://www.google.com', 'http://www.example.com', 'http://www.python.org']

def print_head(url):
    print('Starting %s' % url)
    data = urllib.request.urlopen(url).read()
    print('%s: %s bytes: %r' % (url, len(data), data[:50]))

jobs = [gevent.spawn(print_head, url) for url in urls]
gevent.joinall(jobs)
