import importlib
import sys

import pytest

from florence_rag.errors import MissingExtraError


@pytest.mark.parametrize(
    ("module", "lacking", "extra"),
    [("detect", "pycocotools.coco", "eval"), ("mteb_encoder", "mteb.models.model_meta", "mteb")],
)
def test_an_extra_that_is_missing_is_named(monkeypatch, module, lacking, extra):
    monkeypatch.delitem(sys.modules, f"florence_rag.evaluation.{module}", raising=False)
    monkeypatch.setitem(sys.modules, lacking, None)
    with pytest.raises(MissingExtraError, match=rf"florence-rag\[{extra}\]"):
        importlib.import_module(f"florence_rag.evaluation.{module}")
