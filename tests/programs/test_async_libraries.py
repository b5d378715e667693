"""Libraries for asyncio that greenlets call through `gevent.aio`, patched and not."""

import pytest

PROGRAM = "async_libraries.py"


@pytest.fixture(params=["patched", "plain"])
def mode(request):
    """Return true if the program patches the standard library."""
    return request.param


def test_aiohttp(result_of, mode):
    seen = result_of(PROGRAM, "aiohttp_client", mode)
    assert seen == {
        "posted": 100,
        "talked": 20,
        "blocking": "blocked",
        "timed out": True,
        "killed": True,
        "after": 20,
    }


def test_httpx(result_of, mode):
    seen = result_of(PROGRAM, "httpx_client", mode)
    assert seen == {"posted": 100, "streamed": 100_000, "timed out": True, "after": 20}


def test_websockets(result_of, mode):
    assert result_of(PROGRAM, "websockets_echo", mode) == 20


def test_streams_over_tls(result_of, mode, certificate):
    seen = result_of(PROGRAM, "tls_streams", mode, certificate)
    assert seen == {"shared": 20, "own": 20}


def test_asyncpg(result_of, mode, postgres):
    seen = result_of(PROGRAM, "asyncpg_pool", mode, postgres)
    assert seen == {
        "right": 100,
        "rows": 500_500,
        "timed out": 20,
        "killed": 20,
        "after": 100,
        "size": True,
        "idle": True,
    }


def test_redis(result_of, mode, redis_server):
    # The first databases are for other tests.
    database = {"patched": 14, "plain": 15}[mode]
    seen = result_of(PROGRAM, "redis_asyncio", mode, f"{redis_server}/{database}")
    assert seen == {"right": 100, "timed out": True, "heard": ["hello"], "after": 100}


def test_sqlalchemy(result_of, mode, postgres):
    seen = result_of(PROGRAM, "sqlalchemy_asyncio", mode, postgres)
    assert seen == {"shared": 100, "own": 5}


def test_anyio(result_of, mode):
    assert all(result_of(PROGRAM, "anyio_groups", mode))


def test_fastapi_under_uvicorn(result_of, mode):
    assert result_of(PROGRAM, "fastapi_site", mode) == 60


def test_playwright(result_of, mode, require_program):
    pytest.importorskip("playwright", reason="Playwright is not here")
    seen = result_of(PROGRAM, "playwright_pages", mode, require_program("chromium"))
    assert seen == {"right": 5, "timed out": True, "after": True}


@pytest.mark.parametrize("mode", ["exempt", "plain"])
def test_grpc(result_of, mode):
    # In a patched process the thread that waits in its library would be a greenlet, and block all,
    # if the package were not exempt.
    pytest.importorskip("grpc", reason="there are no wheels of grpcio for this version")
    # Its library writes to the standard error when connections end.
    seen = result_of(PROGRAM, "grpc_calls", mode, GRPC_VERBOSITY="NONE")
    assert seen == {"right": 50, "ended": [True, True], "after": True}
