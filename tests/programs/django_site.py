"""A Django site whose views use asyncio and the ORM; `application` is what a WSGI server serves.

The database is the file that DATABASE names; `python django_site.py` makes its tables.
"""

from gevent import monkey

monkey.patch_all()

import asyncio
import os
import threading
import time

import django
from django.conf import settings

settings.configure(
    ALLOWED_HOSTS=["*"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.environ["DATABASE"],
            "OPTIONS": {"timeout": 30},
        }
    },
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    INSTALLED_APPS=["django.contrib.contenttypes"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="secret",
)
django.setup()

from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path

barriers = {}


def meet(name, count):
    """Wait until *count* requests are here."""
    barriers.setdefault(name, threading.Barrier(count)).wait(30)


def plain(request, number, count):
    """Use the ORM while loops run in other requests."""
    meet("all", count)
    time.sleep(0.01)
    return HttpResponse(f"{number} {ContentType.objects.filter(model='contenttype').count()}")


def runs(request, number, count):
    """Run a loop, and use the ORM before and after."""

    async def main():
        await asyncio.to_thread(meet, "all", count)
        await asyncio.sleep(0.01)
        return await asyncio.to_thread(ContentType.objects.filter(model="contenttype").count)

    before = ContentType.objects.count()
    found = asyncio.run(main())
    again = ContentType.objects.count()
    return HttpResponse(f"{number} {found if before == again else 'lost'}")


async def view(request, number, count):
    """Be a coroutine, with the ORM's asynchronous methods."""
    await asyncio.sleep(0.01)
    return HttpResponse(
        f"{number} {await ContentType.objects.filter(model='contenttype').acount()}"
    )


urlpatterns = [
    path("plain/<int:number>/<int:count>", plain),
    path("runs/<int:number>/<int:count>", runs),
    path("async/<int:number>/<int:count>", view),
]
application = get_wsgi_application()

if __name__ == "__main__":
    call_command("migrate", verbosity=0)
