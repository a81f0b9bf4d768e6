"""Real clients, a web application and a notebook, with `smartasync` between their plain and their async halves.

What it does not know: figures (benches/web_app.py has the stalls of the loop).
"""

import asyncio
import contextlib
import http.server
import os
import socket
import sqlite3
import threading
import time

import pytest

import functions
import pointsman
from pointsman import smartasync

pytestmark = pytest.mark.timeout(120)


class Counting(http.server.ThreadingHTTPServer):
    """A server that counts the connections that were opened."""

    daemon_threads = True
    # Many open at the same time.
    request_queue_size = 128

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answering)
        self.connections = 0

    def get_request(self):
        self.connections += 1
        return super().get_request()


class Answering(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = self.path.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    made = Counting()
    thread = threading.Thread(target=made.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.mark.parametrize("library", ["httpx", "aiohttp"])
def test_200_plain_calls_of_an_async_client_share_one_connection(server, library):
    module = pytest.importorskip(library)
    url = f"http://127.0.0.1:{server.server_port}"

    class Api:
        """What a user writes around an async client, for callers of both kinds."""

        @smartasync
        async def open(self):
            if library == "httpx":
                self.client = module.AsyncClient(trust_env=False)
            else:
                self.client = module.ClientSession()

        @smartasync
        async def get(self, n):
            if library == "httpx":
                return (await self.client.get(f"{url}/{n}")).text
            async with self.client.get(f"{url}/{n}") as answer:
                return await answer.text()

        @smartasync
        async def close(self):
            await (self.client.aclose() if library == "httpx" else self.client.close())

    api = Api()
    api.open()
    answers = [api.get(n) for n in range(200)]
    seen = server.connections
    api.close()

    async def inside():
        mine = Api()
        await mine.open()
        try:
            return await asyncio.gather(*(mine.get(n) for n in range(5)))
        finally:
            await mine.close()

    assert answers == [f"/{n}" for n in range(200)]
    assert seen == 1
    assert asyncio.run(inside()) == [f"/{n}" for n in range(5)]


def test_an_async_client_that_is_shared_by_the_calls_of_a_job_keeps_its_connections(server):
    httpx = pytest.importorskip("httpx")
    url = f"http://127.0.0.1:{server.server_port}"
    client = httpx.AsyncClient(trust_env=False, limits=httpx.Limits(max_connections=4))

    async def get(n):
        return (await client.get(f"{url}/{n}")).text

    answers = pointsman.execute(get, range(100))
    pointsman.submit(client.aclose).result(30)

    assert answers == [f"/{n}" for n in range(100)]
    assert 1 <= server.connections <= 4


def test_a_blocking_database_inside_a_web_application_leaves_its_loop_free(tmp_path):
    pytest.importorskip("starlette")
    uvicorn = pytest.importorskip("uvicorn")
    httpx = pytest.importorskip("httpx")
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    path = tmp_path / "data.sqlite"
    gate, waiting = threading.Event(), threading.Event()

    def block():
        waiting.set()
        return gate.wait(functions.PATIENCE)

    @smartasync
    def query(slow):
        with contextlib.closing(sqlite3.connect(path)) as database:
            database.create_function("block", 0, block)
            database.execute("create table if not exists visits (n)")
            database.execute("insert into visits values (1)")
            database.commit()
            if slow:
                database.execute("select block()").fetchone()
            return database.execute("select count(*) from visits").fetchone()[0]

    async def visit(request):
        return JSONResponse({"visits": await query("slow" in request.query_params)})

    async def health(_request):
        return JSONResponse({"well": True})

    app = Starlette(routes=[Route("/visit", visit), Route("/health", health)])
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    # From now on the system takes connections, however long the server takes to start.
    listening.listen()
    serving = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=serving.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"

        async def load():
            async with httpx.AsyncClient(trust_env=False, timeout=functions.PATIENCE) as client:
                held = [asyncio.create_task(client.get(f"{url}/visit?slow=1")) for _ in range(3)]
                while not waiting.is_set():  # noqa: ASYNC110 - a thread sets it
                    await asyncio.sleep(0.001)
                # Only a loop that is free answers while queries block.
                answers = [(await client.get(f"{url}/health")).json()["well"] for _ in range(20)]
                gate.set()
                slow = [(await one).json()["visits"] for one in held]
                quick = [
                    one.json()["visits"]
                    for one in await asyncio.gather(*(client.get(f"{url}/visit") for _ in range(30)))
                ]
                return answers, slow, quick

        answers, slow, quick = asyncio.run(load())
    finally:
        gate.set()
        serving.should_exit = True
        thread.join(30)
        listening.close()

    assert answers == [True] * 20
    assert len(slow) == 3
    assert max(quick) == 33
    # The same function in plain code, on this thread.
    assert query(False) == 34


def test_a_notebook_calls_and_awaits_the_same_functions():
    pytest.importorskip("ipykernel")
    nbclient = pytest.importorskip("nbclient")
    import nbformat

    cells = [
        """
        import asyncio, threading, pointsman

        @pointsman.smartasync
        async def double(x):
            await asyncio.sleep(0)
            return 2 * x

        @pointsman.smartasync
        def where():
            return threading.current_thread().name

        @pointsman.smartasync
        async def count(n):
            for i in range(n):
                yield i
        """,
        # A loop runs in every cell.
        "await double(4), (await where())[:9], [i async for i in count(2)]",
        "pointsman.execute(double.__wrapped__, [1, 2]), pointsman.run(len, 'abc')",
        """
        try:
            pointsman.run(double, 2)
        except pointsman.RunningLoopError as error:
            print("await pointsman.submit(double, ...)" in str(error))
        await pointsman.submit(double, 2), [r async for r in pointsman.amap(double, range(3))]
        """,
        # Plain code on a thread of the notebook's.
        "await asyncio.to_thread(double, 21)",
    ]
    from textwrap import dedent

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(dedent(cell)) for cell in cells])
    before = dict(os.environ)
    nbclient.NotebookClient(notebook, timeout=60, kernel_name="python3").execute(env=before)
    shown = [
        output.get("text") or output["data"]["text/plain"] for cell in notebook.cells for output in cell["outputs"]
    ]

    assert shown == ["(8, 'pointsman', [0, 1])", "([2, 4], 3)", "True\n", "(4, [0, 2, 4])", "42"]


def test_a_plain_client_is_free_to_be_called_from_any_task():
    @smartasync
    def blocking(n):
        time.sleep(0.001)
        return n

    async def main():
        return await asyncio.gather(*(blocking(n) for n in range(50)))

    assert asyncio.run(main()) == list(range(50))
