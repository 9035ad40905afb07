from florence_rag.loading.model_options import ModelOptions


def test_keys_come_from_the_environment_and_are_never_shown(monkeypatch):
    monkeypatch.setenv("AZURE_VISION_ENDPOINT", "https://here")
    monkeypatch.setenv("AZURE_VISION_KEY", "a secret")
    monkeypatch.setenv("OPENAI_API_KEY", "another secret")
    options = ModelOptions.from_environment(offline=True)
    assert (options.azure_endpoint, options.azure_key, options.offline) == ("https://here", "a secret", True)
    assert "secret" not in repr(options)
