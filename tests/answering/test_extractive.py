from florence_rag.answering.extractive import best_quote, inscriptions, sentences

TEXT = "The market opens at nine. The night bus leaves from the market every hour! Dogs are welcome."


def test_sentences_end_at_punctuation_and_blank_lines():
    assert sentences("One. Two?\n\nA heading\n\nEnd") == ["One.", "Two?", "A heading", "End"]


def test_a_full_line_is_joined_to_the_next_and_a_short_one_is_not():
    text = "Notice of works\nThe old mill bridge is closed from the third to the\nninth of September. Use the ferry."
    assert sentences(text) == [
        "Notice of works",
        "The old mill bridge is closed from the third to the ninth of September.",
        "Use the ferry.",
    ]


def test_a_footnote_narrower_than_its_page_is_joined_too():
    text = "A line that is as wide as the whole page and ends here.\nNoam proposed\nthe attention.\n"
    assert sentences(text)[-1] == "Noam proposed the attention."


def test_a_long_table_is_split_at_its_lines():
    assert max(map(len, sentences("\n".join(f"row {i:03} of a long table" for i in range(99))))) < 420


def test_japanese_sentences_need_no_space_between_them():
    assert sentences("車は赤い。犬は黒い。") == ["車は赤い。", "犬は黒い。"]


def test_no_text_has_no_sentences():
    assert sentences("") == sentences(" \n") == []


def test_the_lines_of_a_sign_are_one_quotation():
    assert inscriptions("STREET MARKET\nSATURDAY 9 AM") == ["STREET MARKET SATURDAY 9 AM"]


def test_a_long_list_is_split_at_its_lines():
    lines = [f"entry number {i} of the list" for i in range(40)]
    assert inscriptions("\n".join(lines)) == lines


def test_the_sentence_with_most_terms_is_quoted():
    quote = best_quote(("night", "bus", "leave", "market"), sentences(TEXT))
    assert quote.text == "The night bus leaves from the market every hour!"
    assert quote.found == ("night", "bus", "leave", "market")


def test_of_equally_good_sentences_the_shorter_is_quoted():
    assert best_quote(("market",), sentences(TEXT)).text == "The market opens at nine."


def test_without_a_common_term_nothing_is_quoted():
    assert best_quote(("zebra",), sentences(TEXT)) is None
    assert best_quote(("zebra",), []) is None
