"""Replaces every model of a role by a stand-in."""

from collections.abc import Callable
from typing import Any

import pytest

from florence_rag.loading.model_loader import ModelRole


def stand_in(monkeypatch: pytest.MonkeyPatch, role: ModelRole[Any], load: Callable[..., Any]) -> None:
    """Let `load(card, loader)` load the models of a role, of every family."""
    for family in role.loaders:
        monkeypatch.setitem(role.loaders, family, load)
