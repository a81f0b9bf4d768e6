"""Drawing random numbers: from a generator that others draw from, too, and from one's own. See `meaning_corpus`.

`T` marks what may travel, `S` what must stay; further arguments are samples of the arguments of a call.
"""

import copy
import functools
import random

import numpy as np

from meaning_corpus_marks import marks

CASES, T, S = marks()


RNG = random.Random(1)
ARRAYS = np.random.default_rng(1)
OLD = np.random.RandomState(1)
BITS = np.random.PCG64(1)
SYSTEM = random.SystemRandom()
draw = RNG.random
between = RNG.uniform


class Seeded(random.Random):
    """A generator of the program's own class."""

    def coin(self):
        return self.random() < 0.5


COINS = Seeded(1)


class Simulation:
    """Draws from a generator that its class has, or that it has itself."""

    common = random.Random(1)

    def __init__(self, seed=1):
        self.own = random.Random(seed)

    def from_common(self, x):
        return self.common.random() + x

    def from_own(self, x):
        return self.own.random() + x


S(RNG.random)
S(RNG.uniform)
S(RNG.gauss)
S(ARRAYS.normal)
S(OLD.rand)
S(Simulation().from_own)
S(functools.partial(RNG.choice, [1, 2]))
T(random.random)
T(random.gauss)
T(random.uniform)
T(np.random.rand)
T(np.random.normal)


@S
def draws(x):
    return RNG.random() + x


@S
def draws_with_a_bound_method(x):
    return draw() + between(0, x)


@S
def draws_an_array(n):
    return ARRAYS.normal(size=n)


@S
def draws_in_the_old_way(n):
    return OLD.rand(n)


@S
def draws_raw(x):
    return ARRAYS.bit_generator.random_raw() + x


@S
def seeds(x):
    RNG.seed(x)


@S
def shuffles_its_own(n):
    cards = list(range(n))
    RNG.shuffle(cards)
    return cards


@S
def draws_for_every_item(xs):
    return list(map(RNG.choice, xs))


@S
def hands_its_method(xs):
    return sorted(xs, key=lambda _x: RNG.random()), list(map(between, xs, xs))


@S
def hands_its_generator(frame):
    return frame.sample(5, random_state=ARRAYS)


@S
def draws_from_the_same(n):
    return np.random.default_rng(ARRAYS).normal(size=n)


@S
def makes_one_of_shared_bits(n):
    return np.random.Generator(BITS).normal(size=n)


@S
def flips(x):
    return COINS.coin() and x


@S
def from_the_class(x):
    return Simulation().from_common(x)


@S
def annotated(rng: random.Random):
    return rng.random()


def drawn(rng):
    return rng.random()


S(drawn, RNG)


@S
def through_helper(x):
    return drawn(RNG) + x


@T
def of_its_own(seed):
    rng = random.Random(seed)
    cards = list(range(52))
    rng.shuffle(cards)
    return cards[:5], drawn(rng)


@T
def array_of_its_own(seed):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=10)
    rng.shuffle(values)
    return rng.choice(values), np.random.RandomState(seed).rand()


@T
def object_of_its_own(seed):
    return Simulation(seed).from_own(0) + Seeded(seed).coin()


@T
def of_the_process(x):
    random.seed(x)
    np.random.seed(x)
    return random.random() + random.gauss(0, 1) + np.random.rand(), list(map(random.choice, [[x]]))


@T
def of_the_system(n):
    return SYSTEM.randrange(n)


@T
def of_a_copy(x):
    return copy.deepcopy(RNG).random() + x


@T
def of_a_state(x):
    rng = random.Random()
    rng.setstate(RNG.getstate())
    return rng.random() + x


@S
def draws_by_an_entry(x):
    return {"even": RNG.random, "bell": RNG.gauss}["even"]() + x
