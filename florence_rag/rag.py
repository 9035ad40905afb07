"""FlorenceRAG, the facade of the package: every method delegates to one of the parts below."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from threading import Event
from typing import Unpack

from florence_rag.answering.llm import ChatModel
from florence_rag.chat.session import Chat, ChatOptions
from florence_rag.chunking import ImageInput
from florence_rag.context import Context, Models
from florence_rag.embedding.base import Embedder
from florence_rag.errors import check_keywords
from florence_rag.image_store import ImageStore
from florence_rag.index.base import ChunkIndex, Filter, IndexInfo
from florence_rag.index_report import IndexReport
from florence_rag.ingest.file_ingestor import FileIngestor, RunOptions
from florence_rag.ingest.hf_dataset import Dataset, dataset_to_tar
from florence_rag.ingest.items import ItemStore
from florence_rag.loading.database import open_database
from florence_rag.perception.base import Detection, VQAResult
from florence_rag.reembed import Reembedding, ReembedOptions
from florence_rag.retrieval.query import Query, to_query
from florence_rag.retrieval.retriever import Retriever
from florence_rag.settings import OpenSettings, Settings, settings_of
from florence_rag.sources.io import Columns
from florence_rag.tasks.ask import QuestionAnswering
from florence_rag.tasks.classify import Classification, Classifiers, classify_images
from florence_rag.tasks.describe import Descriptions, describe_images
from florence_rag.tasks.domain_notice import DomainNotice
from florence_rag.tasks.query_items import Item
from florence_rag.tasks.recommend import RecommendOptions, recommend
from florence_rag.tasks.segment import segment_image
from florence_rag.tasks.tag import TagReport, set_tags, tag_images
from florence_rag.tasks.verify import verify
from florence_rag.text_arguments import check_texts
from florence_rag.types import Answer, CheckedClaim, Frame, Hit, Kind
from florence_rag.validation import validate_arguments
from florence_rag.viz.notebook import progress_in_notebook, show_in_notebook


@validate_arguments
class FlorenceRAG:
    """Indexes files, searches them, and answers questions about them.

    Use `open` to open a database by name; use the constructor to combine parts of your own. Several threads may search,
    ask and store items at once, also while one thread adds files. One thread at a time adds files.

    Args:
        index: Stores the chunks and their vectors.
        models: The models, or only the embedder.
        **settings: See `Settings`.

    Attributes:
        context: The index, the models and the image store, which all parts share.
        index: The index.
        models: The models. Assign a field to replace a model everywhere.
        items: Stores, replaces and deletes single texts, images and chunks.
        retriever: Searches by vector, and by maximal marginal relevance.
        classifiers: Trains classifiers, and lists those that exist.
    """

    def __init__(self, index: ChunkIndex, models: Embedder | Models, **settings: Unpack[Settings]) -> None:
        check_keywords(settings, Settings)
        models = models if isinstance(models, Models) else Models.of(models)
        self.context = context = Context(index, models, ImageStore(index, settings.get("images")), DomainNotice(models))
        self.index, self.models = index, models
        self.retriever = Retriever(context, settings.get("retrieval"))
        self.classifiers = Classifiers(models, settings.get("classifiers"), context.images.resolve)
        ocr, self._ingest = settings.get("ocr", "auto"), settings.get("ingest")
        self.items = ItemStore(context, ocr_mode=ocr, config=self._ingest)
        self._files = FileIngestor(
            context,
            ocr_mode=ocr,
            index_regions=settings.get("index_regions", False),
            chunking=settings.get("chunking"),
            config=self._ingest,
            default_progress=progress_in_notebook,
        )
        answering, llm, cached = settings.get("answering"), settings.get("llm"), settings.get("cache_answers", False)
        self._questions = QuestionAnswering(context, self.retriever, answering, llm, cached)
        show_in_notebook(self)

    @classmethod
    def open(cls, db: str | PathLike[str], model: str | None = None, **settings: Unpack[OpenSettings]) -> FlorenceRAG:
        """Open a database, or create it.

        Args:
            db: The folder of a Milvus Lite database, such as photos.db, or the URI of a Milvus server.
            model: The embedder, a name that `florence-rag models` lists; by default the one that the database records,
                or "siglip2-base" for a new database.
            **settings: The other models, how the vectors are stored, and more; see `OpenSettings`.

        Raises:
            ModelError: If a model is unknown or cannot be loaded.
            StoreError: If the database cannot be opened, or another embedder filled it.
        """
        check_keywords(settings, OpenSettings)
        database = open_database(db, model, settings)
        return cls(database.index, database.models, **settings_of(settings, database))

    def __enter__(self) -> FlorenceRAG:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Write what is buffered, and close the database; allow no further call."""
        self.index.close()

    def add(
        self,
        *paths: str | PathLike[str],
        listed: Iterable[str | PathLike[str]] = (),
        columns: Columns | None = None,
        prune: bool = False,
        retry: bool = False,
        **options: Unpack[RunOptions],
    ) -> IndexReport:
        """Index files and skip those that have not changed. An interrupted run keeps every finished file.

        Args:
            *paths: Files, folders, patterns such as "photos/**/*.jpg", URLs, WebDataset tars, Parquet tables.
            listed: More of the same; those that do not exist are reported as failures.
            columns: The columns of tables; by default they are detected.
            prune: Whether to delete files below the paths that no longer exist.
            retry: Whether to read files again that failed before and have not changed.
            **options: How the run proceeds; see `RunOptions`.

        Returns:
            The changes, and the files that could not be read.

        Raises:
            InputError: If a path does not exist, or there is nothing to index.
        """
        return self._files.add(paths, options, listed=listed, columns=columns, prune=prune, retry=retry)

    def add_dataset(
        self,
        dataset: Dataset,
        *,
        image: str | None = None,
        caption: str | None = None,
        name: str | None = None,
        **options: Unpack[RunOptions],
    ) -> IndexReport:
        """Index a dataset of Hugging Face `datasets`, whose images are copied to a tar next to the database.

        Args:
            dataset: The dataset; columns other than image and caption become metadata.
            image: The column of images; found by default.
            caption: The column of captions; found by default.
            name: The name to store it under; by default its fingerprint.
            **options: How the run proceeds; see `RunOptions`.
        """
        tar = dataset_to_tar(dataset, self.context.images.require_folder(), image, caption, name)
        return self.add(tar, prune=True, **options)

    def retry_failures(self, **options: Unpack[RunOptions]) -> IndexReport:
        """Try again to index everything that failed, and delete failures of files that no longer exist."""
        return self._files.retry(options)

    def watch(
        self, *folders: str | PathLike[str], stop: Event | None = None, **options: Unpack[RunOptions]
    ) -> Iterator[IndexReport]:
        """Keep the index current with folders; yield a report of the first run, and of each change within two seconds.

        Args:
            *folders: The folders; files that disappear are deleted from the index.
            stop: Ends the iteration when it is set.
            **options: How each run proceeds; see `RunOptions`.
        """
        return self._files.watch(folders, options, stop)

    def search(
        self,
        query: str | Query | None = None,
        *,
        image: ImageInput | None = None,
        box: Sequence[float] | None = None,
        k: int = 5,
        kinds: Collection[Kind] | None = None,
        filter: Filter | None = None,
        group: bool = True,
        min_relevance: float | None = None,
    ) -> list[Hit]:
        """Return the k best hits for a text, an image, both together, or a `Query` of weighted parts, best first.

        Args:
            query: A text, or texts, images and ids with weights.
            image: A path, a data URI, bytes, pixels, or an open file.
            box: The part of the image to use: left, top, right, bottom in [0, 1].
            k: The number of hits.
            kinds: The kinds of chunks to find: "image", "page", "clip", "text"; all by default.
            filter: Such as {"city": ["Rome", "Oslo"], "start_s": {"$gte": 3}}, or a Milvus expression.
            group: Whether the clips of a video, the regions of an image, near-duplicates and bursts are one hit each.
            min_relevance: The smallest relevance of a hit, in [0, 1]. With one, a matcher judges images, too, if the
                index has one, which costs its time.

        Raises:
            InputError: If the query, the box, k, a kind or the filter is wrong.
        """
        return self.retriever.search(to_query(query, image, box), k, kinds, filter, group, min_relevance)

    def find_moments(
        self, text: str, k: int = 5, *, filter: Filter | None = None, overlapping: bool = False
    ) -> list[Hit]:
        """Return the k clips and actions in videos that fit a text best; unless `overlapping`, without repetitions."""
        return self.retriever.find_moments(text, k, filter=filter, overlapping=overlapping)

    def recommend(
        self, like: Sequence[Item], dislike: Sequence[Item] = (), k: int = 5, **options: Unpack[RecommendOptions]
    ) -> list[Hit]:
        """Return k hits that are like some items, unlike others, and new: neither the items nor their duplicates.

        Args:
            like: Ids of chunks, files, pixels or texts.
            dislike: The same, to avoid.
            k: The number of hits.
            **options: See `RecommendOptions`.
        """
        return recommend(self.context, like, dislike, k, **options)

    def ask(
        self,
        question: str,
        *,
        k: int = 8,
        kinds: Collection[Kind] | None = None,
        filter: Filter | None = None,
        llm: str | ChatModel | None = None,
        image: ImageInput | None = None,
        cache_answers: bool | None = None,
        min_relevance: float | None = None,
        verify: bool = False,
    ) -> Answer:
        """Answer a question from the index, or about one image, with a confidence and citations.

        Args:
            question: The question.
            k: How many hits to base the answer on.
            kinds: As for `search`.
            filter: As for `search`.
            llm: A LangChain chat model or its name; by default the VQA model and quotes from passages answer.
            image: The image to ask about, instead of the index.
            cache_answers: Whether answers about images are stored and reused; by default as `open` was told.
            min_relevance: The least relevance of a hit; by default `retriever.min_relevance`.
            verify: Whether to compare what the answer states with its citations, as `verify` does.

        Raises:
            InputError: If the question, the image, k, a kind or the filter is wrong.
            ModelError: If the question needs a VQA model and there is none, or a model fails.
        """
        return self._questions.ask(question, k, kinds, filter, llm, cache_answers, min_relevance, image, verify)

    def verify(self, answer: str | Answer, evidence: Sequence[str] = (), question: str = "") -> list[CheckedClaim]:
        """Return what an answer states, and whether its citations support, contradict, or cannot judge it.

        Args:
            answer: An answer of `ask`, or any text in English.
            evidence: The ids of chunks to compare it with; by default the citations.
            question: The question, which completes a short answer such as "red".
        """
        return verify(self.context, answer, evidence, question)

    def chat(self, llm: str | ChatModel | None = None, **options: Unpack[ChatOptions]) -> Chat:
        """Begin a conversation by a LangChain chat model, its name, or without one; see `Chat` and `ChatOptions`."""
        return Chat(self.context, self.retriever, self._questions, llm, **options)

    def ask_image(self, image: ImageInput, question: str) -> VQAResult:
        """Return what the VQA model answers about one image: a file, pixels, or the id of an indexed chunk."""
        return self._questions.ask_image(image, question)

    def clear_answers(self) -> int:
        """Delete the cached answers of `ask` and `ask_image`, and return their number."""
        return self._questions.clear_cache()

    def describe(self, images: Iterable[ImageInput]) -> Descriptions:
        """Caption images: files, pixels, or ids of indexed chunks. Those that cannot be read are in the result."""
        return describe_images(self.models.require_captioner().get(), images, self.context.images.resolve)

    def segment(self, image: ImageInput, text: str) -> Detection | None:
        """Return the outlines of what a text such as "the red car" refers to in an image; None if there are none."""
        return segment_image(self.context, image, text)

    def classify(
        self,
        images: Iterable[ImageInput] | None = None,
        *,
        labels: Sequence[str] | None = None,
        probe: str | Path | None = None,
        prompts: Sequence[str] | None = None,
        filter: Filter | None = None,
    ) -> Classification:
        """Classify images by labels that are only named, or by a trained classifier.

        Args:
            images: Files, pixels or ids; by default all images of the index.
            labels: Two or more classes.
            probe: The name or the file of a classifier that `classifiers.train` saved.
            prompts: Prompt templates with {} in place of the label; by default UniCL's 81.
            filter: Which images of the index.
        """
        classifier = self.classifiers.get(labels, probe, prompts)
        return classify_images(self.context, self.classifiers, classifier, images, filter)

    def tag(
        self,
        labels: Sequence[str] | None = None,
        *,
        filter: Filter | None = None,
        threshold: float = 0.5,
        apply: bool = False,
    ) -> TagReport:
        """Tag the images that nobody has tagged, by labels and by the tags of the most similar tagged images.

        Args:
            labels: Two or more tags; by default all that people assigned.
            filter: Which images of the index.
            threshold: The lowest confidence of a tag.
            apply: Whether to write the tags into the metadata, if the confidences are calibrated.
        """
        return tag_images(self.context, labels, filter, threshold, apply)

    def set_tags(self, tags: Mapping[str, Sequence[str]]) -> None:
        """Replace the tags of chunks, by their ids."""
        set_tags(self.context, tags)

    def get(self, ids: Collection[str]) -> list[Hit]:
        """Return the stored chunks with these ids, in this order; unknown ids are skipped."""
        return self.index.get(check_texts(ids, "id"))

    def frames(self, hit: Hit) -> tuple[Frame, ...]:
        """Load the frames (H, W, 3) uint8 RGB of a hit: one of an image or page, keyframes of a clip, none of a text.

        Raises:
            MediaError: If its file is missing or broken.
        """
        return self.context.images.frames(hit)

    def reembed(self, to: str | Embedder, **options: Unpack[ReembedOptions]) -> Reembedding:
        """Begin or continue to move the index to another embedder; call `fill`, `compare` and `switch` on the result.

        Args:
            to: The embedder or its name. The index and this object use it after the switch.
            **options: See `ReembedOptions`.
        """
        return Reembedding(self.context, to, self._ingest, **options)

    def info(self) -> IndexInfo:
        """Return the contents of the database in numbers, and the models that it records."""
        return self.index.info()
