"""The keyword arguments of FlorenceRAG and of FlorenceRAG.open."""

from pathlib import Path
from typing import TypedDict

from florence_rag.answering.llm import LLMConfig
from florence_rag.answering.vqa_answerer import AnsweringConfig
from florence_rag.chunking import ChunkingConfig
from florence_rag.ingest.engine import IngestConfig
from florence_rag.ingest.read_stage import OCRMode
from florence_rag.loading.database import Database, DatabaseOptions
from florence_rag.retrieval.config import RetrievalConfig


class CommonSettings(TypedDict, total=False):
    """Keyword arguments of both `FlorenceRAG` and `FlorenceRAG.open`.

    Attributes:
        images: A folder for images that are stored without a file. `open` uses one next to the file of the database.
        ocr: When to read the text in images: "always", "never", or "auto", in images and scanned parts of pages.
        chunking: How files are split into chunks.
        cache_answers: Whether `ask` stores answers about images and reuses them, unless a call says otherwise.
        ingest: How many files and batches are processed at a time, and the limits of a file.
        retrieval: How the branches of a search are weighted, and what is judged again.
        answering: How evidence is weighed.
        llm: What a chat model is sent.
    """

    images: str | Path | None
    ocr: OCRMode
    chunking: ChunkingConfig | None
    cache_answers: bool
    ingest: IngestConfig | None
    retrieval: RetrievalConfig | None
    answering: AnsweringConfig | None
    llm: LLMConfig | None


class Settings(CommonSettings, total=False):
    """Keyword arguments of `FlorenceRAG`, in addition to those of `CommonSettings`.

    Attributes:
        classifiers: A folder for trained classifiers.
        index_regions: Whether the objects that the detector finds are indexed next to their images.
    """

    classifiers: Path | None
    index_regions: bool


class OpenSettings(CommonSettings, DatabaseOptions, total=False):
    """Keyword arguments of `FlorenceRAG.open`: those of `CommonSettings` and of `DatabaseOptions`."""


def settings_of(options: OpenSettings, database: Database) -> Settings:
    """Return the settings of an object whose database was opened with these options."""
    return {
        "images": options.get("images") or database.image_folder,
        "classifiers": database.classifier_folder,
        "ocr": options.get("ocr", "auto"),
        "index_regions": options.get("detector") is not None,
        "ingest": options.get("ingest"),
        "chunking": options.get("chunking"),
        "cache_answers": options.get("cache_answers", False),
        "retrieval": options.get("retrieval"),
        "answering": options.get("answering"),
        "llm": options.get("llm"),
    }
