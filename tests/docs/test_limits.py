"""The table of limits in docs/security.md has the numbers of the code, and every limit of the agent tools."""

import inspect
import re

import pytest

from florence_rag.answering.budget import Budget
from florence_rag.answering.llm import LLMConfig
from florence_rag.chunking import (
    animation,
    camera_raw,
    image_decoder,
    image_string,
    office,
    office_text,
    pdf_annotations,
    subtitle_tracks,
    text,
    tiff,
    transcripts,
    zip_package,
)
from florence_rag.cli.command import IndexingCommand
from florence_rag.datasets import dataset_io
from florence_rag.index import filters, rows
from florence_rag.ingest import engine, read_stage
from florence_rag.json_values import _MAX_DEPTH
from florence_rag.models import chat_templates, model_folder, registry, tokenizer_files
from florence_rag.sources import discovery, limited
from florence_rag.sources.io import tables, tars
from florence_rag.sources.io.remote_stat import TransferLimits
from florence_rag.tasks import verify
from florence_rag.text_arguments import MAX_TEXT_BYTES
from florence_rag.tools import UrlRules, arguments, base, find_video_moment, formatting, image_argument, limits
from florence_rag.untrusted_text import MAX_QUOTED
from florence_rag.workers import Limits, pool
from tests.test_levels import ROOT

PAGE = (ROOT / "docs" / "security.md").read_text("utf-8")
TABLE = dict(re.findall(r"^\| (.*?) \| (.*?) \|", PAGE.partition("## Limits")[2], re.MULTILINE)[1:])

run, url, transfer, budget = engine.IngestConfig(), UrlRules(), TransferLimits(), Budget()
read, listing, chunks = limited.READ_LIMITS, discovery._CONTAINER_LIMITS, Limits()
templates, tokenizers = chat_templates._trial.limits, tokenizer_files._trial.limits

MEMORY_MB = run.limits(1).memory_bytes >> 20


def mega(number):
    return f"{number / 1e6:,g}"


EXPECTED = {
    "time of a worker without a processor, which does not count on Linux": f"{ {10: 'ten'}[pool._MOST_STARVED] } times "
    "each limit of a worker, in all",
    "reading one file": f"{run.file_timeout_s:g} s, and {chunks.seconds_per_item:g} s per page or passage or "
    f"{limited._CLIP_S:g} s per clip; {run.limits(1).max_seconds / 60:g} minutes in all",
    "chunks of a file: pages, passages, clips": f"{run.max_chunks_per_file:,}; the rest is reported as skipped",
    "members of a tar or table that exceed a limit": f"{read_stage._MAX_EXCEEDING}; the others are read last, "
    f"and after {read_stage._MAX_EXCEEDING} more the rest fails",
    "memory of an index run, above the models": f"{run.memory_budget_mb:,} MB",
    "memory of one process that reads, of which a Ray cluster has one per processor": f"{MEMORY_MB:,} MB",
    "image": f"{mega(image_decoder.MAX_PIXELS)} megapixels",
    "animation": f"{animation.MAX_ANIMATION_FRAMES:,} frames, {mega(animation.MAX_ANIMATION_PIXELS)} megapixels of all "
    "frames",
    "image, page or clip that is read for a search, an answer or an item, or by `read_image`": f"{read.seconds:g} s, "
    f"{ {10: 'ten'}[limited._REMOTE_FACTOR] } times as long at a URL; {read.memory_bytes >> 20:,} MB of memory",
    "image as bytes, data URI or file, from an agent": f"{mega(image_argument.MAX_BYTES)} MB",
    "scans of a JPEG": f"{image_decoder.MAX_SCANS}",
    "pages and bytes of pixels of a TIFF; pixels of a camera raw file": f"{tiff.MAX_PAGES:,}; "
    f"{mega(tiff._MAX_BYTES)} MB; {mega(camera_raw._MAX_RAW_PIXELS)} megapixels",
    "image as a string, from a program": f"{mega(image_string.MAX_BYTES)} MB",
    "image behind a URL, from an agent": f"{mega(url.max_bytes)} MB, {url.timeout_s:g} s, {url.redirects} redirects",
    "file behind a URL, from you": f"{transfer.max_bytes / 1e9:g} GB, {transfer.total_s / 60:g} min; "
    f"{transfer.response_s:g} s for the headers, redirects included, and for 1 MiB of a part; "
    f"{transfer.max_redirects} redirects",
    "one text": f"{MAX_TEXT_BYTES:,} bytes",
    "text file; subtitles inside a video": f"{mega(text.MAX_FILE_BYTES)} MB; {mega(subtitle_tracks._MAX_BYTES)} MB",
    "subtitles of a video": f"{transcripts.MAX_CUES:,} cues",
    "office document": f"{zip_package.MAX_MEMBERS:,} parts, {mega(zip_package.MAX_XML_BYTES)} MB of XML in one, "
    f"{office.MAX_IMAGES:,} images of {mega(office._MAX_IMAGE_BYTES)} MB, {office_text.MAX_CELLS:,} cells",
    "annotations of a PDF page": f"{pdf_annotations._MAX_ANNOTATIONS:,}",
    "id": f"{rows.MAX_ID_BYTES} bytes",
    "results of a tool": f"{arguments.MAX_K}",
    "text argument of a tool: question, phrase, id, path, URL, text in a filter": f"{limits.MAX_CHARACTERS:,} "
    f"characters; {limits.MAX_LABEL_CHARACTERS:,} of a label, {limits.MAX_KEY_CHARACTERS} of a key",
    "image argument of a tool, before it is decoded": f"{limits.MAX_IMAGE_CHARACTERS:,} characters",
    "list of a tool call: ids, labels, values of a filter": f"{limits.MAX_ITEMS}",
    "conditions in a mapping; depth and text of a filter, of a tool call": f"{limits.MAX_KEYS}; {limits.MAX_DEPTH}; "
    f"{limits.MAX_FILTER_CHARACTERS:,} characters",
    "conditions and values of a filter, from a program": f"{filters.MAX_VALUES:,}",
    "values of a tool call in all": f"{limits.MAX_VALUES}",
    "number of a tool call": f"finite; {limits.MAX_BITS} bits",
    "claims of an answer that are verified; chunks; comparisons of claims with images": f"{verify.MAX_CLAIMS}; "
    f"{verify.MAX_EVIDENCE}; {verify.MAX_COMPARISONS}",
    "text of one result for a model": f"{formatting.MAX_CHARACTERS} characters",
    "text of one result for `ask --llm`": f"{LLMConfig().max_characters:,} characters",
    "name in a prompt; description or line of OCR text; link of a video": f"{MAX_QUOTED}; {formatting.MAX_CHARACTERS}; "
    f"{find_video_moment.MAX_LINK:,} characters",
    "error message to an agent": f"{base.MAX_ERROR} characters",
    "images of a tool result": f"{budget.max_images} images, {mega(budget.max_pixels)} megapixels, "
    f"{budget.max_tokens:,} tokens",
    "depth of JSON metadata; of a filter": f"{_MAX_DEPTH}; {filters._MAX_DEPTH}",
    "sidecar file in a tar": f"{mega(tars._MAX_SIDECAR_BYTES)} MB",
    "file, header and members of a tar": f"{tars._MAX_FILE_BYTES / 1e9:g} GB, {tars._MAX_HEADER_BYTES >> 10} kB, "
    f"{tars._MAX_MEMBERS:,}",
    "listing a tar or table": f"{listing.seconds:g} s, and {1e6 / discovery._BYTES_PER_S:g} s for each MB of its size, "
    f"{ {10: 'ten'}[limited._REMOTE_FACTOR] } times as long at a URL; {listing.memory_bytes / 1e9:g} GB of memory",
    "listing a folder at a URL of fsspec": f"{transfer.total_s / 60:g} min",
    "rows of a table in memory": f"{tables._Part('arrow', '', None, 0)._recent.maxlen} times {tables._BATCH_ROWS}",
    "trying the templates, and the tokenizers, of a model": f"{templates.seconds:g} s and "
    f"{templates.memory_bytes >> 20:,} MB; {tokenizers.seconds:g} s and {tokenizers.memory_bytes >> 20:,} MB",
    "settings, texts and vocabularies, header of the weights of a model": f"{registry._MAX_SETTINGS_BYTES >> 20} MB; "
    f"{model_folder._MAX_TEXT_BYTES >> 20} MB; {model_folder._MAX_HEADER_BYTES >> 20} MB",
    "JSON file, and line of a CSV or JSON Lines file, of a data set": f"{dataset_io._MAX_JSON_BYTES / 1e9:g} GB; "
    f"{dataset_io._MAX_LINE_CHARS:,} characters",
}


@pytest.mark.parametrize("what", sorted(TABLE.keys() | EXPECTED.keys()))
def test_the_table_has_the_number_of_the_code(what):
    if what == "image of an item at a path":
        assert TABLE[what] == "as a file of an index run"
    else:
        assert TABLE[what] == EXPECTED[what]


@pytest.mark.parametrize("name", [name for name in vars(limits) if name.startswith("MAX_")])
def test_each_limit_of_the_tools_is_in_the_table(name):
    assert f"limits.{name}" in inspect.getsource(inspect.getmodule(test_each_limit_of_the_tools_is_in_the_table))


def test_the_command_line_has_the_same_defaults():
    assert IndexingCommand.file_timeout == run.file_timeout_s
    assert IndexingCommand.memory_budget == run.memory_budget_mb
