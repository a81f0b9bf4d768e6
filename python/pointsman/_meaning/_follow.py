"""Follows a call into everything it reaches, and collects what would change in another process.

Does not know: bytecode (`_read` does), how verdicts are kept, what a library's function does inside.

Invariants:

I1. No code of the user's runs: objects are looked at, never called (`_origins` I1).
I2. A function is followed once for each way of binding its arguments, and beyond a fixed amount of work the
    walk stops and says so. So following ends, and when in doubt the answer is to stay.
I3. Only functions of the project are followed. A library's function is taken at its name (`_library`).
"""

from __future__ import annotations

import gc
from collections import defaultdict
from functools import partial
from types import BuiltinFunctionType, FunctionType, MappingProxyType, MethodType, MethodWrapperType, ModuleType

from pointsman._naming import is_lost

from ._alone import LOCKS, SERVES_ONE, name_of_holder
from ._callers import dispatched, members
from ._frames import Frame, bind, captured_values
from ._generators import draws
from ._kinds import is_a
from ._library import is_bound, is_readable, qualified_name
from ._origins import (
    FRESH,
    UNKNOWN,
    Bound,
    Holder,
    Inner,
    Instance,
    Made,
    Origin,
    Origins,
    Stream,
    Super,
    cannot_travel,
    class_attribute,
    class_of,
    instance_dict,
    is_plain,
    parts_of,
    unique,
)
from ._read import read
from ._rebinding import STANDARD as STANDARD
from ._rebinding import is_as_imported, is_library, is_set_by_program, may_be_filled, module_of, setters_of
from ._resolve import CHANGEABLE, instance_of, is_namespace, kept_as, super_attribute
from ._stashing import Stashing
from ._tables import CALLED_LATER, MUTATORS, RESULT, SPECIAL, SPECIAL_OF_OWN
from ._types import INSTALLED
from ._values import EMPTY, ITEM, TRUE, Call, Value
from ._writes import may_call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._frames import Arguments, Keywords
    from ._values import Facts, Ref

_NEW_LOCALS = 0x02
GENERATOR, COROUTINE, ASYNC_GENERATOR = 0x20, 0x80, 0x200
_ENOUGH_REASONS, _DEEPEST = 4, 24
# In bytes of bytecode; a frame costs about as much as a hundred of them.
_FRAME_WORK, _MOST_WORK = 100, 100_000
_MAPPINGS = frozenset((dict, MappingProxyType))
_WITH_DEFAULT = frozenset((".get", ".pop"))
_GIVES_DEFAULT = frozenset((".get", ".pop", ".setdefault"))
_OPERATORS = "add and floordiv lshift matmul mul mod or pow rshift sub truediv xor".split()  # noqa: SIM905 - a line, not 13
_INPLACE = tuple(f"__i{name}__" for name in _OPERATORS)


class Walk(Stashing):
    """One walk, from one function over all that it calls."""

    def __init__(self) -> None:
        super().__init__()
        self.top: FunctionType | None = None
        self.entered: dict[object, Origins] = {}
        self.setters: dict[str, dict[str, str]] = {}
        self.made_classes: dict[int, type] = {}
        self.called_back: dict[int, object] = {}
        self.work = 0

    # Entering functions.

    def is_project(self, function: FunctionType) -> bool:
        """Whether the function belongs to the program, and not to an installed library (I3)."""
        package = package_of(function)
        if function.__name__ == "__repr__" and function.__code__.co_filename.startswith("<attrs generated"):
            return False
        if function is self.top or (self.package and self.package == package):
            return True
        if package in INSTALLED:
            return False
        file = function.__code__.co_filename
        if file.startswith("<"):
            file = str(function.__globals__.get("__file__", ""))
        return not (file.startswith(STANDARD) or "site-packages" in file or "dist-packages" in file)

    def is_called(self, obj: object) -> bool:
        """Whether a call of `obj` ends in a function of the project that its class has."""
        call = class_attribute(class_of(obj) or object, "__call__")
        function = call.__func__ if is_a(call, staticmethod | classmethod) else call
        return is_a(function, FunctionType) and self.is_project(function)

    def enter(self, function: FunctionType, args: Arguments, kwargs: Keywords, star: Origins) -> Origins:
        """Follow a call of a function of the project; returns what it hands back."""
        defaults: Keywords = {}
        code = function.__code__
        given = function.__defaults__ or ()
        with_default = code.co_varnames[code.co_argcount - len(given) : code.co_argcount]
        for name, value in zip(with_default, given, strict=False):
            defaults[name] = (Origin(value, "the default of", name),)
        for name, value in (function.__kwdefaults__ or {}).items():
            defaults[name] = (Origin(value, "the default of", name),)
        bound = self.bind(function, args, kwargs, star, defaults)
        self.rest("code", function, "", code)
        frame = Frame(read(code), function, bound)
        return self._run(frame, (id(code), *map(id, function.__closure__ or ())))

    def bind(
        self, function: FunctionType, args: Arguments, kwargs: Keywords, star: Origins, defaults: Keywords
    ) -> Keywords:
        """Give the variables of a called function what they stand for."""
        return bind(function.__code__, args, kwargs, star, defaults)

    def enter_inner(self, inner: Inner, args: Arguments, kwargs: Keywords, star: Origins) -> Origins:
        """Follow a call of a function defined inside another one."""
        held = self.resolve(inner.frame, inner.frame.facts.defaults.get(inner.site, EMPTY))
        bound = bind(inner.code, args, kwargs, star, dict.fromkeys(inner.code.co_varnames, held or (FRESH,)))
        frame = Frame(read(inner.code), inner.frame.function, bound, inner.frame)
        return self._run(frame, (id(inner.code), id(inner.frame)))

    def _run(self, frame: Frame, identity: tuple[int, ...]) -> Origins:
        key = (identity, tuple((name, self._signature(origins)) for name, origins in frame.args.items()))
        known = self.entered.get(key)
        if known is not None:
            return known
        self.entered[key] = ()
        if len(self.reasons) >= _ENOUGH_REASONS:
            return ()
        self.work += _FRAME_WORK + len(frame.facts.code.co_code)
        if self.work > _MOST_WORK or len(self.names) >= _DEEPEST:
            self.strike("calls more functions than can be followed", frame.name)
            return ()
        self.names.append(frame.name)
        self.within.append(frame.facts.code)
        self.frames.append(frame)
        try:
            found = self._effects(frame)
        finally:
            self.names.pop()
            self.within.pop()
        self.entered[key] = found
        return found

    def _signature(self, origins: Origins) -> frozenset[object]:
        """What makes a difference of an argument: not what was made inside, nor what cannot be written to."""
        marks: set[object] = set()
        waiting, seen = list(origins), set[object]()
        while waiting:
            origin = waiting.pop()
            obj = origin.obj
            if is_a(obj, Made | Holder):
                # How deep a thing lies in containers made here makes no difference.
                mark = (id(obj.frame), obj.site) if is_a(obj, Made) else obj.identity
                if mark not in seen:
                    seen.add(mark)
                    marks.add("holds")
                    waiting += self.items(origin)
            elif is_a(obj, Inner):
                marks.add((id(obj.code), id(obj.frame)))
            elif origin is not FRESH and not is_plain(obj):
                marks.add(origin.identity)
        return frozenset(marks)

    def _effects(self, frame: Frame) -> Origins:
        facts = frame.facts
        self._assignments(frame)
        self.keep(frame)
        by_value = is_lost(frame.function.__globals__.get("__name__"))
        for ref in facts.loads:
            deep = 2 if ref[0] == "free" or (by_value and ref[0] == "global") else 0
            for origin in self.resolve_ref(frame, ref):
                self.touch(origin, deep)
                if by_value and is_namespace(origin.obj, frame.function):
                    self.strike(f"uses {origin}: the function travels without its module")
            self._reads(frame, ref)
        for site in sorted(facts.calls):
            self.result(frame, site)
        self._raises(frame)
        if self.compares:
            self.compared(frame)
        if not facts.code.co_flags & _NEW_LOCALS:
            # The body of a class: its methods may be called by whoever gets hold of an object.
            for site in facts.inner:
                self.enter_inner(Inner(frame, site), [], {}, ())
        if facts.code.co_flags & (GENERATOR | ASYNC_GENERATOR):
            return (Origin(Stream(self.resolve(frame, facts.yields))),)
        return self.resolve(frame, facts.returns)

    def _assignments(self, frame: Frame) -> None:
        facts = frame.facts
        for name in facts.global_writes:
            self.strike(f"assigns the global variable `{name}`")
            self._tears(facts, name, f"the global variable `{name}`")
            self.stash(frame, name, None, f"the global variable `{name}`")
        for name in facts.free_writes:
            if frame.owner(name) is None:
                self.strike(f"assigns the captured variable `{name}`")
                self._tears(facts, name, f"the captured variable `{name}`")
                self.stash(frame, name, None, f"the captured variable `{name}`")
        for verb, value in facts.writes:
            for origin in self.resolve(frame, value):
                self.write(verb, origin)
                if origin.shared:
                    self._tears_part(frame, verb, value, origin)
                self._setter(verb, origin)
        for operator, value in facts.inplace:
            for ref in value - facts.scalars:
                for origin in self.resolve_ref(frame, ref):
                    self._inplace(operator, origin)

    def _tears(self, facts: Facts, name: str, what: str) -> None:
        if name in facts.torn:
            self.unguarded[f"`{self.name}` reads and sets {what}, with a call between in which others may set it"] = (
                None
            )

    def _tears_part(self, frame: Frame, verb: str, value: Value, origin: Origin) -> None:
        facts = frame.facts
        if verb.startswith("sets"):
            name, what = "." + verb.split("`")[1], f"{verb.removeprefix('sets ')} {origin}"
            self._tears(facts, name, what)
            self.stash(frame, name, origin, what)
        elif verb == "stores into":
            for ref in value:
                self._tears(facts, name_of_holder(ref), f"what {origin} holds")
                self.stash_entry(frame, name_of_holder(ref), origin)

    def _raises(self, frame: Frame) -> None:
        """`raise Error` makes an object of the class."""
        for origin in self.resolve(frame, frame.facts.raised):
            if is_a(origin.obj, type):
                self.construct(origin.obj, [], {}, ())

    def _reads(self, frame: Frame, ref: Ref) -> None:
        """A global of a module is read: workers import it anew, and have not what a function set since."""
        kind, name, steps = ref
        if kind == "global" and not steps:
            self._read_global(module_of(frame.function.__globals__), str(name))
        elif kind in {"global", "module", "free"} and steps and steps[-1].startswith("."):
            for origin in self.resolve_ref(frame, (kind, name, steps[:-1])):
                if type(origin.obj) is ModuleType:
                    self._read_global(module_of(origin.obj.__dict__), steps[-1][1:])

    def _read_global(self, module: ModuleType | None, name: str) -> None:
        value = module.__dict__.get(name, UNKNOWN) if module is not None else UNKNOWN
        if module is None or value is UNKNOWN:
            return
        if may_be_filled(module, name):
            self.rest("never", type(value), "", None)
        setters = self.setters.get(module.__name__)
        if setters is None:
            setters = {} if is_library(module.__dict__.get("__file__")) else setters_of(module)
            self.setters[module.__name__] = setters
        setter = None if is_a(value, FunctionType | type | ModuleType) else setters.get(name)
        if setter and not is_as_imported(module, name, value):
            self.strike(f"reads the global `{name}`, which `{setter}` sets: workers would import it anew")
        elif name not in setters and is_set_by_program(module, name, value):
            self.strike(f"reads `{module.__name__}.{name}`, which the program has set: workers would import it anew")

    def _inplace(self, operator: int, origin: Origin) -> None:
        cls = class_of(origin.obj)
        if not origin.shared or (cls is not None and class_attribute(cls, _INPLACE[operator]) is UNKNOWN):
            return
        self.strike(f"changes {origin} in place" if cls else f"may change {origin} in place")

    # Calls.

    def result(self, frame: Frame, site: int) -> Origins:
        """Follow the call at `site`, once; returns what it hands back."""
        known = frame.results.get(site)
        if known is not None:
            return known
        frame.results[site] = ()
        call = frame.facts.calls[site]
        args = [self.resolve(frame, value) for value in call.args]
        # `copy=True` is what most functions do anyway; anything else may write to what it is given.
        kwargs = {
            name: self.resolve(frame, value)
            for name, value in call.kwargs.items()
            if not (name == "copy" and value is TRUE)
        }
        star = self.resolve(frame, call.star)
        self._passed_methods(frame, call, args)
        found: list[Origin] = []
        if not call.callee:
            self.callbacks(args, kwargs, star, ())
        for ref in call.callee:
            kind, root, steps = ref
            if steps and steps[-1].startswith("."):
                for receiver in self.resolve_ref(frame, (kind, root, steps[:-1])):
                    if call.kwargs.get("inplace") is TRUE:
                        self.write("changes in place", receiver)
                    handed = self.method(receiver, steps[-1][1:], args, kwargs, star)
                    # `x.astype(float, copy=False)` may be `x` itself.
                    found += (receiver,) if "copy" in kwargs else ()
                    found += like_default(handed, call) if steps[-1] in _WITH_DEFAULT else handed
                    found += args[1] if steps[-1] in _GIVES_DEFAULT and len(args) > 1 else ()
            else:
                for origin in self.resolve_ref(frame, ref):
                    by_name = self.called_by_name(frame, origin, args)
                    found += by_name or self.call(origin, args, kwargs, star)
        self._results_go(kwargs.get("out", ()))
        frame.results[site] = unique(found) or (FRESH,)
        return frame.results[site]

    def _results_go(self, out: Origins) -> None:
        """`out=array`, or a tuple of such."""
        for origin in out:
            for each in (origin, *(self.items(origin) if is_a(origin.obj, Holder | Made) else ())):
                self.write(RESULT, each)
                self.overwrites(each)

    def _passed_methods(self, frame: Frame, call: Call, args: Arguments) -> None:
        """A method that changes its object, handed to somebody else, is taken as called."""
        for origins in args:
            for origin in origins:
                if is_a(origin.obj, Instance):
                    self.made_method_caller(frame, origin, args)
        values: list[Value] = [*call.args, *call.kwargs.values(), call.star]
        for value in values:
            for kind, root, steps in value:
                if not steps or not steps[-1].startswith("."):
                    continue
                name = steps[-1][1:]
                for receiver in self.resolve_ref(frame, (kind, root, steps[:-1])):
                    if name in MUTATORS or (receiver.shared and draws(receiver.obj, name)):
                        self.method(receiver, name, [], {}, ())

    def call(  # noqa: C901 - one branch for each kind of callable
        self, origin: Origin, args: Arguments, kwargs: Keywords, star: Origins
    ) -> Origins:
        """Follow a call of `origin` itself."""
        obj = origin.obj
        if is_a(obj, FunctionType) and self.is_project(obj):
            return self.enter(obj, args, kwargs, star)
        if is_a(obj, Bound):
            return self.method(obj.receiver, obj.name, args, kwargs, star)
        if is_a(obj, Inner):
            return self.enter_inner(obj, args, kwargs, star)
        if is_a(obj, MethodType):
            return self._bound_method(obj, origin, args, kwargs, star)
        if is_a(obj, staticmethod | classmethod):
            return self.call(Origin(obj.__func__), args, kwargs, star)
        if is_a(obj, type):
            return self.construct(obj, args, kwargs, star)
        if is_a(obj, partial):
            given: Arguments = [(Origin(value, "a bound argument of", origin.expression),) for value in obj.args]
            return self.call(Origin(obj.func, origin.intro, origin.expression), [*given, *args], kwargs, star)
        if self.is_called(obj):
            self.rest_on_attribute(obj, "__call__")
            call = class_attribute(class_of(obj) or object, "__call__")
            first: Arguments = [] if is_a(call, staticmethod) else [(origin,)]
            return self.call(Origin(call), [*first, *args], kwargs, star)
        if is_a(obj, MethodWrapperType) or (is_a(obj, BuiltinFunctionType) and is_bound(obj)):
            receiver = Origin(obj.__self__, origin.intro or "the object", origin.expression)
            if origin.intro == "the object":
                receiver = Origin(obj.__self__, f"its bound {type(obj.__self__).__name__}")
            self.touch(receiver, deep=0)
            return self.method(receiver, obj.__name__, args, kwargs, star)
        if (handed := self.taken(obj, args)) is not None:
            return handed
        self.callbacks(args, kwargs, star, (), qualified_name(obj))
        self.lends(qualified_name(obj), *args, *kwargs.values(), star)
        return unique([*self._wrapped(origin, args, kwargs, star), *self.library(origin, args, kwargs, star)])

    def _bound_method(
        self, method: MethodType, origin: Origin, args: Arguments, kwargs: Keywords, star: Origins
    ) -> Origins:
        function = method.__func__
        expression = f"{origin.expression or method.__name__}.__self__"
        bound = Origin(method.__self__, origin.intro or "the object of", expression)
        # The functions that Cython makes have a name that is a slot, as those of Python do.
        named = is_a(function, FunctionType) or type(function).__name__ == "cython_function_or_method"
        if named and not (is_a(function, FunctionType) and self.is_project(function)):
            self.callbacks(args, kwargs, star, self.items(bound), f".{function.__name__}")
            self.lends(function.__name__, *args, *kwargs.values(), star)
            return self.method_by_name(bound, function.__name__, args, star)
        return self.call(Origin(function), [(bound,), *args], kwargs, star)

    def _wrapped(self, origin: Origin, args: Arguments, kwargs: Keywords, star: Origins) -> Origins:
        """A library's callable may be a wrapper: follow the functions of the project that it holds."""
        obj = origin.obj
        held = [*instance_dict(obj).values(), *captured_values(obj)]
        inside = [part for each in held for part in (_values_of(each) if type(each) in _MAPPINGS else (each,))]
        handed: list[Origin] = []
        for each in inside:
            if self.may_be_followed(each):
                handed += self.call(Origin(each), args, kwargs, star)
        if handed and qualified_name(obj) == "functools._lru_cache_wrapper":
            handed.append(Origin(UNKNOWN, "the cached result of", origin.expression or self.name))
        elif not handed and not is_readable(obj):
            self.strike(f"calls {origin}, which cannot be read")
        return tuple(handed)

    def construct(self, cls: type, args: Arguments, kwargs: Keywords, star: Origins) -> Origins:
        """Follow the making of an object."""
        if known := members(cls):
            return known
        made = Origin(instance_of(cls, args, kwargs))
        followed = False
        for name in ("__new__", "__init__"):
            self.rest_on_attribute(cls, name)
            function = class_attribute(cls, name)
            first = (Origin(cls, "the class", cls.__name__),) if name == "__new__" else (made,)
            function = function.__func__ if is_a(function, staticmethod) else function
            if is_a(function, FunctionType) and self.is_project(function):
                self.enter(function, [first, *args], kwargs, star)
                followed = True
        self.callbacks(args, kwargs, star, (), "" if followed else qualified_name(cls))
        self._specials_of_own(made, cls, args, kwargs)
        if not followed:
            self.lends(qualified_name(cls), *args, *kwargs.values(), star)
        return self.constructed(cls, args, kwargs, star) or (made,)

    def method(self, receiver: Origin, name: str, args: Arguments, kwargs: Keywords, star: Origins) -> Origins:
        """Follow a call of a method, found by the class of its object if that is known."""
        obj = receiver.obj
        if name == "__hash__":
            self.hashes((receiver,))
        if name == "__call__" and is_a(obj, FunctionType | Inner | MethodType | partial):
            return self.call(receiver, args, kwargs, star)
        if is_a(obj, Super):
            found = super_attribute(obj, name)
            if is_a(found, FunctionType) and self.is_project(found):
                return self.enter(found, [(obj.instance,), *args], kwargs, star)
            return self.method_by_name(obj.instance, name, args, star)
        if kept := kept_as(receiver, name):
            return unique(each for origin in kept for each in self.call(origin, args, kwargs, star))
        for each in dispatched(receiver, name):
            self.call(Origin(each), [(receiver,), *args], kwargs, star)
        found = self.find_method(receiver, name)
        if found is None:
            others = self.items(receiver)
            self.callbacks(args, kwargs, star, others, f".{name}")
            self.lends(name, *args, *kwargs.values(), star)
            return self.method_by_name(receiver, name, args, star)
        function, with_self = found
        if is_a(function.obj, FunctionType) and self.is_project(function.obj):
            first: Arguments = [(with_self,)] if with_self is not None else []
            return self.enter(function.obj, [*first, *args], kwargs, star)
        if with_self is not None:
            self.hooks(receiver)
            self.callbacks(args, kwargs, star, self.items(receiver), f".{name}")
            self.lends(name, *args, *kwargs.values(), star)
            return self.method_by_name(receiver, name, args, star)
        return self.call(function, args, kwargs, star)

    def getter(self, function: FunctionType, *args: Origin) -> Origins | None:
        """Follow a property of the project."""
        return self.enter(function, [(origin,) for origin in args], {}, ()) if self.is_project(function) else None

    def callbacks(self, args: Arguments, kwargs: Keywords, star: Origins, others: Origins, by: str = "") -> None:
        """Follow the functions handed to `by`: they may be called with what else it was given."""
        given = [*args, *kwargs.values(), star]
        functions = [origin for origins in given for origin in origins if self.may_be_followed(origin.obj)]
        callables: list[Origin] = []
        if may_call(by):
            callables = [origin for origins in given for origin in origins if self.is_callable(origin.obj)]
        if may_call(by) or by in CALLED_LATER:
            for origin in (each for origins in given for each in origins):
                self.hooks(origin)
        if not functions and not callables:
            return
        rest = [origin for origins in given for origin in origins if not self.may_be_followed(origin.obj)]
        items = unique([*others, *rest, *(item for origin in rest for item in self.items(origin, ITEM))])
        for function in functions:
            self.call(function, [], {}, items or (FRESH,))
        for each in callables:
            # One may be handed on to what it calls, and so come back here.
            if id(each.obj) not in self.called_back:
                self.called_back[id(each.obj)] = each.obj
                self.call(each, [], {}, items)
                del self.called_back[id(each.obj)]

    def may_be_followed(self, obj: object) -> bool:
        """Whether `obj` is a function of the project, or a method of one."""
        if is_a(obj, MethodType):
            obj = obj.__func__
        return is_a(obj, Inner) or (is_a(obj, FunctionType) and self.is_project(obj))

    def is_callable(self, obj: object) -> bool:
        """Whether calling `obj`, which is no function, ends in a function of the project."""
        if obj is UNKNOWN or is_plain(obj):
            return False
        if is_a(obj, type):
            makers = [class_attribute(obj, name) for name in ("__new__", "__init__")]
            return any(is_a(maker, FunctionType) and self.is_project(maker) for maker in makers)
        if is_a(obj, BuiltinFunctionType):
            return is_bound(obj) and obj.__name__ in MUTATORS
        if is_a(obj, partial | Bound):
            return True
        if self.may_be_followed(obj):
            return False
        return self.is_called(obj) or self.may_be_followed(instance_dict(obj).get("__wrapped__"))

    def touch(self, origin: Origin, deep: int) -> None:
        """Something is read: it may be a thing that cannot travel, and it may say what the work is."""
        self.hint(origin)
        if origin.shared:
            word = cannot_travel(origin.obj, deep)
            if word:
                self.strike(f"uses {origin}: {word} cannot be shared with another process")
                # What lies inside of it is met by itself where it is used.
                if word in SERVES_ONE:
                    self.keep_alone(f"uses {origin}: {word} serves one call at a time")
                elif word in LOCKS:
                    self.locks.append(origin.obj)
            elif type(origin.obj) is defaultdict and origin.obj.default_factory is not None:
                self.strike(f"uses {origin}, which is filled by reading it")
            else:
                self._specials(origin)

    def _specials_of_own(self, made: Origin, cls: type, args: Arguments, kwargs: Keywords) -> None:
        """Follow what operators and statements may call of an object made here: it may write to what others see."""
        if not cls.__flags__ & CHANGEABLE or id(cls) in self.made_classes:
            return
        self.made_classes[id(cls)] = cls
        self._specials(made, SPECIAL_OF_OWN)
        call = class_attribute(type(cls), "__call__")
        if is_a(call, FunctionType) and self.is_project(call):
            self.enter(call, [(Origin(cls, "the class", cls.__name__),), *args], kwargs, ())

    def _setter(self, verb: str, origin: Origin) -> None:
        """Follow what setting or deleting an attribute of an object made here calls."""
        cls = class_of(origin.obj)
        if origin.shared or cls is None or "`" not in verb:
            return
        name, deletes = verb.split("`")[1], verb.startswith("deletes")
        found = class_attribute(cls, name)
        if is_a(found, property):
            function: object = found.fdel if deletes else found.fset
            args: Arguments = [(origin,)]
        else:
            function = class_attribute(class_of(found) or object, "__delete__" if deletes else "__set__")
            args = [(Origin(found, "the class attribute", f"{cls.__name__}.{name}"),), (origin,)]
        if is_a(function, FunctionType) and self.is_project(function):
            self.rest_on_attribute(cls, name)
            self.enter(function, args, {}, ())

    def _specials(self, origin: Origin, names: tuple[str, ...] = SPECIAL) -> None:
        """Follow what operators and built-in functions may call of an object of the project, wherever they do."""
        cls = class_of(origin.obj)
        if cls is None or is_a(origin.obj, type) or not cls.__flags__ & CHANGEABLE:
            return
        for name in names:
            function = class_attribute(cls, name)
            if is_a(function, FunctionType) and self.is_project(function):
                self.rest_on_attribute(cls, name)
                self.enter(function, [(origin,)], {}, ())


def _values_of(mapping: object) -> list[object]:
    """The first values of a dict, or of a view of one: a registry of functions, perhaps."""
    if is_a(mapping, MappingProxyType):
        mapping = next(iter(gc.get_referents(mapping)), None)
    return parts_of(mapping)


def package_of(function: FunctionType) -> str:
    """The first part of the name of the function's module."""
    return str(function.__globals__.get("__name__", "")).partition(".")[0]


def like_default(handed: Origins, call: Call) -> Origins:
    """What `row.get("count", 0)` hands back is taken to be what its default is."""
    if call.default is None:
        return handed
    known = Instance(call.default)
    return tuple(
        Origin(known, origin.intro, origin.expression) if origin.obj is UNKNOWN else origin for origin in handed
    )
