"""The seconds that joblib takes on our workers and on loky.

    python benches/joblib_peers.py [ROUNDS] [--json FILE]

Prints, for a `Parallel` over 10,000 small calls and for a GridSearchCV (where scikit-learn is installed), the median
seconds of both backends and the median of the rounds' ratios, ours over loky's. The two take turns in each round.
"""

import argparse
import json
import statistics
from pathlib import Path
from time import perf_counter

import _table
from joblib import Parallel, delayed, parallel_config

from pointsman.integrations.joblib import register


def small(number):
    return number * number


def many():
    assert len(Parallel()(delayed(small)(number) for number in range(10_000))) == 10_000


def search():
    from sklearn.datasets import make_classification
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import GridSearchCV

    inputs, classes = make_classification(500, random_state=0)
    grid = {"max_depth": [2, 4, 8], "n_estimators": [20, 40]}
    GridSearchCV(RandomForestClassifier(random_state=0), grid, cv=4, n_jobs=-1).fit(inputs, classes)


def timed(work, backend):
    with parallel_config(backend=backend, n_jobs=-1):
        began = perf_counter()
        work()
        return perf_counter() - began


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("rounds", type=int, nargs="?", default=5, help="measurements of each figure (default 5)")
    parser.add_argument("--json", metavar="FILE", help="write every figure to this file")
    options = parser.parse_args()
    rounds, figures = options.rounds, {}
    _table.print_machine()
    register()
    works = [("10,000 small calls", many)]
    try:
        import sklearn  # noqa: F401 - asked whether it is there

        works.append(("GridSearchCV", search))
    except ModuleNotFoundError:
        print("SKIPPED: GridSearchCV (scikit-learn is not installed)")
    for name, work in works:
        for backend in ("pointsman", "loky"):
            # Both have their workers started and their imports done.
            timed(work, backend)
        pairs = [(timed(work, "pointsman"), timed(work, "loky")) for _ in range(rounds)]
        ours, loky = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratio = statistics.median(mine / theirs for mine, theirs in pairs)
        print(f"{name:20} pointsman {ours:.3f} s   loky {loky:.3f} s   ratio {ratio:.2f}", flush=True)
        figures[name] = {"pointsman": ours, "loky": loky, "ratio": ratio}
    if options.json:
        text = json.dumps({"machine": _table.machine(), "rounds": rounds, "works": figures}, indent=1)
        Path(options.json).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
