"""Patched programs with libraries that call coroutines from blocking code by switching greenlets.

usage: asyncio_bridges.py FUNCTION [FILE]
"""

from gevent import monkey

monkey.patch_all()

import asyncio
import json
import logging
import sys
import time

import gevent

# In debug mode it warns of what takes long, as everything may on a busy machine.
logging.getLogger("asyncio").setLevel(logging.ERROR)


def run_in_greenlets(count, main, *args):
    """Run as many loops at once, each in a greenlet; return what they return."""
    everyone = [
        gevent.spawn(lambda n=n: asyncio.run(main(n, *args), debug=n % 2)) for n in range(count)
    ]
    gevent.joinall(everyone, raise_error=True)
    return [each.value for each in everyone]


def sqlalchemy_sessions(folder):
    """Use sessions of SQLAlchemy's asyncio in ten loops at once, each with its own database."""
    from sqlalchemy import Column, Integer, event, select
    from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
    from sqlalchemy.orm import declarative_base

    Base = declarative_base()

    class Item(Base):
        __tablename__ = "items"
        id = Column(Integer, primary_key=True)

    async def main(number):
        mine = asyncio.get_running_loop()
        engine = create_async_engine(f"sqlite+aiosqlite:///{folder}/{number}")
        seen = []

        @event.listens_for(engine.sync_engine, "before_cursor_execute")
        def before(*_):
            # Called in SQLAlchemy's greenlet, where other blocking calls may be made, too.
            time.sleep(0.0005)
            seen.append(asyncio.get_running_loop() is mine)

        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        async with AsyncSession(engine) as session:
            session.add_all(Item() for _ in range(number + 1))
            await session.commit()
            items = (await session.scalars(select(Item))).all()
        await engine.dispose()
        return len(items) if all(seen) else "lost"

    return run_in_greenlets(10, main)


def greenback_portals():
    """Await in functions that are no coroutines, in ten loops at once."""
    import greenback

    def no_coroutine(mine):
        time.sleep(0.001)
        value = greenback.await_(asyncio.sleep(0.001, "awaited"))
        gevent.sleep(0.001)
        return value, asyncio.get_running_loop() is mine

    async def main(_):
        await greenback.ensure_portal()
        mine = asyncio.get_running_loop()
        for _ in range(3):
            await asyncio.sleep(0)
            assert no_coroutine(mine) == ("awaited", True)
        return asyncio.get_running_loop() is mine

    return run_in_greenlets(10, main)


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
