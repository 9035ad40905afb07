import pytest

from florence_rag.chat.follow_ups import (
    read_message,
    read_message_with_image,
    read_restriction,
    subject_of,
    with_subject,
)
from florence_rag.chat.turn import Turn
from florence_rag.types import Answer, Citation, Hit, Locator

HITS = tuple(Hit(name, "image", f"/{name}.jpg", Locator(), 1.0) for name in "abc")
PASSAGE = Hit("t", "text", "/town/chronicle.txt", Locator(), 1.0, text="The tower was built by Ada in 1853.")


def turn(query, *hits, answer="blue [1]", **fields):
    citations = tuple(Citation.of(hit) for hit in hits[:1])
    return Turn(query, query, Answer(answer, 0.9, citations), hits, **fields)


CAR = turn("What color is the car next to the fire hydrant?", *HITS)
TOWER = turn("Who built the clock tower?", PASSAGE, answer="Ada built it. [1]")
LISTED = turn("a purple dog beside a tree", *HITS, answer="The best matches: [1] a.jpg")


@pytest.mark.parametrize(
    "message", ["Who built the mill?", "a red bus", "red", "What is it?", "the second one", "more"]
)
def test_the_first_message_stands_for_itself(message):
    request = read_message(message, [])
    assert (request.action, request.text, request.hit) == ("search", message, None)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("and what is next to it?", "what is next to the car?"),
        ("How many cars are there?", "How many cars are there?"),
        ("what color is the tree in it?", "what color is the tree?"),
        ("And the dog?", "What color is the dog?"),
        ("what color is the car?", "what color is the car?"),
        ("is there a dog?", "is there a dog?"),
        ("was ist daneben?", "was ist daneben?"),
        ("qu'est-ce qu'on voit sur la photo ?", "qu'est-ce qu'on voit sur la photo ?"),
        ("¿qué hay en la foto?", "qué hay en la foto?"),
    ],
)
def test_a_question_about_the_last_image(message, text):
    request = read_message(message, [CAR])
    assert (request.action, request.hit, request.text.casefold()) == ("about", HITS[0], text.casefold())


@pytest.mark.parametrize(
    "message",
    [
        "Who built the clock tower?",
        "What color is the bus next to the white sign?",
        "Where is the last ride from the harbour?",
        "When is the second Saturday of July?",
        "a red bus",
        "What was the first steam pump?",
        "How many people does the town have and when was it founded?",
        "wer hat den Turm gebaut?",
    ],
)
def test_a_message_that_stands_for_itself(message):
    request = read_message(message, [CAR])
    assert (request.action, request.text) == ("search", message)


@pytest.mark.parametrize(
    ("message", "position"),
    [
        ("the second one", 2),
        ("show me the third picture", 3),
        ("number 3", 3),
        ("2", 2),
        ("the last one", -1),
        ("[2]", 2),
        ("das zweite Bild", 2),
        ("zeig mir das dritte", 3),
        ("la deuxième", 2),
        ("montre-moi la dernière image", -1),
        ("la segunda foto", 2),
        ("muéstrame la primera", 1),
    ],
)
def test_positions(message, position):
    request = read_message(message, [LISTED])
    assert (request.action, request.position) == ("open", position)


def test_a_question_about_a_position():
    assert read_message("what color is the dog in the second one?", [LISTED]).text == "what color is the dog?"
    asked = read_message("what about the second one?", [CAR])
    assert (asked.action, asked.position, asked.text) == ("about", 2, CAR.query)


@pytest.mark.parametrize(
    ("message", "kinds"),
    [
        ("only videos", ("clip",)),
        ("just the photos please", ("image",)),
        ("show me only documents", ("page", "text")),
        ("videos only", ("clip",)),
        ("nur Videos", ("clip",)),
        ("nur in Dokumenten", ("page", "text")),
        ("seulement les vidéos", ("clip",)),
        ("uniquement des images", ("image",)),
        ("solo vídeos", ("clip",)),
        ("solamente las fotos", ("image",)),
    ],
)
def test_restrictions_repeat_the_last_search(message, kinds):
    request = read_message(message, [LISTED])
    assert (request.action, request.kinds, request.text) == ("again", kinds, LISTED.query)


def test_a_restriction_with_a_subject_is_a_new_search():
    assert read_restriction("only videos of dogs") == (("clip",), "of dogs")
    assert read_restriction("videos of dogs") == ((), "videos of dogs")
    assert read_message("only in chronicle.txt", [TOWER]).source == PASSAGE.source


@pytest.mark.parametrize(
    "message",
    ["more", "show me more", "more please", "any more?", "noch mehr", "weitere Bilder", "encore", "más", "otros"],
)
def test_more(message):
    request = read_message(message, [LISTED])
    assert (request.action, request.text) == ("more", LISTED.query)


@pytest.mark.parametrize(
    "message",
    ["similar ones", "find similar images", "more like this", "ähnliche Bilder", "des images similaires", "parecidas"],
)
def test_similar(message):
    request = read_message(message, [LISTED])
    assert (request.action, request.hit) == ("similar", HITS[0])


@pytest.mark.parametrize(
    "message",
    [
        "back to the first",
        "go back to the first one",
        "zurück zum ersten",
        "retour à la première",
        "volvamos a la primera",
    ],
)
def test_going_back(message):
    selected = turn(LISTED.query, HITS[1], is_selection=True)
    assert read_message(message, [LISTED, selected]).position == 1
    assert read_message(message, [TOWER, CAR]).hit == PASSAGE


@pytest.mark.parametrize(
    "message", [f"only {'a the of in ' * 30}dog", f"more {'a the of in ' * 30}dog", f"only {'a.' * 190}"]
)
def test_words_that_several_languages_share_take_no_time(message):
    assert read_message(message, [LISTED]).action == "search"


def test_going_back_by_name():
    request = read_message("back to the clock tower: how high is it?", [TOWER, CAR])
    assert (request.action, request.hit, request.text) == ("about", PASSAGE, "how high is the clock tower?")


def test_other_subjects():
    assert read_message("and the Old Mill Bridge?", [TOWER]).text == "Who built the Old Mill Bridge?"
    assert read_message("what about the red one?", [LISTED]).text == "a red dog beside a tree"
    request = read_message("what about the dog beside the tree?", [CAR])
    assert (request.action, request.text) == ("search", "What color is the dog beside the tree?")


def test_a_pronoun_after_a_place_means_the_answer():
    assert subject_of(turn("What is next to the car?", *HITS, answer="fire hydrant [1]")) == "the fire hydrant"
    assert subject_of(TOWER) == "the clock tower"
    assert with_subject("what is this picture of?", "the car") == "what is this picture of?"


def test_messages_with_an_image():
    assert read_message_with_image("What color is the car?", []).action == "about"
    again = read_message_with_image("what about this picture?", [CAR])
    assert (again.action, again.text) == ("about", CAR.query)
    assert read_message_with_image("", []).action == "similar"
    assert read_message_with_image("find similar ones", [CAR]).text == ""
    assert read_message_with_image("a red car", []).text == "red car"


@pytest.mark.parametrize(
    "message", ["it " * 5000, "the second " * 3000, "only " * 5000, "((((" * 2000, "\u202e\x00", "🚌?"]
)
def test_long_and_strange_messages_are_read_at_once(message):
    for history in ([], [CAR], [TOWER, LISTED]):
        read_message(message, history)
        read_message_with_image(message, history)
