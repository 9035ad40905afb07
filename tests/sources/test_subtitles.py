import os
from pathlib import Path

import pytest

from florence_rag.sources import SubtitleSearch, language_of, parse_language

VIDEO = "/videos/film.mp4"
USUAL_NAMES = """film.srt
film.SRT
FILM.Vtt
film.en.srt
film.en-US.forced.vtt
film.mp4.srt
film.mp4.de.srt
film_en.srt
film-fra.ass
film (English).srt
film [pt-BR].srt
film - German.vtt
Subs/film.srt
subs/film.en.srt
Subtitles/film.ssa
Subs/film/2_English.srt
SUBS/Film/eng.srt
Subs/2_English.srt
film.sbv
film.ttml
film.dfxp
film.smi
film.sub
film.sup""".splitlines()


def write(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")


def names_of(folder: Path, video: str) -> list[str]:
    return [os.path.relpath(path, folder) for path in SubtitleSearch().of_video(str(folder / video))]


@pytest.mark.parametrize("name", USUAL_NAMES)
def test_subtitles_of_usual_names_belong_to_their_video(tmp_path, name):
    write(tmp_path, "film.mp4", name)
    assert names_of(tmp_path, "film.mp4") == [name]
    assert SubtitleSearch().videos_of(str(tmp_path / name)) == {str(tmp_path / "film.mp4")}


@pytest.mark.parametrize(
    "name",
    ["other.srt", "film2.srt", "film_2.srt", "film-part.srt", ".film.srt", "film.txt", "more/film.srt", "fil.srt"],
)
def test_other_files_do_not(tmp_path, name):
    write(tmp_path, "film.mp4", name)
    assert names_of(tmp_path, "film.mp4") == []


def test_the_longest_name_of_a_video_decides(tmp_path):
    write(tmp_path, "film.mp4", "film.2.mkv", "film.2.srt", "film.2.en.srt", "film.en.srt", "Subs/film.2/en.srt")
    write(tmp_path, "Subs/2_English.srt")
    assert names_of(tmp_path, "film.mp4") == ["film.en.srt"]
    assert names_of(tmp_path, "film.2.mkv") == ["Subs/film.2/en.srt", "film.2.en.srt", "film.2.srt"]


def test_videos_of_one_name_share_their_subtitles(tmp_path):
    write(tmp_path, "film.mp4", "film.mkv", "film.srt", "film.mkv.vtt")
    assert names_of(tmp_path, "film.mp4") == ["film.srt"]
    assert names_of(tmp_path, "film.mkv") == ["film.mkv.vtt", "film.srt"]


def test_composed_and_decomposed_names_are_equal(tmp_path):
    write(tmp_path, "cafe\u0301.mp4", "caf\u00e9.srt")
    assert names_of(tmp_path, "cafe\u0301.mp4") == ["caf\u00e9.srt"]


def test_a_link_that_leads_out_of_the_folder_is_not_read(tmp_path):
    write(tmp_path, "secret.srt", "videos/film.mp4", "videos/own.srt")
    (tmp_path / "videos" / "film.srt").symlink_to(tmp_path / "secret.srt")
    (tmp_path / "videos" / "film.en.srt").symlink_to("own.srt")
    assert names_of(tmp_path / "videos", "film.mp4") == ["film.en.srt"]


def test_a_deleted_subtitle_file_still_tells_its_video(tmp_path):
    write(tmp_path, "film.mp4")
    for name in ("film.en.srt", "Subs/film.srt", "Subs/film/2_English.srt", "Subs/2_English.srt"):
        assert SubtitleSearch().videos_of(str(tmp_path / name)) == {str(tmp_path / "film.mp4")}
    assert SubtitleSearch().videos_of(str(tmp_path / "other.srt")) == set()


@pytest.mark.parametrize(
    ("name", "language"),
    [
        ("film.srt", ""),
        ("film.en.srt", "en"),
        ("film.ENG.SDH.srt", "en"),
        ("film.fre.cc.srt", "fr"),
        ("film.fra.srt", "fr"),
        ("film.en-US.forced.vtt", "en-US"),
        ("film.pt_br.srt", "pt-BR"),
        ("film.zh-hans.srt", "zh-Hans"),
        ("film.es-419.srt", "es"),
        ("film.en-zz.srt", "en"),
        ("film.hi.srt", "hi"),
        ("film.en.hi.srt", "en"),
        ("film.forced.srt", ""),
        ("film.director.srt", ""),
        ("film.mp4.srt", ""),
        ("Subs/film/2_English.srt", "en"),
        ("film (German).srt", "de"),
    ],
)
def test_the_name_tells_the_language(name, language):
    assert language_of(f"/videos/{name}", VIDEO) == language


@pytest.mark.parametrize(("tag", "language"), [("ger", "de"), ("deu", "de"), ("und", ""), ("", ""), ("mul", "")])
def test_the_language_of_a_track_is_normalized(tag, language):
    assert parse_language(tag) == language


def test_a_folder_is_read_once_for_many_videos(tmp_path, monkeypatch):
    write(tmp_path, *(f"{number}.mp4" for number in range(50)), *(f"{number}.en.srt" for number in range(50)))
    read = []
    monkeypatch.setattr(os, "scandir", lambda path, scandir=os.scandir: read.append(path) or scandir(path))
    search = SubtitleSearch()
    assert all(len(search.of_video(str(tmp_path / f"{number}.mp4"))) == 1 for number in range(50))
    assert len(read) == 2
