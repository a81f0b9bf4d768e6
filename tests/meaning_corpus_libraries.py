"""Functions of libraries that write to what they are given, and ones that only seem to. See `meaning_corpus`.

`T` marks what may travel, `S` what must stay; further arguments are samples of the arguments of a call.
"""

import bisect
import configparser
import ctypes
import heapq
import operator
import random
import struct
from xml.etree import ElementTree as ET

import numpy as np

import warnings

from meaning_corpus_marks import marks

CASES, T, S = marks()


ITEMS = []
ARRAY = np.zeros(9)
SQUARE = np.zeros((3, 3))
BUFFER = bytearray(99)
CHARACTERS = ctypes.create_string_buffer(9)
ROOT = ET.Element("root")
CONFIG = configparser.ConfigParser()
FORMAT = struct.Struct("i")


# Trees, files of settings, memory.


@S
def adds_an_element(name):
    ET.SubElement(ROOT, name)


@S
def adds_to_an_argument(parent):
    ET.SubElement(parent, "child")


@S
def indents(tree):
    ET.indent(tree)


@T
def builds_a_tree(name):
    root = ET.Element("root")
    child = ET.SubElement(root, name)
    ET.SubElement(child, "leaf").text = "x"
    ET.indent(root)
    return ET.tostring(root)


@S
def adds_a_section(name):
    CONFIG.add_section(name)


@S
def reads_into_settings(path):
    CONFIG.read(path)


@S
def reads_text_into_settings(text):
    CONFIG.read_string(text)


@T
def reads_settings_of_its_own(text):
    settings = configparser.ConfigParser()
    settings.read_string(text)
    settings.read("a path")
    settings.add_section("more")
    return settings.sections(), CONFIG.get("a", "b", fallback="")


@S
def packs(x):
    struct.pack_into("i", BUFFER, 0, x)


@S
def packs_in_a_format(x):
    FORMAT.pack_into(BUFFER, 0, x)


@T
def packs_its_own(x):
    buffer = bytearray(99)
    FORMAT.pack_into(buffer, 0, x)
    struct.pack_into("i", buffer, 4, x)
    return bytes(buffer)


@S
def fills_characters(x):
    ctypes.memset(CHARACTERS, x, 3)


@S
def fills_by_address(x):
    ctypes.memset(ctypes.addressof(CHARACTERS) + 1, x, 3)


@S
def writes_through_a_pointer(x):
    ctypes.cast(CHARACTERS, ctypes.POINTER(ctypes.c_byte))[0] = x


@S
def writes_over_its_memory(x):
    ctypes.c_byte.from_buffer(CHARACTERS).value = x


@T
def reads_characters(x):
    return CHARACTERS[x % 9], ctypes.sizeof(CHARACTERS)


@T
def moves_to_its_own(x):
    own = ctypes.create_string_buffer(9)
    ctypes.memmove(own, CHARACTERS, 9)
    ctypes.memset(own, x, 1)
    return own.raw


# Lists.


@S
def keeps_sorted(x):
    bisect.insort(ITEMS, x)


@S
def keeps_sorted_by_name(x):
    bisect.insort(a=ITEMS, x=x)


@S
def keeps_a_heap(x):
    heapq.heappush(ITEMS, x)


@S
def shuffles_items(x):
    random.shuffle(ITEMS)
    return x


# Arrays.


@S
def adds_into(x):
    np.add(ARRAY, x, ARRAY)


@S
def computes_into(out):
    np.sin(ARRAY, out)


@S
def clips_into(x):
    np.clip(ARRAY, 0, x, ARRAY)


@S
def shuffles_an_array(x):
    np.random.shuffle(ARRAY)
    return x


@S
def shuffles_by_its_own(seed):
    np.random.default_rng(seed).shuffle(ARRAY)


@S
def partitions(x):
    ARRAY.partition(x)


@S
def replaces_nan(x):
    np.nan_to_num(ARRAY, copy=False)
    return x


@S
def copies_to(x):
    np.copyto(ARRAY, x)


@S
def copies_to_by_name(x):
    np.copyto(dst=ARRAY, src=x)


@S
def puts_items(x):
    np.put(ARRAY, [1], x)


@S
def places(x):
    np.place(ARRAY, ARRAY > x, 0)


@S
def fills_the_diagonal(x):
    np.fill_diagonal(SQUARE, x)


@S
def writes_through_a_view(x):
    np.reshape(SQUARE, -1)[0] = x


@S
def writes_through_the_same_array(x):
    np.array(ARRAY, copy=False)[0] = x


@T
def computes_on_copies(x):
    own = np.array(ARRAY, copy=True)
    own[0] = x
    np.add(own, 1, own)
    np.sin(own, own)
    np.random.shuffle(own)
    np.put(own, [1], x)
    np.copyto(own, ARRAY)
    own.partition(3)
    np.clip(own, 0, 1, own)
    return np.nan_to_num(own, copy=False)


@T
def computes_on_arguments(array):
    return np.add(array, 1), np.nan_to_num(array), np.nan_to_num(array, copy=True), np.clip(array, 0, 1), array + ARRAY


@T
def parts_of_a_text(text):
    head, _, tail = text.partition(":")
    return operator.methodcaller("strip")(head), tail


# Methods by name.


@S
def appends_by_name(x):
    operator.methodcaller("append", x)(ITEMS)


@S
def clears_each_by_name(rows):
    return list(map(operator.methodcaller("clear"), rows))


@T
def strips_each_by_name(lines):
    return list(map(operator.methodcaller("strip"), lines)), sorted(lines, key=operator.methodcaller("lower"))


@S
def appends_by_getattr(x):
    getattr(ITEMS, "append")(x)


@S
def appends_by_an_entry(x):
    actions = {"add": ITEMS.append, "show": print}
    actions["add"](x)


@S
def appends_in_a_loop(x):
    for action in (ITEMS.append, print):
        action(x)


@T
def counts_by_an_entry(x):
    own = []
    actions = {"count": ITEMS.count, "add": own.append}
    actions["add"](x)
    return actions["count"](x), getattr(ITEMS, "index")(x)


@T
def warns_of_nothing(x):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return x * x


@S
def lets_nobody_warn_any_more(x):
    warnings.simplefilter("ignore")
    return x * x
