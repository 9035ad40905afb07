import io
import json
import sys

import pytest
from PIL import Image
from typer.testing import CliRunner

from florence_rag.cli import terminal_images
from florence_rag.cli.app import app
from florence_rag.cli.chat import ChatTerminal
from florence_rag.cli.terminal_images import image_protocol, print_image
from florence_rag.errors import ModelError
from florence_rag.testing import color_frame
from tests.cli.test_json import check_object


@pytest.fixture
def talk(rag, opened_with, photos):
    rag.add(photos)

    def talk(*lines, options=()):
        result = CliRunner().invoke(app, ["chat", "--db", "x.db", *options], input="\n".join(lines))
        assert result.exit_code == 0, result.stderr
        return result.stdout, result.stderr

    return talk


def test_messages_are_answered_with_numbered_files(talk):
    out, err = talk("hello", "red", "show me the second one")
    assert "Hello. Ask about" in out
    assert "[1] red.png" in out
    assert "  1  " in out
    assert err == ""


def test_json_prints_a_turn_per_line(talk):
    out, _ = talk("red", "only videos", options=["--json"])
    turns = [json.loads(line) for line in out.splitlines()]
    assert [turn["question"] for turn in turns] == ["red", "only videos"]
    assert turns[1]["kinds"] == ["clip"]
    for turn in turns:
        check_object(turn, "chat")


def test_an_image_is_asked_about(talk, tmp_path):
    Image.fromarray(color_frame("blue")).save(tmp_path / "a wall.png")
    out, err = talk(
        f'/image "{tmp_path}/a wall.png" What color is the wall?', f"/image '{tmp_path}/a wall.png'", "similar"
    )
    assert out.startswith("blue")
    assert "[1] blue.png" in out
    assert "The next message is about this image." in err


def test_commands(talk, tmp_path):
    file = tmp_path / "chat.json"
    _, err = talk("red", f"/save {file}", "/quit", "never read")
    assert "Saved 1 turns." in err
    out, err = talk(f"/load {file}", "/open 1", "/help", '/filter {"kind": "text"}', "red", "/filter")
    assert "Loaded 1 turns." in err
    assert "red.png" in out
    assert "/image FILE" in err
    assert "Nothing relevant was found: the only hit" in out  # the filter leaves out the images


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("/nonsense", "there is no command '/nonsense'"),
        ("/open x", "/open needs the number of a result"),
        ("/open 3", "there is no result 3: there are no results yet"),
        ("/image", "/image needs a file"),
        ("/image missing.png", "missing.png"),
        ('/image "open', "/image needs a file"),
        ("/filter {bad", "the filter is wrong"),
        ("/save", "/save needs the name of a file"),
        ("/save /no/such/folder/x", "cannot be saved"),
        ("/load /no/such/file", "cannot be read"),
    ],
)
def test_a_wrong_command_is_one_line_and_the_conversation_goes_on(talk, line, reason):
    out, err = talk(line, "red")
    assert reason in err
    assert len(err.strip().splitlines()) == 1
    assert "[1] red.png" in out


def test_a_saved_conversation_is_continued(talk, tmp_path):
    talk("red", f"/save {tmp_path / 'chat.json'}")
    out, _ = talk("show me the second one", options=["--load", str(tmp_path / "chat.json")])
    assert out.startswith("[1] ")


class Broken:
    """A chat that writes control characters, is interrupted, and fails."""

    history = ()

    def stream(self, text, image):
        yield "a\x1b[31m\x07b"
        raise ModelError("no answer") if text == "fail" else KeyboardInterrupt


def test_an_interrupted_answer_does_not_end_the_conversation(capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("stop\nfail\n"))
    ChatTerminal(None, Broken()).run()
    out, err = capsys.readouterr()
    assert "\x1b[31m" not in out and "\x07" not in out
    assert err.splitlines()[-1] == "Error: no answer"
    assert "Interrupted." in err


def test_images_are_shown_only_by_terminals_that_can(capsys, monkeypatch):
    assert image_protocol({"TERM": "xterm-kitty"}) is None, "standard output is no terminal"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert image_protocol({"TERM": "xterm-256color"}) is None
    for environment, start in (
        ({"TERM": "xterm-kitty"}, "\x1b_Ga=T,f=100,"),
        ({"TERM_PROGRAM": "iTerm.app"}, "\x1b]1337;"),
    ):
        print_image(Image.fromarray(color_frame("red", size_px=900)), image_protocol(environment))
        assert capsys.readouterr().out.startswith(start)


@pytest.mark.parametrize("environment", [{"TERM": "foot"}, {"TERM": "xterm", "WT_SESSION": "1"}])
def test_images_are_shown_by_sixel_if_timg_is_installed(capsys, monkeypatch, environment):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    with monkeypatch.context() as patched:
        patched.setattr(terminal_images, "find_spec", lambda name: None)
        assert image_protocol(environment) is None
    pytest.importorskip("timg")
    image = Image.new("RGB", (4, 13), "red")
    print_image(image, image_protocol(environment))
    out = capsys.readouterr().out
    assert out.startswith("\x1bPq#0;2;") and out.endswith("\x1b\\\n")
    assert out.count("-") == 3, "two whole bands, and one of a single row"
