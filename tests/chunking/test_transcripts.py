from pathlib import Path

import pytest

from florence_rag.chunking.config import MAX_TEXT_BYTES
from florence_rag.chunking.transcripts import Cue, merge_tracks, read_transcript, transcript_between

RUSSIAN = """1
00:00:01,000 --> 00:00:03,000
Паром уходит в полдень.

2
00:00:04,000 --> 00:00:05,000
Жёлтая лодка.
"""


def video_with(folder: Path, **subtitles: str) -> str:
    """Return a video with subtitle files; an underscore in a keyword stands for a dot."""
    video = folder / "film.mp4"
    video.touch()
    for name, text in subtitles.items():
        (folder / f"film.{name.replace('_', '.')}").write_text(text)
    return str(video)


def cue(start: int, end: int, text: str) -> str:
    return f"00:{start:02}.000 --> 00:{end:02}.000\n{text}\n\n"


def test_a_clip_has_the_cues_of_its_time():
    cues = (Cue(0, 2, "one"), Cue(2, 4, "two"), Cue(3, 5, "two"), Cue(5, 6, "three"))
    assert transcript_between(cues, 0, 2) == "one"
    assert transcript_between(cues, 1, 3.5) == "one\ntwo"
    assert transcript_between(cues, 4.5, 9) == "two\nthree"
    assert transcript_between(cues, 6, 9) == ""


def test_the_text_of_a_clip_fits_into_a_field():
    cues = tuple(Cue(i, i + 1, f"{i} " + "語" * 100) for i in range(1000))
    assert MAX_TEXT_BYTES - 3 <= len(transcript_between(cues, 0, 1000).encode()) <= MAX_TEXT_BYTES


def test_a_video_without_subtitles_has_no_cues(tmp_path):
    assert read_transcript(str(tmp_path / "gone.mp4")) == ()
    assert read_transcript("https://example.com/film.mp4") == ()
    assert read_transcript(f"tar:{tmp_path}/videos.tar#film.mp4") == ()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1251", "koi8-r"])
def test_subtitles_are_read_in_any_encoding(tmp_path, encoding):
    video = video_with(tmp_path)
    (tmp_path / "film.srt").write_bytes(RUSSIAN.replace("\n", "\r\n").encode(encoding))
    assert [each.text for each in read_transcript(video)] == ["Паром уходит в полдень.", "Жёлтая лодка."]


def test_few_accents_are_western(tmp_path):
    video = video_with(tmp_path)
    (tmp_path / "film.srt").write_bytes((cue(1, 2, "Où est le café ?") + cue(3, 4, "Là-bas, à côté.")).encode("cp1252"))
    assert [each.text for each in read_transcript(video)] == ["Où est le café ?", "Là-bas, à côté."]


@pytest.mark.parametrize(
    ("language", "encoding", "text"),
    [
        ("pl", "cp1250", "Łódź odpływa."),
        ("tur", "cp1254", "Şimdi kalkıyor."),
        ("th", "cp874", "เรือออกตอนเที่ยง"),
        ("he", "cp1255", "המעבורת יוצאת בצהריים."),
    ],
)
def test_the_language_in_the_name_tells_the_encoding(tmp_path, language, encoding, text):
    video = video_with(tmp_path)
    for name, codec in ((f"film.{language}.srt", encoding), (f"film.{language}.cc.vtt", "utf-8")):
        (tmp_path / name).write_bytes(cue(1, 2, text).encode(codec))
    assert [each.text for each in read_transcript(video)] == [text]


def test_all_languages_are_kept_one_after_the_other(tmp_path):
    video = video_with(
        tmp_path,
        en_srt=cue(1, 3, "The ferry leaves.") + cue(4, 5, "Bye."),
        fr_srt=cue(1, 3, "Le ferry part.") + cue(4, 5, "Salut."),
    )
    cues = read_transcript(video)
    assert {each.language for each in cues} == {"en", "fr"}
    assert transcript_between(cues, 0, 9) == "The ferry leaves.\nBye.\nLe ferry part.\nSalut."


def test_forced_subtitles_and_those_for_the_hard_of_hearing_repeat_no_line(tmp_path):
    video = video_with(
        tmp_path,
        en_srt=cue(1, 3, "The ferry leaves at noon.") + cue(4, 6, "Hurry up!"),
        en_sdh_srt=cue(1, 3, "ANNA: The ferry [horn] leaves at noon.")
        + cue(4, 6, "(whispering) Hurry up!")
        + cue(7, 8, "[bell]"),
        en_forced_srt=cue(1, 3, "The ferry leaves at noon.") + cue(9, 10, "[in Klingon] Qapla"),
    )
    assert transcript_between(read_transcript(video), 0, 20).splitlines() == [
        "ANNA: The ferry [horn] leaves at noon.",
        "(whispering) Hurry up!",
        "[bell]",
        "[in Klingon] Qapla",
    ]


def test_equal_words_at_another_time_are_kept():
    cues = merge_tracks(
        [[Cue(0, 2, "No, never."), Cue(5, 6, "Yes.")], [Cue(1, 2, "no"), Cue(3, 4, "No."), Cue(5, 6, "yes")]]
    )
    assert [each.text for each in cues] == ["No, never.", "No.", "Yes."]


def test_files_that_cannot_be_read_are_passed_to_skip(tmp_path):
    video = video_with(tmp_path, srt=cue(1, 2, "Good."), en_ass="Dear all")
    skipped = []
    assert read_transcript(video, skip=skipped.append) == (Cue(1.0, 2.0, "Good."),)
    assert skipped == [".en.ass that has no subtitles"]
