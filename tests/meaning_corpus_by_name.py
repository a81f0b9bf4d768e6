"""Writes that no instruction names: through getters, copies, members, and what a library calls. See `meaning_corpus`.

`T` marks what may travel, `S` what must stay; further arguments are samples of the arguments of a call.
"""

import argparse
import asyncio
import collections
import copy
import dataclasses
import email.message
import enum
import functools
import json
import operator
import typing
import xml.dom.minidom
import xml.etree.ElementTree as ET
import xml.sax

from meaning_corpus_marks import marks

CASES, T, S = marks()


R = {"log": [], "n": 0}
TAGS = collections.Counter()
log_of = operator.itemgetter("log")
parts_of = operator.attrgetter("log")


class Row(typing.NamedTuple):
    k: int
    log: list


@dataclasses.dataclass
class Config:
    k: int = 0
    log: list = dataclasses.field(default_factory=list)


ROW, CONFIG = Row(0, []), Config()


class Places(enum.Enum):
    ONE = 1
    KEPT = []


class Handler(xml.sax.ContentHandler):
    def startElement(self, name, attrs):
        TAGS[name] += 1


class Quiet(xml.sax.ContentHandler):
    def __init__(self):
        super().__init__()
        self.count = 0

    def startElement(self, name, attrs):
        self.count += 1


class Encoder(json.JSONEncoder):
    def default(self, o):
        R["log"].append(o)
        return str(o)


class Plain(json.JSONEncoder):
    def default(self, o):
        return str(o)


class Store(argparse.Action):
    def __call__(self, parser, namespace, values, option_string=None):
        R["n"] = values


class Totals:
    def __init__(self):
        self.n = 0

    @functools.singledispatchmethod
    def handle(self, x):
        raise TypeError(x)

    @handle.register
    def _(self, x: int):
        self.n += x

    @functools.singledispatchmethod
    def told(self, x):
        return x

    @told.register
    def _(self, x: int):
        return x + 1


TOTALS = Totals()


class Connection:
    async def __aenter__(self):
        R["log"].append(1)
        return self

    async def __aexit__(self, *args):
        pass


class Idle:
    async def __aenter__(self):
        return self

    async def __aexit__(self, *args):
        pass


@S
def through_an_itemgetter(x):
    log_of(R).append(x)


@S
def through_an_itemgetter_made_here(x):
    operator.itemgetter("log")(R).append(x)


@S
def through_an_attrgetter(x):
    parts_of(CONFIG).append(x)


@T
def reads_by_getters(x):
    return log_of(R), operator.attrgetter("k")(CONFIG), sorted(x, key=operator.itemgetter(0))


@S
def into_the_field_of_a_row(x):
    ROW.log.append(x)


@S
def into_the_field_of_a_copied_row(x):
    ROW._replace(k=x).log.append(x)


@S
def into_what_two_configurations_share(x):
    dataclasses.replace(CONFIG, k=x).log.append(x)


@S
def into_what_a_copy_shares(x):
    copy.copy(CONFIG).log.append(x)


@T
def replaces_and_reads(x):
    made = dataclasses.replace(CONFIG, k=x)
    made.k = 3
    return made, ROW._replace(k=x), ROW.log


def into_the_field_of_an_input(row):
    row.log.append(1)


S(into_the_field_of_an_input, ROW)


@S
def on_a_member_found_by_its_value(x):
    Places(1).count = x


@S
def into_the_value_of_a_member(x):
    Places.KEPT.value.append(x)


@T
def finds_members(x):
    return Places(1), Places.ONE.value + x, Places["ONE"].name


@S
def by_a_handler(document):
    xml.sax.parseString(document, Handler())


@T
def by_a_handler_of_its_own(document):
    handler = Quiet()
    xml.sax.parseString(document, handler)
    return handler.count


@S
def by_an_encoder(x):
    return json.dumps(x, cls=Encoder)


@T
def by_an_encoder_that_only_says(x):
    return json.dumps(x, cls=Plain)


@S
def by_an_action(words):
    parser = argparse.ArgumentParser()
    parser.add_argument("--n", action=Store)
    return parser.parse_args(words)


@S
def by_a_method_that_is_chosen(x):
    TOTALS.handle(x)


@T
def by_a_chosen_method_that_only_says(x):
    return TOTALS.told(x)


async def opens():
    async with Connection():
        return 1


async def opens_nothing():
    async with Idle():
        return 1


@S
def when_entered(_):
    return asyncio.run(opens())


@T
def when_nothing_is_entered(_):
    return asyncio.run(opens_nothing())


TREE = ET.fromstring("<a><b>1</b></a>")
PAGE = xml.dom.minidom.parseString("<a><b>1</b></a>")
LETTER = email.message.EmailMessage()


def in_an_element_that_was_found(tree):
    tree.find("b").text = "2"


S(in_an_element_that_was_found, TREE)


@S
def in_each_element_that_was_found(_):
    for element in TREE.findall("b"):
        element.text = "2"


@S
def in_a_node_that_was_found(_):
    PAGE.getElementsByTagName("b")[0].nodeName = "c"


def finds(tree):
    return tree.find("b").text, [each.text for each in TREE.iter()], LETTER.get_body()


T(finds, TREE)


def finds_in_a_text(text):
    return text.find("b") + 1


T(finds_in_a_text, "abc")


@T
def builds_a_tree(text):
    tree = ET.fromstring(text)
    tree.find("b").text = "2"
    return ET.tostring(tree)


class Template:
    """Made of its source alone, as those of jinja2."""

    def __new__(cls, source):
        made = object.__new__(cls)
        made.length = len(source)
        return made


class Kept(Template):
    def __getnewargs__(self):
        return ("x" * self.length,)


class WithDefault:
    def __new__(cls, source="abc"):
        return object.__new__(cls)


TEMPLATE, KEPT, WITH_DEFAULT = Template("abc"), Kept("abc"), WithDefault()


@S
def uses_what_cannot_be_made_again(x):
    return TEMPLATE.length + x


@T
def uses_what_can_be_made_again(x):
    return KEPT.length + x, WITH_DEFAULT
