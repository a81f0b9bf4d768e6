"""Names that reading code must know: what changes its object, what a library does to its arguments.

Does not know: bytecode, how names are resolved.

Invariants:

I1. A name in `MUTATORS` changes the object it is called on for every common type that has it, or may.
"""

MUTATORS = frozenset(
    [
        "append",
        "appendleft",
        "extend",
        "extendleft",
        "insert",
        "add",
        "update",
        "pop",
        "popleft",
        "popitem",
        "remove",
        "discard",
        "clear",
        "setdefault",
        "sort",
        "reverse",
        "rotate",
        "fill",
        "resize",
        "itemset",
        "setflags",
        "put",
        "put_nowait",
        "get_nowait",
        "task_done",
        "write",
        "writelines",
        "truncate",
        "seek",
        "flush",
        "close",
        "send",
        "sendall",
        "sendto",
        "recv",
        "recv_into",
        "connect",
        "bind",
        "listen",
        "shutdown",
        "commit",
        "rollback",
        "execute",
        "executemany",
        "executescript",
        "acquire",
        "release",
        "notify",
        "notify_all",
        "set",
        "set_result",
        "set_exception",
        "cancel",
        "difference_update",
        "intersection_update",
        "symmetric_difference_update",
        "move_to_end",
        "subtract",
        "push",
        "enqueue",
        "incr",
        "increment",
        "addHandler",
        "removeHandler",
        "addFilter",
        "setLevel",
        "add_done_callback",
        "__setitem__",
        "__delitem__",
        "__setattr__",
        "__delattr__",
        "__iadd__",
        "__ior__",
        "__imul__",
        "__next__",
        "throw",
        "appendChild",
        "removeChild",
        "byteswap",
        "frombytes",
        "fromlist",
        "add_argument",
        "writerow",
        "writerows",
        "feed",
        "register",
        "random_raw",
        "add_section",
        "remove_section",
        "remove_option",
        "read_dict",
        "read_string",
        "unregister",
        "subscribe",
        "emit",
    ]
)
VERBS = {
    "append": "appends to",
    "appendleft": "appends to",
    "add": "adds to",
    "update": "updates",
    "extend": "extends",
    "insert": "inserts into",
    "pop": "pops from",
    "popleft": "pops from",
    "popitem": "pops from",
    "remove": "removes from",
    "discard": "removes from",
    "clear": "clears",
    "sort": "sorts",
    "reverse": "reverses",
    "write": "writes to",
    "put": "puts into",
    "acquire": "locks",
    "release": "unlocks",
}

# Methods that change their first argument instead of the object they are called on.
METHOD_WRITES = frozenset(
    ("shuffle", "readinto", "readinto1", "recv_into", "recvfrom_into", "pack_into", "from_buffer")
)
# Methods that change objects of these classes, by a name that says nothing of that elsewhere.
WRITING_METHODS = {
    name: classes
    for names, classes in {
        "partition": frozenset(["numpy.ndarray"]),
        "add_section read read_dict read_file read_string remove_option remove_section": frozenset(
            ["configparser.RawConfigParser"]
        ),
        "fromfile fromunicode": frozenset(["array.array"]),
        "add_header attach replace_header set_content set_param set_payload set_type del_param": frozenset(
            ["email.message.Message"]
        ),
        "add_argument_group add_mutually_exclusive_group add_subparsers set_defaults": frozenset(
            ["argparse.ArgumentParser"]
        ),
        "advance": frozenset(["numpy.random.bit_generator.BitGenerator"]),
        "parse": frozenset(["xml.etree.ElementTree.ElementTree"]),
    }.items()
    for name in names.split()
}
# Methods of these classes that hand out parts of their object, which can be written to.
SEARCHING_METHODS = {
    name: frozenset(methods.split())
    for name, methods in {
        "xml.etree.ElementTree.Element": "find findall iter iterfind",
        "xml.etree.ElementTree.ElementTree": "find findall iter iterfind getroot",
        "lxml.etree._Element": "find findall iter iterfind getparent getnext getprevious iterchildren xpath cssselect",
        "lxml.etree._ElementTree": "find findall iter iterfind getroot xpath",
        "xml.dom.minidom.Node": "getElementsByTagName getElementById getAttributeNode",
        "bs4.element.Tag": "find find_all select select_one find_parent find_next",
        "email.message.Message": "walk get_payload iter_parts iter_attachments get_body",
    }.items()
}
# Functions that change an argument: position of the one changed.
FUNCTION_WRITES = {
    "builtins.setattr": 0,
    "builtins.delattr": 0,
    "builtins.next": 0,
    "builtins.anext": 0,
    "heapq.heappush": 0,
    "heapq.heappop": 0,
    "heapq.heapify": 0,
    "heapq.heapreplace": 0,
    "heapq.heappushpop": 0,
    "bisect.insort": 0,
    "bisect.insort_left": 0,
    "bisect.insort_right": 0,
    "random.shuffle": 0,
    "struct.pack_into": 1,
    # Who asks where something is may write there.
    "ctypes.addressof": 0,
    "ctypes.byref": 0,
    "ctypes.cast": 0,
    "ctypes.pointer": 0,
    "numpy.copyto": 0,
    "numpy.put": 0,
    "numpy.place": 0,
    "numpy.putmask": 0,
    "numpy.fill_diagonal": 0,
    "numpy.put_along_axis": 0,
    "elementtree.SubElement": 0,
    "xml.etree.ElementTree.SubElement": 0,
    "xml.etree.ElementTree.indent": 0,
    "ast.copy_location": 0,
    "ast.fix_missing_locations": 0,
    "ast.increment_lineno": 0,
    "operator.setitem": 0,
    "operator.delitem": 0,
    "shutil.copyfileobj": 1,
    "json.dump": 1,
    "pickle.dump": 1,
    "marshal.dump": 1,
} | dict.fromkeys(
    (
        f"operator.i{op}"
        for op in ["add", "and", "concat", "floordiv", "lshift", "mod", "mul", "or", "pow", "sub", "xor"]
    ),
    0,
)
# Functions that are first given the number of a file that is open in this process.
WITH_DESCRIPTOR = frozenset(
    f"os.{name}"
    for name in (
        *("read", "write", "close", "fsync", "fdatasync", "lseek", "pread", "pwrite", "readv", "writev", "preadv"),
        *("pwritev", "ftruncate", "sendfile", "dup", "fdopen", "fstat", "lockf", "copy_file_range", "splice"),
    )
) | {"fcntl.flock", "fcntl.lockf", "fcntl.ioctl", "fcntl.fcntl"}
# Methods that keep what they are given, to call it later.
CALLED_LATER = frozenset((".add_argument",))
# Functions and methods that write all of what they change anew.
OVERWRITING = frozenset(("numpy.copyto",))
OVERWRITING_METHODS = frozenset(("clear", "fill", "fit", "fit_transform", "fit_predict", "set_params"))
# Functions that write their result to what they are given at this place; ufuncs say themselves where.
OUT_PLACES = dict.fromkeys(("numpy.clip", "numpy.sum", "numpy.prod", "numpy.mean", "numpy.take", "numpy.cumsum"), 3) | (
    dict.fromkeys(("numpy.dot", "numpy.concatenate", "numpy.stack", "numpy.round", "numpy.around", "numpy.choose"), 2)
)

# What is done to those.
RESULT = "writes its result to"

# The same of methods, of arrays and of random generators.
METHOD_OUT_PLACES = dict.fromkeys(("clip", "cumsum", "cumprod", "sum", "mean", "take"), 2) | {
    **dict.fromkeys(("round", "dot"), 1),
    **dict.fromkeys(("standard_normal", "standard_exponential", "random"), 2),
    "standard_gamma": 3,
}

# Functions that change state of the whole process, or read what only this process has.
PROCESS_STATE = {
    "changes the state of the process": frozenset(
        [
            "os.chdir",
            "os.fchdir",
            "os.chroot",
            "os.putenv",
            "os.unsetenv",
            "os.umask",
            "os.nice",
            "os.setuid",
            "os.setgid",
            "os.setsid",
            "os.setpriority",
            "os.sched_setaffinity",
            "os.dup2",
            "os.closerange",
            "os.fork",
            "os.forkpty",
            "os.wait",
            "os.waitpid",
            "signal.signal",
            "signal.alarm",
            "signal.setitimer",
            "signal.set_wakeup_fd",
            "signal.pthread_sigmask",
            "signal.raise_signal",
            "locale.setlocale",
            "sys.setrecursionlimit",
            "sys.settrace",
            "sys.setprofile",
            "sys.setswitchinterval",
            "sys.setdlopenflags",
            "sys.addaudithook",
            "gc.disable",
            "gc.enable",
            "gc.freeze",
            "gc.set_threshold",
            "gc.set_debug",
            "warnings.filterwarnings",
            "warnings.simplefilter",
            "warnings.resetwarnings",
            "atexit.register",
            "atexit.unregister",
            "threading.settrace",
            "threading.setprofile",
            "threading.stack_size",
            "resource.setrlimit",
            "faulthandler.enable",
            "faulthandler.disable",
            "logging.basicConfig",
            "logging.disable",
            "logging.setLoggerClass",
            "logging.shutdown",
            "logging.config.dictConfig",
            "logging.config.fileConfig",
            "socket.setdefaulttimeout",
            "time.tzset",
            "asyncio.set_event_loop",
            "asyncio.set_event_loop_policy",
            "decimal.setcontext",
            "importlib.reload",
            "numpy.seterr",
            "numpy.set_printoptions",
            "contextlib.chdir",
            "copyreg.pickle",
            "codecs.register",
            "mimetypes.add_type",
            "xml.etree.ElementTree.register_namespace",
            "tracemalloc.start",
            "tracemalloc.stop",
        ]
    ),
    "reads the standard input": frozenset({"builtins.input", "getpass.getpass", "builtins.breakpoint"}),
    "runs code that cannot be read beforehand": frozenset({"builtins.exec", "builtins.eval"}),
}
# Functions that hand back a thing which others see too.
SHARED_RESULT = {
    "builtins.globals": "the globals of its module",
    "logging.getLogger": "a logger",
    "threading.current_thread": "its thread",
    "threading.main_thread": "the main thread",
    "multiprocessing.current_process": "its process",
    "decimal.getcontext": "the decimal context of its thread",
    "asyncio.get_event_loop": "its event loop",
    "asyncio.get_running_loop": "its event loop",
    "asyncio.current_task": "its task",
    "sys._getframe": "its caller's frame",
    "inspect.currentframe": "its caller's frame",
}
# Functions whose result may be an argument itself, or a part or a view of it.
ALIAS_RESULT = frozenset(
    [
        "builtins.getattr",
        "builtins.next",
        "builtins.max",
        "builtins.min",
        "builtins.vars",
        "builtins.memoryview",
        "operator.getitem",
        "functools.reduce",
        "random.choice",
        "contextlib.closing",
        "contextlib.nullcontext",
        "typing.cast",
        "numpy.asarray",
        "numpy.asanyarray",
        "numpy.ascontiguousarray",
        "numpy.ravel",
        "numpy.reshape",
        "numpy.transpose",
        "numpy.squeeze",
        "numpy.atleast_1d",
        "numpy.atleast_2d",
        "numpy.frombuffer",
        "numpy.swapaxes",
        "numpy.broadcast_to",
        "numpy.expand_dims",
        "numpy.array_split",
        "numpy.split",
        "numpy.hsplit",
        "numpy.vsplit",
        "numpy.dsplit",
        "numpy.require",
        "numpy.nditer",
        "numpy.lib.stride_tricks.as_strided",
        "numpy.lib.stride_tricks.sliding_window_view",
        "PIL.ImageDraw.Draw",
        "numpy.random.default_rng",
        "operator.iadd",
        "operator.ior",
    ]
)
# Functions whose result is a new container of what the arguments hold.
HOLDS_RESULT = frozenset(
    [
        "builtins.list",
        "builtins.tuple",
        "builtins.set",
        "builtins.frozenset",
        "builtins.dict",
        "builtins.sorted",
        "builtins.reversed",
        "builtins.iter",
        "builtins.enumerate",
        "builtins.zip",
        "builtins.filter",
        "copy.copy",
        "collections.deque",
        "collections.OrderedDict",
        "collections.defaultdict",
        "builtins.mappingproxy",
        "collections.ChainMap",
        "collections.UserDict",
        "collections.UserList",
        "itertools.chain",
        "itertools.islice",
        "itertools.cycle",
        "itertools.repeat",
        "itertools.product",
        "itertools.groupby",
        "itertools.permutations",
        "itertools.combinations",
        "itertools.takewhile",
        "itertools.dropwhile",
        "itertools.tee",
        "itertools.zip_longest",
        "itertools.filterfalse",
        "itertools.pairwise",
        "itertools.batched",
        "random.sample",
        "heapq.nlargest",
        "heapq.nsmallest",
        "heapq.merge",
    ]
)
# Methods that hand out a part or a view of their object, and methods that copy it without its parts.
METHOD_ALIAS = frozenset(
    [
        "get",
        "pop",
        "popleft",
        "popitem",
        "setdefault",
        "peek",
        "__getitem__",
        "__enter__",
        "__iter__",
        "__next__",
        "view",
        "reshape",
        "ravel",
        "squeeze",
        "transpose",
        "swapaxes",
        "cast",
        "getdefault",
        "get_or_create",
    ]
)
METHOD_HOLDS = frozenset(["items", "values", "keys", "copy", "elements", "most_common", "tolist"])

# Methods that operators, statements and built-in functions call which only read, as far as anybody expects.
_READING = (
    "len iter contains getitem missing bool hash str repr format bytes int float index complex round abs neg pos "
    "invert eq ne lt le gt ge add sub mul matmul truediv floordiv mod divmod pow lshift rshift and or xor "
    "radd rsub rmul rmatmul rtruediv rfloordiv rmod rdivmod rpow rlshift rrshift rand ror rxor "
    "getattr getattribute reversed length_hint call floor ceil trunc fspath dir copy deepcopy array "
    "instancecheck subclasscheck subclasshook class_getitem set_name"
)
SPECIAL = tuple(f"__{name}__" for name in _READING.split())
# And those that write to their object, which is nobody else's business while the object is the function's own.
_WRITING = (
    "setattr delattr setitem delitem next del iadd isub imul imatmul itruediv ifloordiv imod ipow ilshift irshift iand "
    "ior ixor"
)
SPECIAL_OF_OWN = (*SPECIAL, *(f"__{name}__" for name in _WRITING.split()))
