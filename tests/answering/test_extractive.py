import pytest

from florence_rag.answering.extractive import best_quotes, inscriptions, quote_nearby, sentences

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


def quote(question, text):
    (best,) = best_quotes(question, sentences(text))
    return best.text, pytest.approx(best.confidence, abs=0.01)


def test_the_sentence_with_most_terms_is_quoted():
    best = "The night bus leaves from the market every hour!"
    assert quote("When does the night bus leave the market?", TEXT) == (best, 4 / 4.5)


def test_of_equally_good_sentences_the_shorter_is_quoted():
    assert quote("Is there a market?", TEXT)[0] == "The market opens at nine."


def test_without_a_common_term_nothing_is_sure():
    assert quote("zebra", TEXT)[1] == 0
    assert best_quotes("zebra", []) == []


HEADS = """The Transformer uses multi-head attention in three different ways: in layers of attention. In this work
we employ h = 8 parallel attention layers, or heads. Reducing the number of heads hurts."""


@pytest.mark.parametrize(
    ("question", "text", "answer"),
    [
        ("How many heads does the transformer use?", HEADS, "In this work we employ h = 8 parallel"),
        ("How many attention heads does it use?", HEADS, "In this work we employ h = 8 parallel"),
        ("how many people work there", "People work there. It employs nineteen people.", "It employs nineteen people."),
        (
            "How many students attend Harvard University?",
            "In 2019 students attend more lectures. Harvard University has 23000 students.",
            "Harvard University has 23000 students.",
        ),
        ("Wie viele Räume hat sie?", "Seit 1990 hat sie Räume. Sie hat 12 große Räume.", "Sie hat 12"),
        ("Wie viele Räume hat die Schule?", "Die Schule hat Räume. Es gibt 12 Räume.", "Es gibt 12 Räume."),
        ("Combien de ponts a la ville ?", "La ville a des ponts. On voit 7 ponts.", "On voit 7 ponts."),
        ("How many books are there?", "Books are old. Number of books: 27,000.", "Number of books: 27,000."),
    ],
)
def test_a_question_for_a_number_is_answered_by_a_sentence_that_counts(question, text, answer):
    (best,) = best_quotes(question, sentences(text))
    assert best.text.startswith(answer) and best.counts and best.confidence >= 0.6


def test_words_that_only_overlap_do_not_answer_a_question_for_a_number():
    for text in ("The Transformer uses multi-head attention in three different ways.", "3.2.2 Multi-Head Attention"):
        (best,) = best_quotes("How many heads does the transformer use?", [text])
        assert best.confidence < 0.5 and not best.counts


def test_a_quote_nearby_is_of_the_same_paragraph():
    passage = "The tower\n\nIt was built by Ada.\nIt is 34 metres high.\n\nThe hill is high."
    found = quote_nearby(["high"], passage, "It was built by Ada.")
    assert found.text == "It is 34 metres high."
    assert quote_nearby(["wide"], passage, "It was built by Ada.") is None
    assert quote_nearby(["high"], passage, "no such sentence") is None


def test_a_sentence_that_begins_within_a_line_is_whole():
    text = (
        "Sentence pairs were batched together by approximate length. Each training\n"
        "batch contained a set of sentence pairs with approximately 25000 tokens.\n"
    )
    assert sentences(text)[-1].startswith("Each training batch contained")


def test_long_paragraphs_are_joined_across_all_their_lines():
    lines = [f"The lighthouse of harbor {i} was built in 19{i:02}. It stands on the rocks of" for i in range(10, 40)]
    assert all(each.startswith(("The lighthouse", "It stands")) for each in sentences("\n".join(lines)))


@pytest.mark.parametrize(
    ("question", "wrong", "right"),
    [
        (
            "How many GPUs were used to train the model?",
            "The cost to train a model is the number of GPUs used, times the capacity of each GPU 5.",
            "We trained our models on one machine with 8 NVIDIA P100 GPUs.",
        ),
        (
            "How many layers are there?",
            "Attention of the encoder in layer 5.",
            "The encoder is a stack of N = 6 layers.",
        ),
        (
            "What BLEU score does the big model achieve?",
            "Table 2: The big model achieves a better BLEU score than others [38].",
            "Our big model achieves 28.4 BLEU.",
        ),
        ("What is the dimension of the model?", "The model has vectors of dimension d.", "Its dimension is d = 512."),
        (
            "What is the size of the 2014 data set?",
            "The size of the 2014 data set varies.",
            "The size of the data set is 36M sentences.",
        ),
        ("When does the night bus leave?", "The night bus leaves from the market.", "The bus leaves at nine."),
        (
            "When was the old tower of Marlo built?",
            "The old tower of Marlo was built by Ida Storm.",
            "The tower of Marlo was built in 1985.",
        ),
        (
            "Why is the dot product scaled?",
            "The mask is applied inside of the scaled dot product.",
            "To counteract this effect, the dot product is scaled.",
        ),
        ("Who leads the brigade?", "The brigade leads the parade.", "The brigade is led by Captain Ines Okafor."),
        ("Who built the tower of Marlo?", "The tower of Marlo was built of stone.", "Ada built the tower."),
        ("How old is the bridge?", "The old bridge is old.", "The bridge is 90 years old."),
        ("Who built the tower?", "We built the tower of Marlo.", "Ada was the one who built that old tower of Marlo."),
        ("Who built the tower?", "The tower was built of iron in Paris.", "It was built by Gustave Eiffel as a tower."),
        (
            "Who built the tower?",
            "It is a tower built by hand in Paris.",
            "He, Gustave Eiffel, built the tower.",
        ),
        ("Who edited the genes?", "They edited the genes of Nana and Lulu.", "He Jiankui edited the genes."),
    ],
)
def test_a_sentence_of_another_kind_than_the_question_is_not_sure(question, wrong, right):
    assert best_quotes(question, [wrong])[0].confidence < 0.5
    assert best_quotes(question, [wrong, right])[0].text == right


@pytest.mark.parametrize(
    ("question", "wrong", "right"),
    [
        (
            "What score does the model achieve on English to German?",
            "On English-to-French, the model achieves a score of 41.0.",
            "On English-to-German, the big model outperforms the others by more than 2.0, with the score of 28.4.",
        ),
        (
            "Who proposed the attention?",
            "Jakob proposed replacing networks with self-attention.",
            "Noam proposed attention with several heads, and the representation of positions.",
        ),
    ],
)
def test_a_name_or_a_whole_word_decides_between_sentences_with_as_many_terms(question, wrong, right):
    for texts in ([wrong, right], [right, wrong]):
        first, second = best_quotes(question, texts, 2)
        assert (first.text, first.confidence) == (right, second.confidence)


@pytest.mark.timeout(10)
def test_a_text_without_spaces_takes_no_longer_than_another():
    for text in ("a" * 300_000 + "--", "a-" * 150_000):
        assert best_quotes("Who proposed the attention?", [text])[0].confidence == 0


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What is an attention function?", "An attention function maps a query to an output."),
        ("Who built the tower?", "The tower was built by Ida Storm."),
        ("who painted it", "It was painted by Rembrandt."),
        ("Who designed the tower?", "It has been designed in 1887 by the engineer Gustave Eiffel as a tower."),
        ("When does the market open?", "The market opens every morning."),
        ("Why is the bridge closed?", "The bridge is closed because of works."),
        ("How long is the bridge?", "The bridge is one hundred meters long."),
    ],
)
def test_an_answer_of_the_kind_that_is_asked_for_keeps_its_confidence(question, answer):
    assert best_quotes(question, [answer])[0].confidence > 0.5
