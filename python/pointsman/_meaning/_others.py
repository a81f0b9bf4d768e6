"""What methods and functions of libraries outside of the standard one write to, by their names: they are not followed.

Does not know: bytecode, who else sees an object.

Invariants:

I1. Doubt makes a method a writing one: where nothing is known of a library, its names are taken at their word.
"""

from __future__ import annotations

import sys

from ._kinds import is_a


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Libraries whose objects are values: what computes with them makes others. Those of their methods that do not.
_WRITING = {
    "numpy": _words("set_fill_value harden_mask soften_mask unshare_mask shrink_mask"),
    "scipy": _words("setdiag eliminate_zeros sum_duplicates sort_indices resize prune set_shape integrate step"),
    "pandas": _words("insert update pop set_flags"),
    "polars": _words("insert_column drop_in_place replace_column extend clear"),
    "pyarrow": _words("write write_table write_batch close"),
    "xarray": _words("update load close"),
    "sympy": _words("row_swap row_del row_op col_swap col_del col_op zip_row_op fill copyin_matrix copyin_list"),
    "shapely": _words(""),
    "PIL": _words(
        """paste putpixel putalpha putdata putpalette thumbnail load seek frombytes alpha_composite draft close
        arc bitmap chord circle ellipse floodfill line multiline_text pieslice polygon rectangle
        regular_polygon rounded_rectangle text"""
    ),
    "sklearn": _words(
        """fit fit_predict fit_resample fit_transform partial_fit set_params set_output set_fit_request
        set_score_request set_transform_request"""
    ),
    "torch": _words(
        "backward step zero_grad train eval requires_grad to cuda cpu half float double load_state_dict add_module"
    ),
    "cv2": _words(""),
}
# First words of methods and functions that change what they are given. Arbitrary: common ones, in other libraries.
_CHANGES = _words(
    """accumulate acquire add append apply assign attach backward begin bind clear close commit connect
    contract decrement del delete deregister detach discard disable disconnect draw drop emit enable end
    enqueue erase extend feed fill finish fit flush increment inc dec init inplace insert install
    invalidate learn load lock mark merge move mutate observe open partial paste pause pop populate post
    publish push put record refresh register relabel release reload remove rename reorder replace reset
    resize resume reverse rollback rotate save send set shift shuffle sort start step stop store submit
    subscribe swap thumbnail toggle touch train transition truncate uninstall unlock unregister
    unsubscribe update upsert write zero"""
)
# Functions that draw on the image that comes first.
_DRAWING = _words(
    """arrowedLine circle drawChessboardCorners drawContours drawFrameAxes drawKeypoints drawMarker ellipse
    fillConvexPoly fillPoly floodFill line polylines putText rectangle"""
)


def method_writes(cls: type, method: str) -> bool:
    """Whether a method of a library's class is taken to write to its object."""
    owner = next((base for base in cls.__mro__ if method in base.__dict__), cls)
    library = _library(owner.__module__)
    # `_replace` of named tuples, and what is nobody's business.
    if library is None or method.startswith("_"):
        return False
    if library == "torch" and method.endswith("_"):
        return True
    known = _WRITING.get(library)
    return method in known if known is not None else _first_word(method) in _CHANGES


def function_writes(module: object, name: str, keywords: frozenset[str]) -> bool:
    """Whether a library's function is taken to write to its first argument; `keywords` are those that it is given."""
    library = _library(module)
    if library is None:
        return False
    # `copy=True` is not among them: it is what most functions do anyway.
    if "copy" in keywords or any(word.startswith("overwrite_") for word in keywords):
        return library != "numpy"
    if library == "cv2":
        return name in _DRAWING
    return library not in _WRITING and _first_word(name) in _CHANGES


def _library(module: object) -> str | None:
    """The library that a module belongs to, if it is one that is not Python's own."""
    first = module.partition(".")[0] if is_a(module, str) else ""
    return None if not first or first in sys.stdlib_module_names or first == "__main__" else first


def _first_word(name: str) -> str:
    name = name.lstrip("_")
    length = next((place for place, letter in enumerate(name) if not "a" <= letter <= "z"), len(name))
    return name[:length]
