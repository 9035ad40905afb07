from florence_rag.finetuning import run


def test_an_incomplete_checkpoint_is_skipped(tmp_path):
    assert run.last_checkpoint(tmp_path) is None
    for step, state in ((2, "{}"), (8, '{"a": 1}'), (10, '{"a": 1}'), (12, '{"a"'), (14, None)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if state is not None:
            (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(state)
    assert run.last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-10")
