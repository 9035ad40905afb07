"""The output of every command with --json has the keys and types that docs/reference/json.md lists."""

import json
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from florence_rag.cli.app import COMMANDS
from florence_rag.index.milvus import MilvusIndex
from florence_rag.loading.loaders import CAPTIONER, DETECTOR, EMBEDDER
from florence_rag.models.registry import find_model
from florence_rag.perception.base import Detection
from florence_rag.testing import ColorEmbedder, ScriptedCaptioner, color_frame
from recipes.florence_tiny.synthetic.dataset_export import export_datasets
from tests.loading.stand_ins import stand_in

PAGE = (Path(__file__).parents[2] / "docs/reference/json.md").read_text("utf-8")
ROW = re.compile(r"^\| `(\w+)` \| ([^|]+) \|[^|]*\| [^|]+ \|$", re.MULTILINE)
OBJECTS = {name: dict(ROW.findall(part)) for name, part in re.findall(r"^## (.+)\n((?:(?!^## ).*\n?)*)", PAGE, re.M)}
TYPES = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "object": dict, "array": list}


def check(value, type_name: str, path: str) -> None:
    """Compare a value with a type of the page, such as "Hit[]" or "number or null"."""
    base, *modifiers = re.split(r", | or ", type_name.strip())
    if value is None:
        assert "null" in modifiers, f"{path} is null"
    elif base.endswith("[]"):
        assert isinstance(value, list), path
        for item in value:
            check_object(item, base[:-2], path)
    elif base in TYPES:
        assert isinstance(value, TYPES[base]), f"{path} is {value!r}"
    else:
        check_object(value, base, path)


def check_object(record: dict, name: str, path: str = "") -> None:
    keys = OBJECTS[name]
    assert keys, name
    required = {key for key, type_name in keys.items() if "optional" not in type_name}
    assert required <= record.keys() <= keys.keys(), f"{path or name}: {record.keys() ^ keys.keys()}"
    for key, value in record.items():
        check(value, keys[key], f"{path or name}.{key}")


class LeftHalf:
    def detect(self, frames):
        return [[Detection("car", (0.0, 0.0, 0.5, 1.0), 0.875)] for _ in frames]


def test_every_command_has_a_section():
    assert [name for name in COMMANDS if name not in OBJECTS and name not in ("classify", "evalset")] == []
    assert {"classify apply", "classify train", "reembed --rollback", "tag --as"} <= OBJECTS.keys()


def test_indexing_and_queries(run, photos):
    (photos / "broken.jpg").write_text("no image")
    check_object(run("index", photos, "--json").json, "index")
    check_object(run("failures", "--retry", "--json").json, "index")
    found = run("search", "a blue thing", "--json").json
    check_object(found, "search")
    assert Path(found["hits"][0]["source"]).is_absolute()
    check_object(run("recommend", "red", "--json").json, "recommend")
    check_object(run("moments", "anything", "--json").json, "moments")
    check_object(run("ask", "What is blue?", "--json").json, "ask")
    check_object(run("ask", "What color is it?", "--image", photos / "red.png", "--json").json, "ask")
    check_object(run("clear-answers", "--json").json, "clear-answers")
    check_object(run("classify", "apply", "--labels", "red,blue", "--json").json, "classify apply")
    check_object(run("tag", "--labels", "red,blue", "--json").json, "tag")
    check_object(run("tag", photos / "red.png", "--as", "fire", "--json").json, "tag --as")


def test_commands_without_a_database(run, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    stand_in(monkeypatch, CAPTIONER, lambda card, loader: ScriptedCaptioner({"red": "a red wall"}))
    stand_in(monkeypatch, DETECTOR, lambda card, loader: LeftHalf())
    stand_in(monkeypatch, EMBEDDER, lambda card, loader: ColorEmbedder())
    for color in ("red", "orange", "blue", "green"):
        path = tmp_path / "data" / ("warm" if color in ("red", "orange") else "cold") / f"{color}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(color_frame(color)).save(path)
    described = run("describe", "data/warm/red.png", "gone.png", "--json").json
    check_object(described, "describe")
    detected = run("detect", "data/warm/red.png", "gone.png", "--draw", "drawn", "--json").json
    check_object(detected, "detect")
    classified = run("classify", "apply", "data/warm/red.png", "gone.png", "--labels", "red,blue", "--json").json
    check_object(classified, "classify apply")
    for record in (described, detected, classified):
        sources = [each["source"] for each in (*record["images"], *record["failed"])]
        assert sources == [str(tmp_path / "data/warm/red.png"), str(tmp_path / "gone.png")]
    check_object(run("classify", "train", "data", "--name", "warmth", "--json").json, "classify train")
    check_object(run("models", "--json").json, "models")
    check_object(run("estimate", "--images", "1e6", "--json").json, "estimate")


def test_databases_on_disk(run, tmp_path):
    Image.fromarray(color_frame("red")).save(tmp_path / "red.png")
    db, other = ("--db", tmp_path / "a.db"), tmp_path / "other"
    shutil.copytree(find_model("florence-tiny").source, other)
    run("index", tmp_path / "red.png", *db, "--model", "florence-tiny", "--ocr", "never")
    check_object(run("failures", *db, "--json").json, "failures")
    check_object(run("info", *db, "--json").json, "info")
    (listed,) = run("list", *db, "--json").out.splitlines()
    check_object(json.loads(listed), "list")
    check_object(run("doctor", *db, "--json").json, "doctor")
    run("tag", tmp_path / "red.png", "--as", "fire", *db)
    check_object(run("evalset", "build", tmp_path / "set", *db, "--json").json, "evalset build")
    check_object(run("evalset", "run", tmp_path / "set", tmp_path / "a.json", *db, "--json").json, "evalset run")
    runs = [tmp_path / "a.json"] * 2
    check_object(run("evalset", "compare", tmp_path / "set", *runs, "--json").json, "evalset compare")
    check_object(run("eval", "relevance", "--reset", *db, "--json").json, "eval relevance --reset")
    check_object(run("export", tmp_path / "bulk", *db, "--json").json, "export")
    check_object(run("import", tmp_path / "bulk", "--db", tmp_path / "b.db", "--json").json, "import")
    check_object(run("check", *db, "--json").json, "check")
    with MilvusIndex.open_unchecked(str(tmp_path / "a.db")) as index:
        index.chunks.drop_sources([str(tmp_path / "red.png")])
    check_object(run("check", *db, "--json").json, "check")
    check_object(run("repair", *db, "--ocr", "never", "--json").json, "repair")
    check_object(run("reembed", "--to", other, *db, "--no-switch", "--json").json, "reembed")
    check_object(run("reembed", "--rollback", *db, "--json").json, "reembed --rollback")
    check_object(run("delete", tmp_path / "red.png", *db, "--yes", "--json").json, "delete")


def test_events_of_watch(run, rag, photos, monkeypatch):
    def watch_until_interrupted(folder, **options):
        yield rag.add(folder, **options)
        (photos / "broken.jpg").write_text("no image")
        (photos / "a.mp3").write_bytes(b"x")
        shutil.copy(photos / "red.png", photos / "copy.png")
        (photos / "blue.png").unlink()
        yield rag.add(folder, prune=True, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(rag, "watch", watch_until_interrupted)
    outcome = run("watch", photos, "--near-duplicates", "drop", "--json")
    first, *others = (json.loads(line) for line in outcome.out.splitlines())
    assert {record["event"] for record in others} == {"removed", "failed", "skipped", "near-duplicate"}
    keys = set(OBJECTS["watch"])
    check_object({key: value for key, value in first.items() if key not in keys}, "index")
    for record in others:
        check_object(record, "watch")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A small data set in all formats, and a list of its video clips with two labels."""
    folder = tmp_path_factory.mktemp("data")
    export_datasets(folder, 4)
    clips = "".join(f"{('moves', 'stops')[number % 2]},clip{number},0,1.5\n" for number in range(6))
    (folder / "clips.csv").write_text(f"label,youtube_id,time_start,time_end\n{clips}")
    return folder


@pytest.mark.parametrize(
    "arguments",
    [
        ("retrieval", "captions.json", "--model", "florence-tiny"),
        ("vqa", ".", "--vqa", "florence-tiny"),
        ("classify", "classes", "--model", "florence-tiny"),
        ("detect", ".", "--detector", "florence-tiny"),
        ("actions", "actions.csv", "--videos", "actions", "--action-model", "florence-tiny"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_evaluations(run, data, monkeypatch, arguments):
    monkeypatch.chdir(data)
    check_object(run("eval", *arguments, "--limit", 2, "--json").json, "eval")


@pytest.mark.parametrize(
    "arguments",
    [("unicl", "classes"), ("vqa", "."), ("detect", "."), ("actions", "clips.csv", "--videos", "actions")],
    ids=lambda arguments: arguments[0],
)
def test_training(run, data, monkeypatch, tmp_path, arguments):
    monkeypatch.chdir(data)
    few = ("--steps", 1, "--batch", 2, "--validation", 0.5, "--out", tmp_path / "mine")
    check_object(run("train", *arguments, *few, "--json").json, "train")


@pytest.mark.slow
def test_the_demo(run, tmp_path):
    check_object(run("demo", tmp_path / "demo", "--json").json, "demo")


@pytest.mark.parametrize("name", ["Hit", "Citation", "Failure", "Embedder", "Model"])
def test_shared_objects_are_listed(name):
    assert OBJECTS[name]
