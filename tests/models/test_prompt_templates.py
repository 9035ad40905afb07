"""The prompts of CLIP and UniCL, and the check of a user's prompts."""

import pytest

from florence_rag.errors import InputError
from florence_rag.models.prompt_templates import CLIP_PROMPTS, UNICL_PROMPTS, check_prompts, sentences_for


def test_unicl_adds_the_bare_label_to_the_80_prompts_of_clip():
    assert len(set(CLIP_PROMPTS)) == 80
    assert check_prompts(["{}.", *CLIP_PROMPTS]) == UNICL_PROMPTS


def test_a_label_takes_the_place_of_the_braces():
    assert sentences_for("dog", ("{}.", "a photo of the {}.")) == ["dog.", "a photo of the dog."]
    assert "a bad photo of a dog." in sentences_for("dog")


@pytest.mark.parametrize("prompts", ["a photo of a {}.", [], ()])
def test_prompts_are_a_list_of_templates(prompts):
    with pytest.raises(InputError, match="prompts must be a list of templates"):
        check_prompts(prompts)


@pytest.mark.parametrize("prompt", ["a photo", "{} and {}", "", 3, "a {x} {}", "{{}}", "a } {}"])
def test_each_prompt_has_one_place_for_the_label(prompt):
    with pytest.raises(InputError, match=r"the prompt .* needs \{\} once"):
        check_prompts(["a photo of a {}.", prompt])
