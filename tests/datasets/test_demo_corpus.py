from florence_rag.datasets.demo_corpus import copy_demo_corpus, demo_examples


def test_the_corpus_is_copied_and_copied_again(tmp_path):
    copy_demo_corpus(tmp_path / "corpus")
    files = sorted(path for path in (tmp_path / "corpus").rglob("*") if path.is_file())
    assert len(files) == 31
    content = files[0].read_bytes()
    files[0].write_bytes(b"changed")
    copy_demo_corpus(tmp_path / "corpus")
    assert files[0].read_bytes() == content


def test_the_files_of_the_examples_exist(tmp_path):
    copy_demo_corpus(tmp_path)
    for example in demo_examples():
        assert (tmp_path / example.file).is_file()
        assert example.image is None or example.image.is_file()
        assert example.text or example.image
        assert bool(example.answer) == (example.task != "search")
