from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from florence_rag.chunking.subtitle_formats import Cue, parse_transcript

SRT = """1
00:00:01,000 --> 00:00:03,500
Good <i>morning</i>,
everyone.

2
00:00:03,500 --> 00:00:06,000 X1:100
{\\an8}A blue car &amp; a bus.

3
00:01:00,000 --> 00:01:00,000
At once.

4
01:00:00,250 --> 01:00:02,000

5
01:00:02,000 --> 01:00:04,000
Bye.
"""
VTT = """WEBVTT - title

STYLE
::cue { color: red }

NOTE a note
of two lines

intro
00:01.000 --> 00:03.500 align:start position:0%
Good <00:00:02.000><c>morning</c>,
everyone.

100:00:00.5 --> 100:00:01.25
<v Ann>Late.
"""
ASS = """[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Style: Default,Arial,20,not a color

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
Comment: 0,0:00:00.00,0:00:09.00,Default,,0,0,0,,A note of the translator.
Dialogue: 0,0:00:02.50,0:00:05.00,Default,,0,0,0,,{\\i1}Bring{\\i0} the\\Nyellow\\hkayak, please.
Dialogue: 0,0:00:00.50,0:00:02.00,Default,,0,0,0,,The ferry leaves at noon.
Dialogue: 0,0:00:06.00,0:00:07.00,Default,,0,0,0,,{\\p1}m 0 0 l 100 0 100 100
Dialogue: 0,soon,later,Default,,0,0,0,,Broken.
"""
TTML = """<?xml version="1.0" encoding="UTF-16"?>
<tt xmlns="%s" xmlns:ttp="%s#parameter" ttp:frameRate="25" ttp:tickRate="10000000"><body><div begin="10s">
<p begin="00:00:00.500" end="00:00:02.000">The <span>ferry</span>
 leaves<br/>at noon.</p><p begin="30000000t" dur="1500ms">Ticks &amp; tocks.</p>
<p begin="00:00:05:10" end="0:00:06:20">Frames.</p><p><span begin="7s" end="8s">A part.</span></p></div></body></tt>"""
SAMI = """<SAMI><HEAD><TITLE>x</TITLE></HEAD><BODY>
<SYNC Start=500><P Class=ENCC>The ferry<br>leaves.<SYNC Start=500><P Class=KRCC>배가 떠난다.
<SYNC Start=2000><P Class=ENCC>&nbsp;<SYNC Start=3000><P Class=ENCC>Bye.</BODY></SAMI>"""


def texts(subtitles: str, **options: float) -> list[tuple[float, float, str]]:
    return [(round(cue.start_s, 3), round(cue.end_s, 3), cue.text) for cue in parse_transcript(subtitles, **options)]


def test_subrip_is_read():
    assert parse_transcript(SRT) == (
        Cue(1.0, 3.5, "Good morning, everyone."),
        Cue(3.5, 6.0, "A blue car & a bus."),
        Cue(60.0, 60.01, "At once."),
        Cue(3602.0, 3604.0, "Bye."),
    )


def test_webvtt_is_read():
    assert parse_transcript(VTT) == (Cue(1.0, 3.5, "Good morning, everyone."), Cue(360000.5, 360001.25, "Late."))


def test_substation_alpha_is_read_without_comments_and_drawings():
    expected = [(0.5, 2.0, "The ferry leaves at noon."), (2.5, 5.0, "Bring the yellow kayak, please.")]
    assert texts(ASS) == expected
    assert texts(ASS.replace("Dialogue: 0,", "Dialogue: Marked=0,").replace("V4+ Styles", "V4 Styles")) == expected
    fields = "[script info]\n[events]\nFormat: Start, End, Text\ndialogue: 0:00:01.00,0:00:02.00,Yes{a note}, now.\n"
    assert texts(fields) == [(1.0, 2.0, "Yes, now.")]


@pytest.mark.parametrize("namespace", ["http://www.w3.org/ns/ttml", "http://www.w3.org/2006/10/ttaf1"])
def test_ttml_is_read_with_all_its_times(namespace):
    assert texts(TTML % (namespace, namespace)) == [
        (10.5, 12.0, "The ferry leaves at noon."),
        (13.0, 14.5, "Ticks & tocks."),
        (15.4, 16.8, "Frames."),
        (17.0, 18.0, "A part."),
    ]


def test_sami_is_read_in_all_languages():
    assert texts(SAMI) == [(0.5, 2.0, "The ferry leaves."), (0.5, 2.0, "배가 떠난다."), (3.0, 13.0, "Bye.")]


def test_microdvd_counts_the_frames_of_the_video_or_of_its_first_line():
    lines = "{25}{50}{y:i}The ferry|leaves.\n{75}{100}Bye.\n"
    assert texts(lines, frame_rate=25) == [(1.0, 2.0, "The ferry leaves."), (3.0, 4.0, "Bye.")]
    assert texts("{25}{}The ferry leaves.\n", frame_rate=25) == [(1.0, 1.01, "The ferry leaves.")]
    assert texts("{1}{1}50.000\n" + lines, frame_rate=25)[0] == (0.5, 1.0, "The ferry leaves.")


def test_mpl2_and_subviewer_are_read():
    assert texts("[10][20]/The ferry|leaves.\n[30][45]Bye.\n") == [(1.0, 2.0, "The ferry leaves."), (3.0, 4.5, "Bye.")]
    assert texts("0:00:01.000,0:00:02.000\nThe ferry\nleaves.\n\n0:00:03.000,0:00:04.500\nBye.\n") == [
        (1.0, 2.0, "The ferry leaves."),
        (3.0, 4.5, "Bye."),
    ]
    assert texts("[INFORMATION]\n[TITLE]x\n00:00:01.00,00:00:02.00\nThe ferry[br]leaves.\n") == [
        (1.0, 2.0, "The ferry leaves.")
    ]


@pytest.mark.parametrize(
    "times",
    [
        "00:00:01 --> 00:00:03",
        "00:00:01:000 --> 00:00:03:000",
        "00: 00: 01,000 --> 00: 00: 03,000",
        "00:00:01, 000 --> 00:00:03, 000",
        "00:00:01,000 -> 00:00:03,000",
        "00:00:01,000-->00:00:03,000",
        "00:00:01,000 \u2013> 00:00:03,000",
        "00:00:01,000 \u2192 00:00:03,000",
        "00:00:01.0000000 --> 00:00:03.000000",
        "0:0:1,0 --> 0:0:3,0",
        "00:01 --> 00:03",
        "\t00:01.000\t-->\t00:03.000\tline:90% align:start",
        "00:00:03,000 --> 00:00:01,000",
        "[00:01.000 --> 00:03.000]",
    ],
)
def test_times_are_read_as_they_are_written(times):
    assert texts(f"1\n{times}\nThe ferry.\n\n2\n00:00:05,000 --> 00:00:06,000\nBye.\n") == [
        (1.0, 3.0, "The ferry."),
        (5.0, 6.0, "Bye."),
    ]


def test_minutes_may_be_more_than_an_hour_and_negative_times_are_zero():
    assert texts("75:30.000 --> 75:31.500\nLate.\n") == [(4530.0, 4531.5, "Late.")]
    assert texts("-00:00:01,000 --> 00:00:03,000\nThe ferry.\n") == [(0.0, 3.0, "The ferry.")]


@pytest.mark.parametrize(
    ("block", "text"),
    [
        ("The ferry\n\nleaves now.\n\n", "The ferry leaves now."),
        ("The ferry.\n", "The ferry."),
        ("\u202bThe\u00a0ferry.\u202c\n", "The ferry."),
        ("3 < 5 and 7 > 2\n", "3 < 5 and 7 > 2"),
        ('<font color="#ffff00">The ferry</font> {y:i}ok\n', "The ferry ok"),
        ("It is\n42\n\n", "It is 42"),
        ("เรือ\u200bออก\n", "เรือ\u200bออก"),  # where a word ends in a script without spaces
        ("The ferry &amp; the &lt;bus&gt;\n", "The ferry & the <bus>"),
    ],
)
def test_the_whole_text_of_a_cue_is_kept_without_numbers_and_markup(block, text):
    subtitles = f"1\n00:00:01,000 --> 00:00:03,000\n{block}2\n00:00:04,000 --> 00:00:05,000\nBye.\n"
    assert texts(subtitles) == [(1.0, 3.0, text), (4.0, 5.0, "Bye.")]


def test_text_on_the_line_of_times_and_counts_in_files_without_numbers_are_kept():
    assert texts("00:01.000 --> 00:02.000  The ferry\n00:03.000 --> 00:04.000\n3\n00:05.000 --> 00:06.000\n2\n") == [
        (1.0, 2.0, "The ferry"),
        (3.0, 4.0, "3"),
        (5.0, 6.0, "2"),
    ]


def test_a_note_of_webvtt_is_no_cue():
    assert texts("WEBVTT\n\nNOTE\n00:01.000 --> 00:02.000 is no cue\n\nid\n00:03.000 --> 00:04.000\nNOTE this\n") == [
        (3.0, 4.0, "NOTE this")
    ]


ROLLING = """WEBVTT

00:00:00.000 --> 00:00:02.000 align:start position:0%
 
the<00:00:00.500><c> ferry</c>

00:00:02.000 --> 00:00:02.010 align:start position:0%
the ferry
 

00:00:02.010 --> 00:00:04.000 align:start position:0%
the ferry
leaves<00:00:03.000><c> at noon</c>

00:00:04.000 --> 00:00:04.010 align:start position:0%
leaves at noon
 

00:00:04.010 --> 00:00:06.000 align:start position:0%
leaves at noon
from<00:00:05.000><c> the pier</c>
"""


def test_rolling_captions_have_each_phrase_once_at_the_time_when_it_is_spoken():
    assert texts(ROLLING) == [(0.0, 2.01, "the ferry"), (2.01, 4.01, "leaves at noon"), (4.01, 6.0, "from the pier")]


def test_captions_that_grow_by_words_become_one_cue():
    growing = "".join(
        f"00:0{second}.000 --> 00:0{second + 1}.000\n{text}\n\n"
        for second, text in enumerate(["the", "the ferry", "the ferry leaves", "the ferry leaves\nat", "at noon"])
    )
    assert texts(growing) == [(0.0, 3.0, "the ferry leaves"), (3.0, 5.0, "at noon")]


def test_a_line_that_is_said_again_later_is_kept():
    assert texts("00:01.000 --> 00:02.000\nNo.\n\n00:04.000 --> 00:05.000\nNo.\n") == [(1, 2, "No."), (4, 5, "No.")]


def test_every_phrase_of_a_random_roll_is_kept_once():
    random = Random(0)
    phrases = [f"phrase {number} {random.random()}" for number in range(200)]
    shown = [phrases[max(0, last - random.randint(1, 2)) : last + 1] for last in range(len(phrases))]
    cues = texts("".join(f"{i}:00 --> {i + 1}:00\n" + "\n".join(lines) + "\n\n" for i, lines in enumerate(shown)))
    assert [text for *_, text in cues] == phrases


def test_cues_without_a_blank_line_between_and_out_of_order():
    text = "00:00:05,000 --> 00:00:06,000\nsecond\n00:00:01,000 --> 00:00:02,000\nfirst"
    assert [cue.text for cue in parse_transcript(text)] == ["first", "second"]


def test_other_text_has_no_cues():
    assert parse_transcript("Just a letter.\n\n--> to somebody") == ()


@given(st.text(alphabet=st.sampled_from("0123456789:,.->\n <>{}[]\\ab&;"), max_size=200))
def test_no_text_raises_an_error(text):
    assert all(cue.end_s > cue.start_s and cue.text for cue in parse_transcript(text))
