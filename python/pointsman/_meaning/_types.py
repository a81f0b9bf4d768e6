"""Types and modules that reading code must know: what cannot travel, what is harmless, what is a weak prior.

Does not know: bytecode, how names are resolved.

Invariants:

I1. A type in `NO_TRAVEL` can neither be pickled nor be replaced by another process's copy of it.
I2. A hint says what the work may be; no verdict rests on it.
"""

from __future__ import annotations

import sys

# Types that cannot go to another process, by their full name.
NO_TRAVEL = {
    "_thread.lock": "a lock",
    "_thread.RLock": "a lock",
    "_thread._local": "thread-local storage",
    "_thread._localdummy": "thread-local storage",
    "threading.Condition": "a condition variable",
    "threading.Event": "an event",
    "threading.Semaphore": "a semaphore",
    "threading.Barrier": "a barrier",
    "threading.Thread": "a thread",
    "queue.Queue": "a queue",
    "_queue.SimpleQueue": "a queue",
    "_io.TextIOWrapper": "an open file",
    "_io.BufferedReader": "an open file",
    "_io.BufferedWriter": "an open file",
    "_io.BufferedRandom": "an open file",
    "_io.BufferedRWPair": "an open file",
    "_io.FileIO": "an open file",
    "tempfile._TemporaryFileWrapper": "an open file",
    "tempfile.SpooledTemporaryFile": "an open file",
    "zipfile.ZipFile": "an open archive",
    "tarfile.TarFile": "an open archive",
    "gzip.GzipFile": "an open file",
    "mmap.mmap": "a memory map",
    "builtins.memoryview": "a view of memory",
    "socket.socket": "a socket",
    "_socket.socket": "a socket",
    "ssl.SSLContext": "a TLS context",
    "select.epoll": "a poll object",
    "select.poll": "a poll object",
    "sqlite3.Connection": "a database connection",
    "sqlite3.Cursor": "a database cursor",
    "http.client.HTTPConnection": "a network connection",
    "subprocess.Popen": "a running process",
    "_contextvars.ContextVar": "a context variable",
    "_contextvars.Context": "a context",
    "_contextvars.Token": "a context variable's token",
    "builtins.ContextVar": "a context variable",
    "builtins.Context": "a context",
    "builtins.Token": "a context variable's token",
    "builtins.generator": "a generator",
    "builtins.coroutine": "a coroutine",
    "builtins.async_generator": "an asynchronous generator",
    "builtins.frame": "a frame",
    "builtins.traceback": "a traceback",
    "_csv.writer": "a writer of a file",
    "_hashlib.HASH": "a running hash",
    "concurrent.futures._base.Executor": "an executor",
    "concurrent.futures._base.Future": "a future",
    "_asyncio.Future": "a future",
    "asyncio.events.AbstractEventLoop": "an event loop",
    "asyncio.mixins._LoopBoundMixin": "an asyncio primitive",
    "multiprocessing.pool.Pool": "a process pool",
    "multiprocessing.process.BaseProcess": "a process",
    "multiprocessing.synchronize.SemLock": "a lock of another library",
    "multiprocessing.queues.Queue": "a queue of another library",
    "weakref.WeakValueDictionary": "a weak dictionary",
    "weakref.WeakKeyDictionary": "a weak dictionary",
    "weakref.WeakSet": "a weak set",
    "builtins.weakref": "a weak reference",
    "weakref.ReferenceType": "a weak reference",
    "psycopg2.extensions.connection": "a database connection",
    "psycopg.Connection": "a database connection",
}
# Types whose methods never matter to anybody else, whatever their name.
HARMLESS_TYPES = frozenset(
    [
        "logging.Logger",
        "logging.LoggerAdapter",
    ]
)
HARMLESS_EVEN_SO = frozenset(["addHandler", "removeHandler", "addFilter", "setLevel"])

# A weak prior of what the work is: by the module that a name comes from, or by the name itself.
HINT_MODULES = {
    name: hint
    for hint, names in {
        "sockets": "socket ssl urllib http requests httpx aiohttp urllib3 ftplib smtplib imaplib grpc websockets boto3",
        "subprocess": "subprocess",
        "database": "sqlite3 psycopg psycopg2 pymysql asyncpg sqlalchemy redis pymongo",
        "hashlib": "hashlib",
        "compression": "zlib bz2 lzma gzip zipfile zstandard lz4",
        "numpy": "numpy scipy",
        "pandas": "pandas polars pyarrow",
        "images": "PIL cv2",
        "machine learning": "torch sklearn tensorflow jax",
        "files": "pathlib shutil tempfile glob",
    }.items()
    for name in names.split()
}
# Libraries, wherever they lie: the folder of `pip install --target`, of an archive or of a cloud function has no name
# that tells what it is.
INSTALLED = frozenset(HINT_MODULES) - sys.stdlib_module_names
HINT_NAMES = {
    "time.sleep": "sleeps",
    "asyncio.sleep": "sleeps",
    "asyncio.tasks.sleep": "sleeps",
    "builtins.open": "files",
    "io.open": "files",
    "os.system": "subprocess",
    "os.popen": "subprocess",
}
