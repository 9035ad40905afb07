def test_more_of_what_is_liked(run, photos):
    run("index", photos)
    outcome = run("recommend", photos / "red.png", "--kind", "image", "-k", 5)
    assert outcome.code == 0 and "red.png, " not in outcome.out and "blue.png" in outcome.out
    record = run("recommend", "red", "--dislike", "green", "--seen", photos / "blue.png", "--kind", "image", "--json")
    assert [hit["source"].rpartition("/")[2] for hit in record.json["hits"]] == ["red.png", "green.png"]


def test_a_contact_sheet_is_drawn(run, photos, tmp_path):
    run("index", photos)
    assert run("recommend", "red", "--kind", "image", "--contact-sheet", tmp_path / "sheet.png").code == 0
    assert (tmp_path / "sheet.png").stat().st_size > 1000


def test_a_mistake_is_one_line(run, photos):
    run("index", photos)
    for arguments, message in ((("gone.jpg",), "gone.jpg"), (("red", "--diversity", 2), "between 0")):
        outcome = run("recommend", *arguments)
        assert outcome.code == 1 and message in outcome.err and outcome.err.count("\n") == 1
