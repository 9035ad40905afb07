"""The checks of arguments against type hints, and that all public methods have them."""

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, Self, TypedDict, Unpack, get_type_hints

import numpy as np
import pytest

import florence_rag
from florence_rag import FlorenceError, FlorenceRAG, InputError
from florence_rag.context import Models
from florence_rag.testing import ColorEmbedder, ColorVQA, MemoryIndex
from florence_rag.tools import Budget, Tool, UrlRules, tools_for
from florence_rag.validation import check_type, show, validate_arguments


class Unprintable:
    def __repr__(self):
        raise KeyError("a\nb")


class Closable(Protocol):
    def close(self) -> None: ...


class Options(TypedDict, total=False):
    count: int


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (np.int64(3), int),
        (np.float32(0.5), float),
        (1, float),
        (np.bool_(True), bool),
        (float("nan"), float),
        (Path("a"), str | Path),
        (Path("a"), Path),
        (["a"], Sequence[str]),
        (("a",), list[str]),
        (np.zeros(4), Sequence[float]),
        (np.zeros(4), tuple[float, float, float, float]),
        (np.array(["a", "b"]), Sequence[str]),
        ([1, 2], tuple[int, int]),
        ({"a"}, Collection[str]),
        ({"a": 1}.keys(), Sequence[str] | Collection[str]),
        (iter([1]), Iterable[str]),  # whose items are checked when they come
        ({"a": ["b"]}, Mapping[str, Sequence[str]]),
        ({"a": object()}, dict[str, Any]),
        (None, str | None),
        ("other", Literal["a", "b"]),  # values are checked elsewhere
        (print, Callable[[str], None]),
        (open, Any),
        (Path, type),
    ],
)
def test_values_fit(value, hint):
    check_type(value, hint, "x")


@pytest.mark.parametrize(
    ("value", "hint", "message"),
    [
        (True, int, "x must be a whole number, got True"),
        (True, float | None, "x must be a number or None, got True"),
        (2.0, int, "x must be a whole number, got 2.0"),
        ("3", int, "x must be a whole number, got '3'"),
        pytest.param(10**5000, int, "x must be a whole number, got a number of 16610 bits", id="huge"),
        (1, bool, "x must be true or false, got 1"),
        (b"a", str, "x must be a text, got b'a'"),
        (7, str | Path, "x must be a text or a path, got 7"),
        ("abc", Sequence[str], "x must be a list of texts, got 'abc'"),
        ("abc", Iterable[str], "x must be a list of texts, got 'abc'"),
        ({"a": 1}, Iterable[str], "x must be a list of texts, got {'a': 1}"),
        ({"a"}, Sequence[str], "x must be a list of texts, got {'a'}"),
        (iter("a"), Sequence[str], "x must be a list of texts"),
        (np.array(5), Sequence[float], "x must be a list of numbers, got array(5)"),
        (["a", 1], Collection[str] | None, "x[1] must be a text, got 1"),
        ({"a": "b"}, Mapping[str, Sequence[str]], "x['a'] must be a list of texts, got 'b'"),
        ({"a": ["b", None]}, Mapping[str, Sequence[str]], "x['a'][1] must be a text, got None"),
        ((1,), tuple[int, int] | None, "x must be a list of 2 values or None, got (1,)"),
        (3, Literal["a", "b"], "x must be one of 'a', 'b', got 3"),
        ("f", Callable[[int], None] | None, "x must be a function or None, got 'f'"),
        ([1], Callable[[int], None], "x must be a function, got [1]"),
        (5, Closable, "x must be a Closable, got 5"),
        (Unprintable(), int, "x must be a whole number, got <Unprintable instance"),
        ("a\nb" * 100, int, "x must be a whole number, got 'a\\nba"),
    ],
)
def test_what_does_not_fit_is_named_in_one_line(value, hint, message):
    with pytest.raises(InputError) as error:
        check_type(value, hint, "x")
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 200


def test_any_value_can_be_shown():
    values = [b"x" * 10**6, ["a"] * 10**6, 10**5000, Unprintable(), np.zeros(10**6), {"a": {"b": [1]}}]
    assert all(0 < len(show(value)) <= 80 for value in values)


@validate_arguments
class Shop:
    def __init__(self, name: str = "", *goods: int, open: bool = True, **options: Unpack[Options]) -> None:
        self.options = options

    def sell(self, k: int, /, to: str = "") -> Self:
        return self

    @classmethod
    def of(cls, name: str) -> Self:
        return cls(name)

    @staticmethod
    def tax(rate: float) -> float:
        return rate

    def _private(self, k: int) -> int:
        return k


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: Shop(1), "name"),
        (lambda: Shop("a", 1, "b"), "goods"),
        (lambda: Shop(open="yes"), "open"),
        (lambda: Shop(count="3"), "count"),
        (lambda: Shop().sell("3"), "k"),
        (lambda: Shop().sell(3, to=4), "to"),
        (lambda: Shop.of(3), "name"),
        (lambda: Shop.tax(rate="3"), "rate"),
    ],
)
def test_a_class_checks_constructor_and_public_methods(call, name):
    with pytest.raises(InputError, match=f"^{name} must be"):
        call()


def test_what_python_checks_itself_stays_a_type_error():
    for call in (lambda: Shop.of(), lambda: Shop().sell(1, size=2), lambda: Shop.tax(1, 2)):
        with pytest.raises(TypeError):
            call()
    assert Shop()._private("a") == "a"
    assert inspect.signature(Shop.sell).parameters["to"].annotation is str


# The public methods


class Wrong:
    """What no parameter takes, unless it takes everything."""


WRONG = (Wrong(), 3 + 4j, 10**5000)
"""An object, a number of a kind that nobody asks for, and a huge number."""


@pytest.fixture(scope="module")
def rag(tmp_path_factory):
    embedder, folder = ColorEmbedder(), tmp_path_factory.mktemp("rag")
    models = Models.of(embedder, vqa=ColorVQA())
    with FlorenceRAG(MemoryIndex(embedder.info), models, images=folder, classifiers=folder) as rag:
        rag.items.upsert_texts(["a red bus"], ids=["bus"])
        yield rag


def parameters(function):
    """Yield the parameters with a hint, and whether each is positional only."""
    function = getattr(function, "__func__", function)
    function = function.__init__ if isinstance(function, type) else function
    for name, hint in get_type_hints(function).items():
        if hasattr(hint, "__origin__") and hint.__origin__ is Unpack:
            yield from get_type_hints(hint.__args__[0])
        elif name != "return" and hint is not Any:
            yield name


PUBLIC_CLASSES = [each for name in florence_rag.__all__ if isinstance(each := getattr(florence_rag, name), type)] + [
    Budget,
    UrlRules,
]


def methods_of(value):
    return [each for name, each in inspect.getmembers(value, inspect.ismethod) if name[0] != "_"]


def public_callables(rag):
    """Return what a program calls: methods of the object and of its parts, constructors, and tools."""
    records = [
        each for each in PUBLIC_CLASSES if not issubclass(each, Exception) and not each.__dict__.get("_is_protocol")
    ]
    parts = [rag, rag.items, rag.retriever, rag.classifiers]
    tools = [tool.run for tool in tools_for(rag)]
    return [*(method for part in parts for method in methods_of(part)), *records, *tools, tools_for]


def test_wrong_types_are_input_errors_that_name_the_argument(rag):
    before = rag.items.ids()
    called = 0
    for function in public_callables(rag):
        signature = inspect.signature(function).parameters
        for name in parameters(function):
            for wrong in WRONG:
                kind = signature[name].kind if name in signature else None
                args, kwargs = ((wrong,), {}) if kind is inspect.Parameter.VAR_POSITIONAL else ((), {name: wrong})
                with pytest.raises(InputError, match=name) as error:
                    function(*args, **kwargs)
                assert "\n" not in str(error.value), function
                called += 1
    assert called > 500
    assert rag.items.ids() == before, "nothing is half written"


LIKELY = (
    None,
    7,
    True,
    "text",
    "",
    b"x",
    [1],
    ["a"],
    (),
    {},
    {"a": 1},
    float("nan"),
    float("inf"),
    10**5000,
    Path("x"),
)


@pytest.mark.parametrize("call", ["search", "find_moments", "recommend", "tag", "classify", "ask", "ask_image", "get"])
def test_likely_values_of_any_type_work_or_are_explained(rag, call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    method = getattr(rag, call)
    base = {"text": "red", "question": "what color?", "labels": ["red", "blue"], "like": ["red"], "ids": ["bus"]}
    given = {name: value for name, value in base.items() if name in inspect.signature(method).parameters}
    for name in set(parameters(method)) - {"llm"}:
        for value in (*LIKELY, np.int64(3), np.float32(0.5), np.zeros(3), (each for each in range(2)), {"a"}, "\ud800"):
            try:
                method(**{**given, name: value})
            except FlorenceError as error:
                assert "\n" not in str(error)
            except TypeError as error:
                assert "missing" in str(error), (name, value)


@pytest.mark.parametrize("make", [lambda: (each for each in (1, 2)), lambda: [1], lambda: "abc", lambda: {"a": 1}])
@pytest.mark.parametrize("method", ["upsert_texts", "upsert_images", "upsert_chunks"])
def test_items_of_another_type_are_named_and_not_stored(rag, method, make):
    before = rag.items.ids()
    with pytest.raises(InputError):
        getattr(rag.items, method)(make())
    assert rag.items.ids() == before


def test_a_call_of_a_tool_answers_any_value(rag):
    for tool in tools_for(rag):
        assert isinstance(tool, Tool)
        for name in inspect.signature(tool.run).parameters:
            for value in (*LIKELY, Wrong(), "\ud800", {"a": {"b": {"c": {}}}}):
                assert "Traceback" not in tool(**{name: value}).text
