"""The corpus of `test_meaning`: functions as users write them, and whether each may travel.

`CASES` holds a callable, whether an automatic choice may move it to another process, and samples of its arguments.
About half are harmless ones that must not be held back.
"""

from __future__ import annotations

from typing import Any

import meaning_corpus_by_name
import meaning_corpus_classes
import meaning_corpus_generators
import meaning_corpus_libraries
import meaning_corpus_made_objects
import meaning_corpus_odd_objects
import meaning_corpus_odd_values
import meaning_corpus_odd_writes
import meaning_corpus_stays
import meaning_corpus_stays_objects
import meaning_corpus_travels
import meaning_corpus_travels_objects

PLAIN = (
    meaning_corpus_travels,
    meaning_corpus_travels_objects,
    meaning_corpus_stays,
    meaning_corpus_stays_objects,
)
CASES: list[tuple[Any, bool, tuple[Any, ...]]] = [
    *((func, expected, ()) for part in PLAIN for func, expected in part.CASES),
    *meaning_corpus_odd_writes.CASES,
    *meaning_corpus_by_name.CASES,
    *meaning_corpus_odd_values.CASES,
    *meaning_corpus_made_objects.CASES,
    *meaning_corpus_odd_objects.CASES,
    *meaning_corpus_generators.CASES,
    *meaning_corpus_classes.CASES,
    *meaning_corpus_libraries.CASES,
]
