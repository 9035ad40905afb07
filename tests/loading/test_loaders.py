import inspect
import typing

import pytest

from florence_rag.errors import ModelError
from florence_rag.loading import loaders
from florence_rag.loading.model_loader import ModelRole, load_model
from florence_rag.loading.model_options import ModelOptions
from florence_rag.models.registry import CARDS, Family

ROLES = {name: role for name, role in vars(loaders).items() if isinstance(role, ModelRole)}


@pytest.mark.parametrize("name", sorted(ROLES))
def test_every_loader_has_the_same_signature_and_a_known_family(name):
    for family, load in ROLES[name].loaders.items():
        assert family in typing.get_args(Family)
        assert list(inspect.signature(load).parameters) == ["card", "loader"]


def test_every_model_of_the_registry_can_be_loaded_in_its_roles():
    by_role = {role.names[0]: role for role in reversed(ROLES.values())}
    for card in CARDS.values():
        for role in card.roles:
            assert any(card.family in each.loaders for each in ROLES.values() if role in each.names), (card.name, role)
    assert by_role.keys() >= {role for card in CARDS.values() for role in card.roles}


def test_azure_needs_an_endpoint():
    with pytest.raises(ModelError, match="set AZURE_VISION_ENDPOINT and AZURE_VISION_KEY"):
        load_model(loaders.EMBEDDER, "azure-florence-2023-04-15", ModelOptions())


def test_a_captioner_with_a_size_of_its_own_refuses_another():
    with pytest.raises(ModelError, match="caption_px is for Florence-2, and 'florence-tiny' has a size of its own"):
        load_model(loaders.CAPTIONER, "florence-tiny", ModelOptions(caption_px=384))
