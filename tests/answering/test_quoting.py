from florence_rag.answering.quoting import best_quote, sentences

TEXT = "The market opens at nine. The night bus leaves from the market every hour! Dogs are welcome."


def test_sentences_end_at_punctuation_and_blank_lines_but_not_where_a_line_wraps():
    assert sentences("One line\nwraps. Another?\n\nA heading\n\nEnd") == [
        "One line wraps.",
        "Another?",
        "A heading",
        "End",
    ]


def test_japanese_sentences_need_no_space_between_them():
    assert sentences("車は赤い。犬は黒い。") == ["車は赤い。", "犬は黒い。"]


def test_a_long_list_without_punctuation_is_cut_at_its_lines():
    lines = [f"entry number {i} of the list" for i in range(40)]
    assert sentences("\n".join(lines)) == lines


def test_the_sentence_with_most_of_the_words_is_quoted():
    quote = best_quote(("night", "bus", "leave", "market"), TEXT)
    assert quote.text == "The night bus leaves from the market every hour!"
    assert quote.found == ("night", "bus", "leave", "market")


def test_of_equally_good_sentences_the_shorter_is_quoted():
    assert best_quote(("market",), TEXT).text == "The market opens at nine."


def test_without_a_shared_word_nothing_is_quoted():
    assert best_quote(("zebra",), TEXT) is None
    assert best_quote(("zebra",), "") is None
