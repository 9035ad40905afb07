from hypothesis import given
from hypothesis import strategies as st

from florence_rag.chunking.config import MAX_TEXT_BYTES
from florence_rag.chunking.transcripts import Cue, parse_transcript, read_transcript, transcript_between

SRT = """1
00:00:01,000 --> 00:00:03,500
Good <i>morning</i>,
everyone.

2
00:00:03,500 --> 00:00:06,000 X1:100
{\\an8}A blue car &amp; a bus.

3
00:01:00,000 --> 00:01:00,000
never seen

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


def test_subrip_is_read():
    assert parse_transcript(SRT) == (
        Cue(1.0, 3.5, "Good morning, everyone."),
        Cue(3.5, 6.0, "A blue car & a bus."),
        Cue(3602.0, 3604.0, "Bye."),
    )


def test_webvtt_is_read():
    assert parse_transcript(VTT) == (Cue(1.0, 3.5, "Good morning, everyone."), Cue(360000.5, 360001.25, "Late."))


def test_cues_without_a_blank_line_between_and_out_of_order():
    text = "00:00:05,000 --> 00:00:06,000\nsecond\n00:00:01,000 --> 00:00:02,000\nfirst"
    assert [cue.text for cue in parse_transcript(text)] == ["first", "second"]


def test_other_text_has_no_cues():
    assert parse_transcript("Just a letter.\n\n--> to somebody") == ()


def test_a_clip_has_the_cues_of_its_time():
    cues = (Cue(0, 2, "one"), Cue(2, 4, "two"), Cue(3, 5, "two"), Cue(5, 6, "three"))
    assert transcript_between(cues, 0, 2) == "one"
    assert transcript_between(cues, 1, 3.5) == "one\ntwo"
    assert transcript_between(cues, 4.5, 9) == "two\nthree"
    assert transcript_between(cues, 6, 9) == ""


def test_the_text_of_a_clip_fits_into_a_field():
    cues = tuple(Cue(i, i + 1, f"{i} " + "語" * 100) for i in range(1000))
    assert MAX_TEXT_BYTES - 3 <= len(transcript_between(cues, 0, 1000).encode()) <= MAX_TEXT_BYTES


def test_the_file_next_to_the_video_is_read_in_any_encoding(tmp_path):
    video = tmp_path / "a.b.mp4"
    assert read_transcript(str(video)) == ()
    (tmp_path / "a.b.vtt").write_text(VTT)
    assert len(read_transcript(str(video))) == 2
    (tmp_path / "a.b.srt").write_bytes("\ufeff1\r\n00:00:01,000 --> 00:00:02,000\r\nGrüße\r\n".encode("utf-16"))
    assert read_transcript(str(video)) == (Cue(1.0, 2.0, "Grüße"),)


@given(st.text(alphabet=st.sampled_from("0123456789:,.->\n <>{}\\ab&;"), max_size=200))
def test_no_text_raises_an_error(text):
    assert all(cue.end_s > cue.start_s and cue.text for cue in parse_transcript(text))
