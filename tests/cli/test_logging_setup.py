import os

from florence_rag.cli.logging_setup import quiet_libraries


def test_variables_of_the_user_are_kept(monkeypatch):
    monkeypatch.setattr(os, "environ", {"GRPC_VERBOSITY": "DEBUG"})
    quiet_libraries()
    assert os.environ["GRPC_VERBOSITY"] == "DEBUG" and os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] == "1"
