"""PostgreSQL drivers and SQLAlchemy, 200 greenlets on 20 connections in one patched thread.

usage: postgres_clients.py FUNCTION PARAMETERS
"""

from gevent import monkey

monkey.patch_all()

import json
import sys
import time
from contextlib import contextmanager

import psycogreen.gevent
import psycopg
import psycopg2
import psycopg2.pool
import psycopg_pool
import sqlalchemy
from sqlalchemy import orm

import gevent
from gevent.event import Event
from gevent.lock import BoundedSemaphore
from gevent.pool import Pool

psycogreen.gevent.patch_psycopg()

GREENLETS = 200
CONNECTIONS = 20
SECONDS = 0.1
QUESTION = f"SELECT pg_sleep({SECONDS}), %s::int * 2, repeat(%s, 5000)"


def asked_by_all(connection):
    """Let every greenlet ask once, on a connection of the pool that `connection()` borrows from."""

    def ask(number):
        with connection() as borrowed, borrowed.cursor() as cursor:
            cursor.execute(QUESTION, (number, str(number)))
            return cursor.fetchone()[1:] == (number * 2, str(number) * 5000)

    return timed(ask)


def timed(ask):
    begin = time.perf_counter()
    right = sum(Pool(GREENLETS).imap_unordered(ask, range(GREENLETS)))
    return {"right": right, "asleep": GREENLETS * SECONDS, "wall": time.perf_counter() - begin}


def psycopg3(parameters):
    """psycopg with its own pool, whose workers are threads."""
    with psycopg_pool.ConnectionPool(
        parameters, min_size=CONNECTIONS, max_size=CONNECTIONS, timeout=30
    ) as pool:
        pool.wait(30)
        return asked_by_all(pool.connection) | {"size": pool.get_stats()["pool_size"]}


def psycopg3_features(parameters):
    """COPY, server-side cursors, pipelines, notifications, cancellation, and errors."""
    seen = {}
    with psycopg.connect(parameters, autocommit=True) as one:
        one.execute("CREATE TEMP TABLE numbers (number int, square int)")
        with one.cursor().copy("COPY numbers FROM STDIN") as copy:
            for number in range(5000):
                copy.write_row((number, number**2))
        with one.cursor().copy("COPY numbers TO STDOUT") as copy:
            seen["copied"] = sum(bytes(block).count(b"\n") for block in copy)
        with one.transaction(), one.cursor("scrollable") as cursor:
            cursor.itersize = 500
            cursor.execute("SELECT square FROM numbers ORDER BY number")
            seen["cursor"] = [row[0] for row in cursor] == [n**2 for n in range(5000)]
        with one.pipeline():
            cursors = [one.execute("SELECT %s::int + 1", (number,)) for number in range(100)]
        seen["pipeline"] = [cursor.fetchone()[0] for cursor in cursors] == list(range(1, 101))

        listening = Event()

        def listen():
            with psycopg.connect(parameters, autocommit=True) as listener:
                listener.execute("LISTEN news")
                listening.set()
                return [notice.payload for notice in listener.notifies(timeout=30, stop_after=10)]

        listener = gevent.spawn(listen)
        listening.wait(30)
        for number in range(10):
            one.execute("SELECT pg_notify('news', %s)", (str(number),))
        seen["notified"] = listener.get()

        def cancel():
            active = "SELECT state = 'active' FROM pg_stat_activity WHERE pid = %s"
            with psycopg.connect(parameters, autocommit=True) as other:
                while not other.execute(active, (one.info.backend_pid,)).fetchone()[0]:
                    gevent.sleep(0.01)
            one.cancel_safe()

        gevent.spawn(cancel)
        try:
            one.execute("SELECT pg_sleep(30)")
        except psycopg.errors.QueryCanceled:
            seen["cancelled"] = one.execute("SELECT 1").fetchone()[0]
        try:
            one.execute("SELECT 1 / 0")
        except psycopg.errors.DivisionByZero:
            seen["error"] = one.info.transaction_status.name
    try:
        psycopg.connect(parameters + " port=1")
    except psycopg.OperationalError:
        seen["refused"] = True
    return seen


def psycopg2_psycogreen(parameters):
    """psycopg2 waiting by psycogreen's callback."""
    pool = psycopg2.pool.ThreadedConnectionPool(CONNECTIONS, CONNECTIONS, parameters)
    free = BoundedSemaphore(CONNECTIONS)

    @contextmanager
    def connection():
        with free:
            borrowed = pool.getconn()
            try:
                yield borrowed
            finally:
                pool.putconn(borrowed)

    seen = asked_by_all(connection)
    with connection() as borrowed, borrowed.cursor() as cursor:
        try:
            cursor.execute("SELECT 1 / 0")
        except psycopg2.errors.DivisionByZero:
            borrowed.rollback()
        cursor.execute("SELECT generate_series(1, 100000)")
        seen["rows"] = sum(row[0] for row in cursor)
        try:
            with gevent.Timeout(0.1):
                cursor.execute("SELECT pg_sleep(30)")
        except gevent.Timeout:
            seen["cut short"] = True
            borrowed.close()
    pool.closeall()
    return seen


def sqlalchemy_over(parameters, driver):
    """SQLAlchemy's engine with its queue of connections, then its sessions."""
    options = dict(word.split("=") for word in parameters.split())
    engine = sqlalchemy.create_engine(
        sqlalchemy.URL.create(
            f"postgresql+{driver}",
            username=options["user"],
            database=options["dbname"],
            query={"host": options["host"]},
        ),
        pool_size=CONNECTIONS,
        max_overflow=0,
        pool_timeout=30,
    )

    def ask(number):
        with engine.connect() as connection:
            question = sqlalchemy.text(f"SELECT pg_sleep({SECONDS}), :number * 2")
            return connection.execute(question, {"number": number}).one()[1] == number * 2

    seen = timed(ask) | {"size": engine.pool.checkedin()}

    class Base(orm.DeclarativeBase):
        pass

    class Account(Base):
        __tablename__ = f"accounts_{driver}"
        name: orm.Mapped[str] = orm.mapped_column(primary_key=True)
        balance: orm.Mapped[int]

    Base.metadata.create_all(engine)
    with orm.Session(engine) as session, session.begin():
        session.add_all(Account(name=f"account {number}", balance=100) for number in range(10))

    def move(number):
        """Move one from an account to the next, rows locked; every tenth changes its mind."""
        names = sorted(f"account {n % 10}" for n in (number, number + 1))
        with orm.Session(engine) as session:
            query = sqlalchemy.select(Account).where(Account.name.in_(names))
            first, last = session.scalars(query.order_by(Account.name).with_for_update())
            first.balance -= 1
            last.balance += 1
            if number % 10 == 0:
                session.rollback()
                return 0
            session.commit()
            return 1

    seen["moved"] = sum(Pool(GREENLETS).imap_unordered(move, range(GREENLETS)))
    with orm.Session(engine) as session:
        balances = session.scalars(sqlalchemy.select(Account.balance)).all()
    Base.metadata.drop_all(engine)
    engine.dispose()
    return seen | {"sum": sum(balances), "accounts": len(balances)}


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
