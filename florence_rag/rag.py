"""FlorenceRAG: wires the stages. Everything it does, it lets one of them do."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Unpack, cast

import numpy as np

from florence_rag.answering.base import best_index, check_question
from florence_rag.answering.llm import ChatModel, LLMAnswerer, LLMConfig
from florence_rag.answering.vqa_answerer import Answerer, AnsweringConfig
from florence_rag.chunking import ChunkingConfig, read_image
from florence_rag.context import Context, Models
from florence_rag.embedding.base import Embedder, unit_rows
from florence_rag.embedding.region_view import check_box, region_view
from florence_rag.errors import InputError
from florence_rag.image_store import ImageInput, ImageStore
from florence_rag.index.address import classifier_folder, image_folder
from florence_rag.index.base import ChunkIndex, Filter, IndexInfo, ReembeddableIndex
from florence_rag.index.rows import checked_vectors
from florence_rag.ingest.engine import Engine, IngestConfig
from florence_rag.ingest.file_ingestor import FileIngestor, IngestOptions
from florence_rag.ingest.hf_dataset import Dataset, dataset_to_tar
from florence_rag.ingest.items import ItemStore
from florence_rag.ingest.near_duplicates import NearDuplicates
from florence_rag.ingest.ocr_stage import OCRMode
from florence_rag.ingest.prefetch import Chunker
from florence_rag.ingest.run import Progress
from florence_rag.loading.database import DatabaseOptions, open_database
from florence_rag.loading.loaders import EMBEDDER
from florence_rag.loading.model_loader import load_model
from florence_rag.loading.model_options import ModelOptions
from florence_rag.perception.base import (
    Detection,
    VQAResult,
)
from florence_rag.reembed.reembedding import Reembedding
from florence_rag.retrieval.mmr import pick_diverse
from florence_rag.retrieval.moments import IMAGE_SHARE, temporal_nms
from florence_rag.retrieval.query import check_count, check_kinds, check_query
from florence_rag.retrieval.retriever import RetrievalConfig, Retriever
from florence_rag.sources.io import Columns
from florence_rag.tasks.answer_cache import AnswerCache
from florence_rag.tasks.classify import Classification, Classifying, TrainedClassifier, classify_pictures
from florence_rag.tasks.describe import Descriptions, describe_pictures
from florence_rag.tasks.recommend import Item, recommended
from florence_rag.tasks.segment import require_segmenter
from florence_rag.tasks.tag import TagReport, set_tags, tag_images
from florence_rag.types import Answer, Citation, Frame, Hit, IndexReport, Kind, middle_frame
from florence_rag.viz.jpeg import data_uri
from florence_rag.viz.thumbnails import SIDE_PX


class FlorenceRAG:
    """Index files, search them, ask them questions.

    `open` builds the parts by name; the constructor takes them, so that any of them can be another. matcher: tells
    which of several pictures a question means; vqa, if it can do that, too. detector: finds things in pictures;
    regions: whether those that it finds in images are indexed beside them. recognizer: says what happens in videos,
    which is indexed beside their clips. pictures: a folder to keep pictures in that
    are put without a file; classifiers: one for classifiers that are trained. remember: whether answers
    about pictures are remembered beside the index, under the name of vqa.

    Searching, asking and putting from several threads at once is safe, also while one thread adds files; files are
    added by one thread at a time.
    """

    def __init__(
        self,
        index: ChunkIndex,
        models: Embedder | Models,
        *,
        images: str | Path | None = None,
        classifiers: Path | None = None,
        ocr: OCRMode = "auto",
        index_regions: bool = False,
        chunking: ChunkingConfig | None = None,
        ingest: IngestConfig | None = None,
        retrieval: RetrievalConfig | None = None,
        answering: AnsweringConfig | None = None,
        llm: LLMConfig | None = None,
        cache_answers: bool = False,
    ) -> None:
        models = models if isinstance(models, Models) else Models.of(models)
        self.context = context = Context(index, models, ImageStore(index, images))
        self.index, self.models = index, models
        self.retriever = Retriever(context, retrieval)
        self._ingest = ingest
        self._answering = answering
        self._llm = llm
        self.memory = AnswerCache(context, always=cache_answers)
        self.classifying = Classifying(models, classifiers, context.images.resolve)
        self._files = FileIngestor(context, ocr_mode=ocr, index_regions=index_regions, chunking=chunking, config=ingest)
        self.items = ItemStore(context, ocr_mode=ocr, config=ingest)

    @classmethod
    def open(
        cls,
        db: str | Path,
        model: str | None = None,
        *,
        ocr: OCRMode = "auto",
        images: str | Path | None = None,
        cache_answers: bool = False,
        chunking: ChunkingConfig | None = None,
        **options: Unpack[DatabaseOptions],
    ) -> FlorenceRAG:
        """Open a database, or create it.

        Args:
            db: The file of a Milvus Lite database, or the URI of a Milvus server.
            model: The embedder: a name that `florence-rag models` lists, a folder, or a repository "owner/name". By
                default the one that the database records.
            ocr: When to read the text in images: "always", "never", or "auto", in images and in pages without text.
            images: A folder for images without a file; by default one next to the file of the database.
            cache_answers: Whether `ask` stores the answers about images and reuses them.
            chunking: How files are split into chunks.
            **options: The other models, and how the vectors are stored; see `DatabaseOptions`.

        Returns:
            The open database.

        Raises:
            ModelError: If a model is unknown or cannot be loaded.
            StoreError: If the database cannot be opened, or another embedder filled it.
        """
        database = open_database(db, model, options)
        collection = options.get("collection", "florence")
        return cls(
            database.index,
            database.models,
            ocr=ocr,
            index_regions=options.get("detector") is not None,
            images=images or image_folder(str(db), collection),
            classifiers=classifier_folder(str(db), collection),
            cache_answers=cache_answers,
            chunking=chunking,
        )

    def __enter__(self) -> FlorenceRAG:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the database, so that another process can open it."""
        self.index.close()

    def add(
        self,
        *paths: str | Path,
        listed: Iterable[str | Path] = (),
        columns: Columns | None = None,
        prune: bool = False,
        retry: bool = False,
        near_duplicates: NearDuplicates = "link",
        progress: Callable[[Progress], None] | None = None,
        engine: Callable[[Chunker], Engine] | None = None,
    ) -> IndexReport:
        """Index files, folders, patterns ("photos/**/*.jpg"), URLs, tars, tables; what has not changed is left alone.

        URLs: http, https, and what fsspec reads, such as s3. Tars: of WebDataset. Tables: Parquet, and folders that
        save_to_disk of `datasets` wrote. listed: more of all these, of which those that do not exist are failures, not
        an InputError. columns: of tables, by default those that look like pictures and captions.
        prune: also forget files below the paths that are gone. retry: try files again that could not be read and have
        not changed. near_duplicates: of pictures that look the same; "link" shows them as one hit, "drop" indexes one.
        progress: called after every step, in this thread. engine: what runs the stages, by default threads of this
        process; it must embed with the same models. A file that cannot be read is named in the report and stops
        nothing. An interrupted run leaves all finished files indexed; run it again for the rest.
        """
        how = IngestOptions(near_duplicates, progress, engine)
        return self._files.add(paths, how, listed=listed, columns=columns, prune=prune, retry=retry)

    def add_dataset(
        self,
        dataset: Dataset,
        *,
        image: str | None = None,
        caption: str | None = None,
        name: str | None = None,
        near_duplicates: NearDuplicates = "link",
        progress: Callable[[Progress], None] | None = None,
        engine: Callable[[Chunker], Engine] | None = None,
    ) -> IndexReport:
        """Index a dataset of Hugging Face `datasets`, or whatever has rows as it does.

        image, caption: the columns, by default those that look like it; the others become metadata. name: what it is
        kept under, by default its fingerprint; what was indexed of another dataset of this name is replaced. The
        pictures are copied to a tar beside the database, so that hits can be looked at when the dataset is gone.
        """
        tar = dataset_to_tar(dataset, self.context.images.require_folder(), image, caption, name)
        return self.add(tar, prune=True, near_duplicates=near_duplicates, progress=progress, engine=engine)

    def retry_failures(
        self,
        *,
        near_duplicates: NearDuplicates = "link",
        progress: Callable[[Progress], None] | None = None,
    ) -> IndexReport:
        """Try again all that could not be indexed, also what has not changed. What is gone is forgotten."""
        return self._files.retry(IngestOptions(near_duplicates, progress))

    def watch(
        self,
        *folders: str | Path,
        near_duplicates: NearDuplicates = "link",
        progress: Callable[[Progress], None] | None = None,
        stop: threading.Event | None = None,
    ) -> Iterator[IndexReport]:
        """Keep the index current with folders, until stop is set: a report of each step, in `changes` file by file.

        The first step brings the index up to date, and forgets files that are gone; then each follows a change within
        two seconds, looks at nothing but what changed, and comes as soon as it is indexed. Other threads may search
        meanwhile. InputError if a folder disappears; what was indexed of it is kept.
        """
        return self._files.watch(folders, IngestOptions(near_duplicates, progress), stop)

    def search(
        self,
        text: str | None = None,
        *,
        image: ImageInput | None = None,
        box: Sequence[float] | None = None,
        k: int = 5,
        kinds: Collection[Kind] | None = None,
        filter: Filter | None = None,
        group: bool = True,
    ) -> list[Hit]:
        """The k best hits for a text, a picture, or both together, best first.

        box: only this part of the picture, left, top, right, bottom in [0, 1]. kinds: only these. filter: {"start_s":
        {"$gte": 3}} or a Milvus expression. group: one hit per video and per image, with its other clips, or regions,
        as moments, and one for pictures that look the same or are shots of one burst.
        """
        frame = self._query_frame(image, box)
        return self.retriever.search(text, frame, k, kinds, filter, group)

    def embed_query(
        self, text: str | None = None, *, image: ImageInput | None = None, box: Sequence[float] | None = None
    ) -> np.ndarray:
        """(D,): what `search` looks for: the direction of a text, of a picture or a part of it, or of both together."""
        return self.retriever.vector(check_query(text, self._query_frame(image, box), 1, None))

    def _query_frame(self, image: ImageInput | None, box: Sequence[float] | None) -> Frame | None:
        if image is None:
            if box is not None:
                raise InputError("a box is a part of a picture: give the picture, too")
            return None
        part = None if box is None else check_box(box)
        return region_view(self.models.embedder, read_image(image), part)

    def find_moments(
        self, text: str, k: int = 5, *, filter: Filter | None = None, overlapping: bool = False
    ) -> list[Hit]:
        """The k moments of all videos that fit a text best: hits whose locator says from when to when, in seconds.

        Moments are the clips that videos are cut into and, where the index was filled with `actions`, what happens in
        them. overlapping: also those that are mostly the same time of a video as a better one.
        """
        config = self.retriever.config
        finder = Retriever(self.context, replace(config, image_weight=IMAGE_SHARE * config.image_weight))
        wanted = check_count(k) * (1 if overlapping else 4)
        hits = finder.search(text, k=wanted, kinds={"clip"}, filter=filter, group=False)
        return hits if overlapping else temporal_nms(hits, k)

    def search_mmr(
        self,
        vector: Sequence[float] | np.ndarray,
        k: int = 5,
        *,
        fetch_k: int = 20,
        relevance: float = 0.5,
        kinds: Collection[Kind] | None = None,
        filter: Filter | None = None,
    ) -> list[Hit]:
        """k of the fetch_k chunks nearest to a vector that differ from each other: maximal marginal relevance.

        relevance: from 0, as different as can be, to 1, the nearest. score: the cosine to the vector.
        """
        hits = self.search_by_vector(vector, max(k, fetch_k), kinds=kinds, filter=filter)
        vectors = self.index.vectors([hit.id for hit in hits])
        nearness = vectors @ unit_rows(np.asarray(vector)[None])[0]
        return [hits[i] for i in pick_diverse(nearness, vectors, k, relevance)]

    def search_by_vector(
        self,
        vector: Sequence[float] | np.ndarray,
        k: int = 5,
        *,
        kinds: Collection[Kind] | None = None,
        filter: Filter | None = None,
    ) -> list[Hit]:
        """The k chunks nearest to a vector (D,) of the embedder's space, of any length but 0. score: the cosine."""
        rows = unit_rows(np.asarray(vector, dtype=np.float32).reshape(1, -1))
        (row,) = checked_vectors(rows, 1, self.models.embedder.info.dimension)
        hits = self.index.search_vector(row, check_count(k), kinds=check_kinds(kinds), filter=filter)
        return [replace(hit, explanation=f"is near the given vector ({hit.score:.2f})") for hit in hits]

    def recommend(
        self,
        like: Sequence[Item],
        dislike: Sequence[Item] = (),
        k: int = 5,
        *,
        seen: Sequence[Item] = (),
        kinds: Collection[Kind] | None = None,
        filter: Filter | None = None,
        diversity: float = 0.3,
    ) -> list[Hit]:
        """k hits more like these, and less like those, best first, without what is liked, disliked or seen already.

        like, dislike, seen: ids of chunks, files, pixels or words; a text is the id that it is, or else the file that
        there is, or else words. What is of the same file as one of them, looks the same, or is a shot of the same burst
        is left out, too. diversity: from 0, the best alone, to 1, as unlike each other as can be. score: up to 1.
        """
        return recommended(self.context, like, dislike, seen, k, kinds=kinds, filter=filter, diversity=diversity)

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
    ) -> Answer:
        """Answer a question from what is indexed, with confidence and citations.

        Without llm the answer is what METER sees or what a passage says; llm, a LangChain chat model or its name, is
        given the hits as text and pictures instead. image: ask about this picture only. remember: whether what was
        asked before about the same pictures is answered from memory, where citations say so, and the rest is
        remembered; by default as the index was opened.
        """
        if image is not None:
            return self._ask_about(image, question, llm, cache_answers)
        answerer = (
            Answerer(
                self.retriever,
                *self.memory.looking(cache_answers),
                self._answering,
                matcher=self.models.matcher,
            )
            if llm is None
            else LLMAnswerer(self.retriever, _chat_model(llm), self.frames, self._llm)
        )
        return answerer.ask(question, k=check_count(k), kinds=check_kinds(kinds), filter=filter)

    def _ask_about(
        self, image: ImageInput, question: str, llm: str | ChatModel | None, cache_answers: bool | None
    ) -> Answer:
        hit, frames = self.context.images.resolve(image)
        if llm is not None:
            model = LLMAnswerer(self.retriever, _chat_model(llm), lambda _: frames, self._llm)
            answer = model.ask_about(question, [hit])
        else:
            seen = self._look(hit, frames, question, cache_answers)
            where = (hit.id, hit.kind, hit.source, hit.locator)
            citation = Citation(*where, confidence=seen.confidence, remembered=seen.remembered)
            answer = Answer(seen.answer, seen.confidence, (citation,), seen.candidates)
        return answer if hit.id else _illustrated(answer, frames[0])

    def ask_image(self, image: ImageInput, question: str) -> VQAResult:
        """What METER sees in one picture: a file, pixels, or the id of an indexed image, page or clip."""
        return self._look(*self.context.images.resolve(image), question)

    def _look(self, hit: Hit, frames: tuple[Frame, ...], question: str, cache_answers: bool | None = None) -> VQAResult:
        """Of several keyframes, the one that fits the question best is asked, or the middle one."""
        vqa, question = self.memory.looking_at(hit, frames, cache_answers), check_question(question)
        return vqa.answer(frames[best_index(frames, question, self.models.matcher)], question)

    def describe(self, images: Iterable[ImageInput]) -> Descriptions:
        """What pictures show, in words: of files, pixels, or ids of indexed images, pages and clips.

        What cannot be read is reported, and stops nothing. ModelError where no model describes.
        """
        return describe_pictures(self.models.require_captioner().get(), images, self.context.images.resolve)

    def segment(self, image: ImageInput, text: str) -> Detection | None:
        """The outlines in one picture of what words refer to, such as "the red car"; None where the model draws none.

        image: a file, pixels, or an id; of a clip the middle keyframe. The region has a box and polygons, in [0, 1] of
        the picture. ModelError where no model draws outlines, as Florence-2 does.
        """
        _, frames = self.context.images.resolve(image)
        return require_segmenter(self.models).segment(middle_frame(frames), text)

    def classify(
        self,
        images: Iterable[ImageInput] | None = None,
        *,
        labels: Sequence[str] | None = None,
        probe: str | Path | None = None,
        prompts: Sequence[str] | None = None,
        filter: Filter | None = None,
    ) -> Classification:
        """Which class each picture is of: of labels that are only named, or of those that a probe was trained on.

        images: files, pixels or ids of indexed pictures; None for all images of the index, those that fit the filter.
        labels: at least two. probe: the name of one that `train_classifier` made, or its file. prompts: sentences with
        {} in place of the label, by default UniCL's 81. A file that cannot be read is reported, and stops nothing.
        """
        classifier = self.classifying.classifier(labels, probe, prompts)
        return classify_pictures(self.context, self.classifying, classifier, images, filter)

    def tag(
        self,
        labels: Sequence[str] | None = None,
        *,
        filter: Filter | None = None,
        threshold: float = 0.5,
        apply: bool = False,
    ) -> TagReport:
        """Tag the images that nobody has tagged, by labels and by the tags of their nearest tagged neighbours.

        labels: at least two, by default all tags given by hand. threshold: below this confidence, which is calibrated
        on the images tagged by hand, an image is unsure. apply: write the tags into the metadata, where the filter
        {"metadata.tags": {"$has": "beach"}} finds them, and `tags_guessed` tells them from those given by hand. Needs
        the extra `adapters`.
        """
        return tag_images(self.context, labels, filter, threshold, apply)

    def set_tags(self, tags: Mapping[str, Sequence[str]]) -> None:
        """Tag chunks by hand, by their ids, in place of all tags they have."""
        set_tags(self.context, tags)

    def train_classifier(self, data: str | Path, name: str) -> TrainedClassifier:
        """Train a linear probe on labelled pictures, and keep it beside the index under a name.

        data: a folder with a folder of pictures for each class, or a CSV file of paths and labels. Needs the extra
        `adapters`. What cannot be read is reported; InputError for one class only.
        """
        return self.classifying.train(data, name)

    def get(self, ids: Collection[str]) -> list[Hit]:
        """The stored chunks with these ids, in their order; unknown ids are left out."""
        return self.index.get(list(ids))

    def frames(self, hit: Hit) -> tuple[Frame, ...]:
        """The pictures of a hit, read again from its file: one of an image or page, keyframes of a clip, () of text."""
        return self.context.images.frames(hit)

    def reembed(
        self,
        to: str | Embedder,
        *,
        access: ModelOptions | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> Reembedding:
        """Begin to move the index to another embedder, or go on with that: fill, compare, switch what comes back.

        Until the switch everything serves as before; from then on this object, too, uses the new embedder. What is
        left half filled stays beside the index, also for another process: go on with the same embedder, or abandon it.
        """
        index = cast("ReembeddableIndex", self.index)
        if not hasattr(index, "open_shadow"):
            raise InputError(f"{type(index).__name__} cannot hold the vectors of two embedders; index the files anew")
        embedder = load_model(EMBEDDER, to, access) if isinstance(to, str) else to
        return Reembedding(
            index, embedder, self.frames, progress=progress, config=self._ingest, switched=self._use_embedder
        )

    def _use_embedder(self, embedder: Embedder) -> None:
        self.models.embedder = embedder

    def info(self) -> IndexInfo:
        """What is in the database."""
        return self.index.info()


def _illustrated(answer: Answer, frame: Frame) -> Answer:
    """With the picture itself in its citations, as no id leads back to it."""
    thumbnail = data_uri(frame, SIDE_PX)
    return replace(answer, citations=tuple(replace(each, thumbnail=thumbnail) for each in answer.citations))


def _chat_model(llm: str | ChatModel) -> ChatModel:
    if not isinstance(llm, str):
        return llm
    from florence_rag.answering.chat_models import open_chat_model

    return open_chat_model(llm)
