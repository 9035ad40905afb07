"""Loads one component for a role and a model's name, and shares weights between components."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from florence_rag.context import LazyValue
from florence_rag.errors import FlorenceError, MissingModelError, ModelError, first_line
from florence_rag.loading.known_models import remember
from florence_rag.loading.model_options import ModelOptions
from florence_rag.models.registry import CARDS, Family, ModelCard, Role, find_model
from florence_rag.telemetry import get_logger, timed

T = TypeVar("T")
Load = Callable[[ModelCard, "ModelLoader"], T]
"""Loads a component for the card of a model."""

log = get_logger(__name__)


@dataclass(frozen=True)
class ModelRole(Generic[T]):
    """What a component does: its role in the registry, further roles that serve, and a loader for each family.

    `otherwise` ends the message if the files of a model are missing: how to do without. `smoke_test` uses a component
    once, which is done with those of folders and repositories that the registry does not list.

    Assign to `loaders` to register a family of your own, or a stand-in for a test.
    """

    names: tuple[Role, ...]
    loaders: dict[Family, Load[T]]
    otherwise: str = "or name another model"
    smoke_test: Callable[[T], object] = lambda component: None

    def card(self, model: str) -> ModelCard:
        """Find the card of a model, or raise a ModelError, without loading or downloading anything."""
        known = CARDS[model].roles if model in CARDS else ()
        card = find_model(model, next((name for name in self.names if name in known), self.names[0]))
        if card.family not in self.loaders:
            raise ModelError(
                f"{model!r}: models of the family {card.family!r} lack the role {self.names[0]!r}; "
                f"families with it: {', '.join(self.loaders)}"
            )
        return card


class ModelLoader:
    """Loads components. Components that are loaded lazily from the same weights share them.

    The first download announces the `upcoming` models, which are needed later, or reports them missing, too.
    """

    def __init__(self, options: ModelOptions | None = None, *, upcoming: Sequence[ModelCard] = ()) -> None:
        self.options = options or ModelOptions.from_environment()
        self._upcoming = upcoming
        self._shared: dict[tuple[object, str], LazyValue[Any]] = {}
        self._fetched: dict[ModelCard, ModelCard] = {}

    def load(self, role: ModelRole[T], card: ModelCard) -> T:
        """Load a new component now; missing files are a MissingModelError."""
        with _alternative(role):
            return _tried(role, card, self._load(role.loaders[card.family], card))

    def require(self, role: ModelRole[T], card: ModelCard) -> None:
        """Fetch the files of a component without loading it; missing files are a MissingModelError."""
        with _alternative(role):
            self.fetch(card)

    def _load(self, load: Load[T], card: ModelCard) -> T:
        with (
            _one_line(card, FlorenceError),
            timed(log, "model.load", logging.INFO, model=card.name, family=card.family),
        ):
            loaded = load(card, self)
        if card.name not in CARDS:
            remember(card)
        return loaded

    def lazy(self, role: ModelRole[T], *cards: ModelCard | None) -> LazyValue[T] | None:
        """Prepare the component of the first card whose family can fill the role; None if there is no such card."""
        for card in cards:
            if card is not None and (load := role.loaders.get(card.family)):
                return LazyValue(partial(self._get, role, card, load), card.name)
        return None

    def _get(self, role: ModelRole[T], card: ModelCard, load: Load[T]) -> T:
        with _alternative(role):
            return _tried(role, card, self.shared(load, card).get())

    def shared(self, load: Load[T], card: ModelCard) -> LazyValue[T]:
        """Return what a function loads for a card; every call with the same arguments returns the same value."""
        lazy: LazyValue[T] = LazyValue(lambda: self._load(load, card), card.name)
        return self._shared.setdefault((load, card.source), lazy)

    def fetch(self, card: ModelCard) -> ModelCard:
        """Return the card with its files on this machine, after downloading or converting them once if necessary."""
        if card not in self._fetched:
            self._fetched[card] = self._fetch(card)
        return self._fetched[card]

    def _fetch(self, card: ModelCard) -> ModelCard:
        if not card.download_kind and not Path(card.source).is_file():
            return card
        from florence_rag.models.downloads import Fetcher

        upcoming, self._upcoming = self._upcoming, ()
        fetcher = Fetcher(offline=self.options.offline, announce=self.options.announce, later=upcoming)
        if card.download_kind == "repository":
            return replace(card, source=str(fetcher.repository(card.source, about=str(card))))
        from florence_rag.models.convert import converted_folder

        return replace(card, source=str(converted_folder(card, fetcher)))


@contextmanager
def _alternative(role: ModelRole[Any]) -> Iterator[None]:
    """Say how to do without a model whose files are missing."""
    try:
        yield
    except MissingModelError as error:
        raise MissingModelError(f"{error}; {role.otherwise}") from error


def _tried(role: ModelRole[T], card: ModelCard, component: T) -> T:
    """Return a component after using it once, if its files are of unknown origin."""
    if card.name not in CARDS and card.family not in ("azure", "openai"):
        with _one_line(card, ModelError):
            role.smoke_test(component)
    return component


@contextmanager
def _one_line(card: ModelCard, passed: type[Exception]) -> Iterator[None]:
    """Turn errors that are not `passed` into a ModelError of one line."""
    try:
        yield
    except (passed, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the settings of a model decide what its parts raise when they are first called
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise ModelError(f"{card.name!r} does not work ({reason}); fetch it again, or name another model") from error


def load_model(role: ModelRole[T], model: str, options: ModelOptions | None = None) -> T:
    """Load one component by the name of its model.

    Args:
        role: What the component does, such as `EMBEDDER`.
        model: A name that `florence-rag models` lists, a folder, a checkpoint file, or a repository "owner/name".
        options: How to load. By default `ModelOptions.from_environment()`.

    Returns:
        The component.

    Raises:
        ModelError: If there is no such model, it cannot fill the role, or its files are missing or do not fit.
    """
    return ModelLoader(options).load(role, role.card(model))
