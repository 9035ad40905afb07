"""Fuzz the parsers of florence_rag with generated inputs; exit 1 if one breaks a promise.

    python benchmarks/reliability/fuzz.py --minutes 2
    python benchmarks/reliability/fuzz.py --only subtitles --seed 7 --count 5000
    python benchmarks/reliability/fuzz.py --coverage --minutes 30

Each target has a dictionary of the words of its grammar, which are joined, repeated, mutated and cut; one input in
forty is 100,000 characters long. A parser may raise a FlorenceError. Any other exception, a result that breaks the
invariant of the target, or more processor time than `allowed_s` is a fault. The seed, the target and the number of an
input determine it, so that the printed command repeats a fault. The table shows the time of the slowest input.

With `--coverage`, atheris mutates the inputs that reach new code instead; see fuzz_coverage.py.
"""

from __future__ import annotations

import json
import logging
import math
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Annotated, Any

import torch
import typer
from fuzz_inputs import generate, value
from workload import Result

from florence_rag.answering.claims import claims_of, parse_claim
from florence_rag.answering.extractive import inscriptions, sentences
from florence_rag.answering.llm import cited_numbers
from florence_rag.chat.follow_ups import read_message, read_message_with_image
from florence_rag.chat.turn import Turn
from florence_rag.chunking.image_string import decode_image_string, is_inline_image
from florence_rag.chunking.text import decode_text, html_to_text, split_passages
from florence_rag.chunking.transcripts import read_transcript
from florence_rag.cli import options
from florence_rag.errors import FlorenceError
from florence_rag.index.filter_pushdown import expression
from florence_rag.index.filters import parse_filter
from florence_rag.index.literals import closed, literal, one_of, starts_with
from florence_rag.index.text_codec import decode_uri, document_terms, encode_uri, query_terms
from florence_rag.ingest.contents import selector
from florence_rag.json_values import parse_json, to_json_value
from florence_rag.models.arch_detection import detect
from florence_rag.models.florence import FlorenceConfig
from florence_rag.models.hyper_parameters import read_settings_file
from florence_rag.models.vqa_vocabulary import normalize as normalize_answer
from florence_rag.models.vqa_vocabulary import read_answers
from florence_rag.perception.florence2_output import to_lines, to_outlines, to_regions, to_text
from florence_rag.retrieval.evidence import Phrase, QueryTerms
from florence_rag.sources.io.sidecar_metadata import metadata_from
from florence_rag.sources.io.tars import read_index
from florence_rag.sources.io.uris import media_of, parse_member, quote_name, skip_reason, unquote_name
from florence_rag.sources.paths import expand_paths
from florence_rag.tasks.question_normalization import question_key
from florence_rag.text_arguments import check_query_text, clean
from florence_rag.tools.arguments import check_filter
from florence_rag.types import Answer, Citation, Hit, Locator

HANG_S = 60.0


def allowed_s(size: int) -> float:
    """Return the processor time that an input of so many characters may take."""
    return 0.5 + 50e-6 * size


@dataclass(frozen=True)
class Target:
    """A parser: the words of its inputs, separated by spaces, and the check of one input."""

    name: str
    words: str
    check: Callable[[str, Random], None]

    @property
    def grammar(self) -> list[str]:
        """The words, in which a no-break space stands for a space."""
        return [word.replace("\xa0", " ") for word in self.words.split(" ")]


# The checks of the targets


def check_filters(text: str, random: Random) -> None:
    """A filter is refused, or decides on any hit, and its negation decides the opposite."""
    for read in (check_filter, options.parse_filter):
        _refused(lambda read=read: read(text))  # type: ignore[misc]
    words = FILTER_WORDS.split(" ")
    filter = value(random, words)
    try:
        node = parse_filter(filter)
    except FlorenceError:
        return
    hit = Hit("id", "image", "/a.jpg", Locator(), 1.0, metadata={word: value(random, words, 3) for word in words[:6]})
    expression(filter, flat=random.random() < 0.5)
    opposite = parse_filter({"$not": filter})
    assert node.matches(hit) is not opposite.matches(hit)


def check_literals(text: str, random: Random) -> None:
    """A literal has closed quotes on one line, whatever it holds."""
    quoted = literal(text)
    assert closed(quoted) == quoted and "\n" not in quoted
    closed(one_of("id", [text, text]))
    closed(starts_with("id", text))
    _refused(lambda: expression(text))
    _refused(lambda: expression(f"({text}"))


def check_json(text: str, random: Random) -> None:
    """Check that the result can be written and stored."""
    for each in (text, json.dumps(value(random, text.split() or ["a"])), text.encode("utf-8", "surrogatepass")):
        try:
            read = parse_json(each)
        except FlorenceError:
            continue
        json.dumps(read).encode()
        _refused(lambda read=read: json.dumps(to_json_value(read), allow_nan=False))  # type: ignore[misc]
        if isinstance(read, dict):
            json.dumps(metadata_from(read), allow_nan=False)


def check_subtitles(text: str, random: Random) -> None:
    """Cues are in order, and none ends before it starts."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        Path(folder, "a.srt").write_bytes(text.encode(random.choice(("utf-8", "utf-16", "cp1252")), "replace"))
        Path(folder, "a.mp4").touch()
        cues = read_transcript(f"{folder}/a.mp4")
    starts = [cue.start_s for cue in cues]
    assert starts == sorted(starts)
    assert all(math.isfinite(cue.end_s) and 0 <= cue.start_s <= cue.end_s and "\n" not in cue.text for cue in cues)


def check_citations(text: str, random: Random) -> None:
    """Numbers lie in the range of the results, each once."""
    cited = cited_numbers(text, 9)
    assert len(set(cited)) == len(cited) and all(0 <= number < 9 for number in cited)


def check_locators(text: str, random: Random) -> None:
    """A locator survives JSON."""
    number = random.choice((None, 0, 3, 10**12))
    span = random.choice((None, (0, 7)))
    locator = Locator(number, random.choice((None, (0.0, 0.1, 0.5, 1.0))), 0.1, 1e9, span, clean(text) or None)
    assert Locator.from_dict(json.loads(json.dumps(locator.to_dict()))) == locator
    assert isinstance(str(locator), str)


def check_checkpoints(text: str, random: Random) -> None:
    """Any names of tensors are detected as a network, or refused."""
    names = CHECKPOINT_WORDS.split(" ")
    keys = [text, *(".".join(random.choices((*names, text[:20]), k=random.randint(1, 6))) for _ in range(20))]
    shapes = [[random.choice((1, 2, 3, 8)) for _ in range(random.randint(0, 4))] for _ in keys]
    weights = {key: torch.zeros(shape) for key, shape in zip(keys, shapes, strict=True)}
    _refused(lambda: detect(weights))


def check_settings(text: str, random: Random) -> None:
    """A file of settings is read, or refused."""
    tree = json.dumps(value(random, SETTINGS_WORDS.split(" ")))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        for suffix in (".json", ".yaml", ".toml"):
            path = Path(folder, f"a{suffix}")
            path.write_text(random.choice((text, tree)), "utf-8", errors="replace")
            _refused(lambda path=path: read_settings_file(path, FlorenceConfig))  # type: ignore[misc]
            _refused(lambda path=path: read_answers(path))  # type: ignore[misc]


def check_uris(text: str, random: Random) -> None:
    """Names and uris survive their quoting."""
    assert unquote_name(quote_name(text)) == text
    if member := parse_member(text):
        assert member.uri == text
    named = parse_member(f"tar:/a#b/c.tar#{quote_name(text)}")
    assert named is not None and unquote_name(named.fragment) == text
    assert "\0" in text or decode_uri(encode_uri(text)) == text
    media_of(text)
    skip_reason(text)
    if "*" not in text:  # a pattern would read folders of this machine
        _refused(lambda: expand_paths([text]))


def check_data_uris(text: str, random: Random) -> None:
    """An image is decoded, or refused."""
    is_inline_image(text)
    _refused(lambda: decode_image_string(text, 10_000))


def check_words(text: str, random: Random) -> None:
    """Questions, terms and quotes of any text."""
    question_key(text)
    normalize_answer(text)
    query_terms(text)
    assert len(document_terms(text, 1000).encode()) <= 1000
    assert all(0 <= start < end <= len(text) for start, end in split_passages(text, 10))
    sentences(text)
    inscriptions(text)
    _refused(lambda: check_query_text(text))
    query = text[: random.randint(0, 200)]
    QueryTerms(query).match(text)
    Phrase(query).find(text)


def check_messages(text: str, random: Random) -> None:
    """Messages of a conversation, claims of an answer, and patterns of names."""
    hit = Hit("id", "image", "/a.jpg", Locator(), 1.0)
    said = text[: random.randint(0, 200)]
    history = [Turn(said, said, Answer(said, None, (Citation.of(hit),)), (hit,))]
    read_message(text, history)
    read_message_with_image(text, history)
    for statement in claims_of(text, said)[:20]:
        parse_claim(statement.text)
    claims_of("yes", text)
    selector(text)("/a/b/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.jpg")


def check_florence2(text: str, random: Random) -> None:
    """Boxes lie in the image."""
    to_text(text)
    boxes = [box for _, box in to_lines(text)] + [each.box for each in (*to_regions(text), *to_outlines(text))]
    assert all(0 <= box[0] <= box[2] <= 1 and 0 <= box[1] <= box[3] <= 1 for box in boxes)


def check_documents(text: str, random: Random) -> None:
    """Text in any encoding, and HTML."""
    data = text.encode(random.choice(("utf-8", "utf-16", "utf-32", "cp1251", "shift-jis")), "replace")
    _refused(lambda: decode_text(data, "it"))
    html_to_text(text)


def check_tars(text: str, random: Random) -> None:
    """A damaged tar gives the files before the damage."""
    data = bytearray(_TAR)
    for _ in range(random.randint(1, 30)):
        start = random.choice((random.randrange(len(data)), 512 * random.randrange(len(data) // 512)))
        patch = text[: random.randint(1, 40)].encode("utf-8", "replace") or bytes([random.randrange(256)])
        data[start : start + len(patch)] = patch
    with tempfile.NamedTemporaryFile(suffix=".tar") as file:
        file.write(data[: random.randint(1, len(data))])
        file.flush()
        index = read_index(file.name)
    assert all(start >= 0 and size >= 0 for start, size in index.files.values())


def check_cli(text: str, random: Random) -> None:
    """Values on the command line."""
    _refused(lambda: options.parse_labels(text))
    _refused(lambda: options.image_argument(text))


def _tar() -> bytes:
    import tarfile

    file = BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in ("a.png", "a.json", f"{'long/' * 40}b.png", "\u00fc.png"):
            member = tarfile.TarInfo(name)
            member.size = 700
            tar.addfile(member, BytesIO(bytes(700)))
    return file.getvalue()


_TAR = _tar()
FILTER_WORDS = (
    "city tags year a.b a..b kind id source page start_s end_s $and $or $not $eq $ne $gt $gte $lt $lte $in $nin "
    "$exists $contains $between $startswith $like image clip Rome sea 2020 metadata.city $ $$x"
)
CHECKPOINT_WORDS = (
    "module model image_encoder lang_encoder text_projection logit_scale layers 0 1 99999999999999999999 blocks "
    "attn qkv weight bias relative_position_bias_table transformer text_embeddings embeddings resblocks "
    "vit_model visual conv1 patch_embed proj norm token_type_embeddings cross_modal_image_layers encoder layer "
    "attention self query state_dict"
)
SETTINGS_WORDS = (
    "MODEL IMAGE_ENCODER SPEC TEXT LANG_ENCODER WIDTH DEPTHS EMBED_DIM TOKENIZER clip roberta tokenizer "
    "hidden_size mlp_ratio val_transform_keys TEST CROP DATA INTERPOLATION image_config text_config depths "
    "num_heads projection_dim 1e9"
)
TARGETS = (
    Target("filters", f'{FILTER_WORDS} {{ }} [ ] : , " "city" {{"$or":[ "a":1 ]}}', check_filters),
    Target("literals", '\\ \\" " \' ( ) \\n or and == id in [ ] % _ \\\\ \\x', check_literals),
    Target(
        "json", '{ } [ ] : , " "a" "a":1 \\u \\ud800 \\udc00 NaN Infinity -0 1e5 1E999 0x1 // true null []', check_json
    ),
    Target(
        "subtitles",
        "1\n 00:00:01,000\xa0-->\xa099:59:59.999 00:01.5 --> WEBVTT\n\n NOTE <i> </i> {\\an8} [Script\xa0Info]\n "
        "Dialogue: Format:Start,End,Text\n 0:00:01.00,0:00:02.00,,text {1}{25} {0}{0}25\n [10][20] <SAMI> "
        "<SYNC\xa0Start=1000> <tt> <p\xa0begin='1s'\xa0end='2s'> </p> </tt> <br/> &amp; &#9999999999; hello \n \n\n |",
        check_subtitles,
    ),
    Target("citations", "[ ] , 1 2 9 10 [1] [2,3] [1,\xa02] [ \u0663 \u00b2 00000001 99999999999", check_citations),
    Target("locators", "word/media/image1.png page , .. /", check_locators),
    Target("checkpoints", CHECKPOINT_WORDS + " . .. (?: .+ \\1", check_checkpoints),
    Target(
        "settings",
        SETTINGS_WORDS + ' : = - [ ] { } & * ! | > " # &a *a !!python/object: 1979-05-27 0o7',
        check_settings,
    ),
    Target(
        "uris",
        "tar: parquet: arrow: http:// https:// s3:// file:// /a/b.tar # row=1 &image=x .png .tar.gz ../ ~ %23 %25 %",
        check_uris,
    ),
    Target(
        "data_uris",
        "data: image/png ;base64 , file:// localhost iVBORw0KGgo /9j/4AAQSkZJRg== ==== % %FF C:\\ http://[",
        check_data_uris,
    ),
    Target(
        "words",
        "the red bus what's can't e-mail J.P. 東京 กรุงเทพ 서울 don\u2019t how many ? . , \u00ad - \u2010 ́ of",
        check_words,
    ),
    Target(
        "messages",
        "only the a an of in more first number 7 back\xa0to what\xa0about images it is are there two red dogs [1] and "
        "next\xa0to left\xa0of n't . , ? : * ** **/ [a-z] [! / *a show\xa0me not wearing",
        check_messages,
    ),
    Target(
        "florence2",
        "<loc_0> <loc_999> <loc_52> <loc_1000> <sep> <poly> </poly> </s> <s> car <od> <loc_ >",
        check_florence2,
    ),
    Target(
        "documents",
        "<p> </p> <div> <!-- --> <script> </script> <style> <![CDATA[ ]]> <? ?> &lt; &#x110000; <a\xa0b= ' <title> <br",
        check_documents,
    ),
    Target(
        "tars",
        "\0 00000000000 \u00ff\u00ff\u00ff ustar 77777777777 x L K S 30\xa0path=a 9999 size=-1 ././@LongLink",
        check_tars,
    ),
    Target("command_line", "cat, dog , - @ file.txt \n a.png http:// data:image/png;base64, ~ *", check_cli),
)


def _refused(call: Callable[[], Any]) -> None:
    """Call a function that may refuse its argument."""
    try:
        call()
    except (FlorenceError, typer.BadParameter) as error:
        assert str(error).strip(), "the message is empty"


def judge(target: Target, text: str, random: Random, slowdown: float = 1.0) -> tuple[float, str]:
    """Check one input, and return the processor time in seconds and the fault, or an empty text."""
    fault = ""
    signal.setitimer(signal.ITIMER_REAL, HANG_S)
    started = time.process_time()
    try:
        target.check(text, random)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        fault = f"{type(error).__name__}: {error!s:.120} at {Path(place.filename).name}:{place.lineno}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    took = time.process_time() - started
    if not fault and took > slowdown * allowed_s(len(text)):
        fault = f"{took:.1f} s for {len(text)} characters that begin with {text[:40]!r}"
    return took, fault


def fuzz(target: Target, seed: int, numbers: Iterator[int]) -> tuple[int, float, list[str]]:
    """Return the number of inputs, the processor time of the slowest in seconds, and the faults."""
    words = target.grammar
    count, slowest, faults = 0, 0.0, []
    for number in numbers:
        random = Random(f"{seed}/{target.name}/{number}")
        took, fault = judge(target, generate(words, random), random)
        faults += [f"{number}: {fault}"] if fault else []
        count, slowest = count + 1, max(slowest, took)
    return count, slowest, faults


def watch_for_hangs() -> None:
    """Let `judge` end an input that takes longer than `HANG_S`, and turn off logging."""
    logging.disable(logging.CRITICAL)
    signal.signal(signal.SIGALRM, _hang)


def explore(target: Target, seed: int, seconds: float, folder: Path) -> tuple[int, float, list[str]]:
    """Fuzz one target with atheris, in a process of its own, and return what `fuzz` returns."""
    folder = folder / target.name
    folder.mkdir(parents=True, exist_ok=True)
    counts = folder / "counts.json"
    counts.unlink(missing_ok=True)
    program = [sys.executable, str(Path(__file__).with_name("fuzz_coverage.py")), target.name]
    with (folder / "log.txt").open("w") as log:
        settings = ["--seed", str(seed), "--seconds", str(seconds), "--folder", str(folder)]
        code = subprocess.run([*program, *settings], stdout=log, stderr=log, check=False).returncode
    if counts.exists():
        return json.loads(counts.read_text())
    return 1, 0.0, [f"the process ended with {code}; see {folder / 'log.txt'}"]


def _hang(*_: object) -> None:
    raise TimeoutError(f"no end after {HANG_S:g} s")


def _numbers(start: int, count: int | None, seconds: float) -> Iterator[int]:
    end = time.monotonic() + seconds
    number = start
    while number < start + count if count is not None else time.monotonic() < end:
        yield number
        number += 1


def main(
    seed: Annotated[int, typer.Option(help="Determines all inputs.")] = 20261129,
    minutes: Annotated[float, typer.Option(help="The time for all targets together.")] = 2.0,
    count: Annotated[int | None, typer.Option(help="The inputs of each target, instead of a time.")] = None,
    start: Annotated[int, typer.Option(help="The number of the first input.")] = 0,
    only: Annotated[str, typer.Option(help="One target.")] = "",
    coverage: Annotated[bool, typer.Option("--coverage", help="Let atheris choose the inputs.")] = False,
    folder: Annotated[Path, typer.Option(help="Where atheris keeps its inputs.")] = Path("reliability", "corpus"),
    output: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write the result here.")] = None,
) -> None:
    """Run the targets one after the other, and print the faults and a table."""
    watch_for_hangs()
    chosen = [target for target in TARGETS if only in ("", target.name)]
    if not chosen:
        raise typer.BadParameter(f"the targets are {', '.join(target.name for target in TARGETS)}", param_hint="--only")
    if coverage and not find_spec("atheris"):
        sys.exit("atheris is not installed: pip install atheris (Linux, Python 3.11 to 3.13), or leave out --coverage")
    with Result().reported(output) as result:
        for target in chosen:
            seconds = 60 * minutes / len(chosen)
            if coverage:
                inputs, slowest, faults = explore(target, seed, seconds, folder)
                commands = [f"fuzz_coverage.py {target.name} --repeat {fault}" for fault in faults]
            else:
                inputs, slowest, faults = fuzz(target, seed, _numbers(start, count, seconds))
                commands = [f"--only {target.name} --seed {seed} --count 1 --start {fault}" for fault in faults]
            result.add(f"fuzzed: {target.name}", commands, tried=inputs)
            result.notes[f"fuzzed: {target.name}"] = f"slowest {slowest:.2f} s"


if __name__ == "__main__":
    typer.run(main)
