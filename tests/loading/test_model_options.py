import pytest

from florence_rag.errors import InputError
from florence_rag.loading.model_options import ModelOptions


def test_keys_come_from_the_environment_and_are_never_shown(monkeypatch):
    monkeypatch.setenv("AZURE_VISION_ENDPOINT", "https://here")
    monkeypatch.setenv("AZURE_VISION_KEY", "a secret")
    monkeypatch.setenv("OPENAI_API_KEY", "another secret")
    options = ModelOptions.from_environment(offline=True)
    assert (options.azure_endpoint, options.azure_key, options.offline) == ("https://here", "a secret", True)
    assert "secret" not in repr(options)


@pytest.mark.parametrize("side_px", [0, -32, 385, 800, 384.0, "384"])
def test_a_wrong_size_of_captioned_images_is_refused(side_px):
    with pytest.raises(InputError, match=r"^caption_px (is|must be) .+$"):
        ModelOptions(caption_px=side_px)
