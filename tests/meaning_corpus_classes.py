"""What classes of the program do when their objects are called, compared, added and set. See `meaning_corpus`.

`T` marks what may travel, `S` what must stay; further arguments are samples of the arguments of a call.
"""

import functools

CASES = []


def T(func, *samples):
    CASES.append((func, True, samples))
    return func


def S(func, *samples):
    CASES.append((func, False, samples))
    return func


SEEN = []


# Decorators that are classes.


class Counted:
    def __init__(self, func):
        functools.update_wrapper(self, func)
        self.func = func
        self.calls = 0

    def __call__(self, *args):
        self.calls += 1
        return self.func(*args)


class Passed:
    def __init__(self, func):
        functools.update_wrapper(self, func)
        self.func = func

    def __call__(self, *args):
        return self.func(*args)


class Noted(Passed):
    @staticmethod
    def __call__(x):
        SEEN.append(x)


def square(x):
    return x * x


def remember(x):
    SEEN.append(x)


def numbers(n):
    yield from range(n)


S(Counted(square))
S(functools.partial(Counted(square), 1))
S(Noted(square))
S(Passed(remember))
S(Passed(numbers))
T(Passed(square))
T(functools.partial(Passed(square), 1))
T(functools.lru_cache(Passed(square)))
T(Passed(functools.lru_cache(square)))
