"""The public surface: complete, documented, typed, and nothing beside it."""

import importlib.metadata
import importlib.resources
import inspect
import re
from pathlib import Path

import pytest

import pointsman
from pointsman import _errors

PROMISED = {"Executor", "Future", "Plan", "PointsmanError", "execute", "map", "optimize", "options", "run", "submit"}
EXCEPTIONS = [getattr(_errors, name) for name in _errors.__all__]


def public_names() -> list[str]:
    return sorted(name for name in pointsman.__all__ if not name.startswith("__"))


def test_every_promised_name_is_exported():
    missing = PROMISED - set(pointsman.__all__)

    assert not missing


def test_every_exported_name_exists():
    absent = [name for name in pointsman.__all__ if not hasattr(pointsman, name)]

    assert not absent


def test_no_name_is_exported_twice():
    assert len(pointsman.__all__) == len(set(pointsman.__all__))


def test_dir_shows_the_exports_and_nothing_else():
    assert dir(pointsman) == sorted(pointsman.__all__)


@pytest.mark.parametrize("name", public_names())
def test_a_public_name_is_documented(name):
    value = getattr(pointsman, name)

    assert not callable(value) or (value.__doc__ or "").strip()


@pytest.mark.parametrize("name", public_names())
def test_a_public_function_annotates_every_parameter_and_its_result(name):
    value = getattr(pointsman, name)
    if not inspect.isfunction(value):
        return
    bare = [
        parameter.name
        for parameter in inspect.signature(value).parameters.values()
        if parameter.annotation is inspect.Parameter.empty
    ]

    assert bare == []
    assert inspect.signature(value).return_annotation is not inspect.Signature.empty


@pytest.mark.parametrize("error", EXCEPTIONS, ids=lambda error: error.__name__)
def test_an_exception_that_callers_can_catch_is_exported_under_one_root(error):
    assert error.__name__ in pointsman.__all__
    assert issubclass(error, pointsman.PointsmanError)


def test_the_wheel_ships_its_types():
    package = importlib.resources.files("pointsman")

    assert package.joinpath("py.typed").is_file()
    assert package.joinpath("_native.pyi").is_file()


def test_the_version_is_that_of_the_distribution():
    assert pointsman.__version__ == importlib.metadata.version("pointsman")


REFERENCE = Path(__file__).parents[1] / "docs" / "api.rst"


def test_the_signatures_of_the_reference_are_those_of_the_functions():
    def plain(function):
        signature = inspect.signature(function)
        bare = [one.replace(annotation=one.empty) for one in signature.parameters.values()]
        return str(signature.replace(parameters=bare, return_annotation=signature.empty))

    written = re.findall(r"^\.\. autofunction:: (\w+)(\(.*\))$", REFERENCE.read_text(), re.MULTILINE)

    assert len(written) >= 5
    assert dict(written) == {name: plain(getattr(pointsman, name)) for name, _ in written}


def test_the_reference_shows_every_public_name():
    text = REFERENCE.read_text()
    shown = set(re.findall(r"^\.\. auto\w+:: (?:pointsman\.)?(\w+)", text, re.MULTILINE))

    assert set(pointsman.__all__) - shown == {"__version__"}


@pytest.mark.parametrize("name", sorted(set(pointsman.__all__) - {"__version__"}))
def test_every_public_name_has_a_docstring_that_names_its_parameters(name):
    thing = getattr(pointsman, name)
    text = inspect.getdoc(thing) or ""

    assert text
    if inspect.isfunction(thing):
        missing = [
            parameter.name
            for parameter in inspect.signature(thing).parameters.values()
            if parameter.name not in ("args", "kwargs") and not re.search(rf"\b{parameter.name}\b", text)
        ]
        # `optimize` sends its reader to `execute` for what both take.
        if name == "optimize":
            missing = [one for one in missing if one not in inspect.getdoc(pointsman.execute)]
        assert missing == []
