from dataclasses import replace

import pytest

from florence_rag.errors import ModelError
from florence_rag.models import chat_templates
from florence_rag.models.model_folder import check_files
from tests.models.tiny_sentence_transformers import PAIR_TEMPLATE
from tests.perception.tiny import CHAT

LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
MEMORY = "{{ 'a' * 10**10 }}"


def test_usual_templates_pass_and_so_do_those_that_refuse_by_an_error():
    refusing = ["{{ raise_exception('no') }}", "{% for", "{{ cycler.__init__.__globals__ }}", "{" * 100_000]
    chat_templates.check_templates([CHAT, PAIR_TEMPLATE, *refusing])


@pytest.mark.parametrize("template", [LOOP, MEMORY, "{{ '%9999999999d'|format(1) }}"])
def test_a_template_that_does_not_end_or_fills_memory_is_stopped(template, monkeypatch):
    chat_templates.check_templates([CHAT])  # the worker is warm
    limits = replace(chat_templates._trial.limits, seconds=2.0)
    monkeypatch.setattr(chat_templates, "_trial", replace(chat_templates._trial, limits=limits))
    with pytest.raises(ModelError, match="its chat template does not end, or needs more than a gigabyte"):
        chat_templates.check_templates([CHAT, template])


def test_a_template_that_writes_too_much_is_refused():
    with pytest.raises(ModelError, match="its chat template makes 200000 characters of two words"):
        chat_templates.check_templates(["{{ 'a' * 200000 }}"])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("chat_template.jinja", "bad"),
        ("additional_chat_templates/tool.jinja", "bad"),
        ("tokenizer_config.json", '{"chat_template": "bad"}'),
        ("processor_config.json", '{"chat_template": [{"name": "default", "template": "bad"}]}'),
        ("sentence_bert_config.json", '{"processing_kwargs": {"chat_template": {"chat_template": "bad"}}}'),
    ],
)
def test_the_templates_of_all_files_are_tried(name, content, tmp_path, monkeypatch):
    tried = []
    monkeypatch.setattr("florence_rag.models.model_folder.check_templates", tried.extend)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(content)
    check_files(tmp_path)
    assert "bad" in tried
