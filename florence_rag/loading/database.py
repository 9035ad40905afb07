"""Opens a database together with the models it needs, by their names."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from os import PathLike, fspath
from pathlib import Path
from typing import Any, TypedDict

from florence_rag.context import Models
from florence_rag.errors import ModelError, StoreMismatchError
from florence_rag.index.address import Address, classifier_folder, image_folder
from florence_rag.index.base import ChunkIndex
from florence_rag.index.index_types import VectorDtype
from florence_rag.index.tenants import with_tenant
from florence_rag.loading.index_models import ModelNames, load_models
from florence_rag.loading.known_models import is_known
from florence_rag.loading.model_options import ModelOptions
from florence_rag.models.registry import ASSETS, CARDS, DEFAULT, Role, find_model, is_repository
from florence_rag.types import EmbedderInfo


class DatabaseOptions(TypedDict, total=False):
    """Keyword arguments of `FlorenceRAG.open` that say which models to load and how the vectors are stored.

    A model is a name that `florence-rag models` lists, a folder, or a Hugging Face repository "owner/name".

    Attributes:
        vqa: The model that answers questions about images.
        captioner: The model that captions images when they are indexed; "never" for none.
        detector: The model that finds objects. If it is given, the objects in images are indexed as regions.
        action_model: The model that recognizes actions in videos, which are indexed as moments.
        reranker: The model that scores the best hits of a search again.
        text_embedder: The model that embeds captions, texts and OCR text for a second vector, in a new database.
        token: The token of a Milvus server.
        collection: The Milvus collection, by default "florence".
        tenant: Whose part of the collection is opened: a name that separates its files, items, answers and tags from
            those of all others. A collection is created either for tenants or without.
        index_type: How vectors are searched, a name that `florence-rag estimate` lists. By default what the database
            has; a new one has "flat" in Milvus Lite and "hnsw" on a server.
        vector_dtype: The data type of the vectors of a new database: "fp32", or on servers "fp16" or "bf16".
        create: Whether a missing database is created; True by default.
        model_options: How models are downloaded and loaded, and the keys of services.
    """

    vqa: str | None
    captioner: str | None
    detector: str | None
    action_model: str | None
    reranker: str | None
    text_embedder: str | None
    token: str | None
    collection: str
    tenant: str | None
    index_type: str | None
    vector_dtype: VectorDtype | None
    create: bool
    model_options: ModelOptions | None


@dataclass(frozen=True, slots=True)
class Database:
    """An open index, its models, and the folders next to it, which a Milvus server does not have."""

    index: ChunkIndex
    models: Models
    image_folder: Path | None
    classifier_folder: Path | None


def open_database(uri: str | PathLike[str], model: str | None, options: DatabaseOptions) -> Database:
    """Open a database, or create it, and load its models, as `FlorenceRAG.open` says.

    Nothing is created if a model cannot be loaded. Without a model, the embedder is the one that the database records,
    as far as `check_recorded` allows, or else the default.
    """
    uri, create = fspath(uri), options.get("create", True)
    if not create and (address := Address.parse(uri)).is_missing:  # commands have checked it, programs have not
        raise address.missing_error()
    from florence_rag.index.milvus import MilvusIndex

    token, collection = options.get("token"), collection_of(options)
    if (index_type := options.get("index_type")) is not None:  # checked before a model is downloaded
        Address.parse(uri).profile.check_index_type(index_type)
    read = MilvusIndex.recorded_embedders if create else MilvusIndex.require_embedders
    names = _model_names(read(uri, token, collection), uri, model, options)
    models = load_models(names, options.get("model_options"), indexing=create)
    index = MilvusIndex.open(  # last, so that no database is created or locked if a model cannot be loaded
        uri,
        models.embedder.info,
        token=token,
        collection=collection,
        create=create,
        index_type=index_type,
        vector_dtype=options.get("vector_dtype"),
        text_embedder=models.text_embedder.info if models.text_embedder else None,
    )
    return Database(index, models, image_folder(uri, collection), classifier_folder(uri, collection))


def collection_of(options: Mapping[str, Any]) -> str:
    """Return the collection of options, or the part of it that belongs to their tenant."""
    return with_tenant(options.get("collection", "florence"), options.get("tenant"))


def check_recorded(
    name: str, uri: str, role: Role = "embed", *, argument: str = "model", advice: str = "", offline: bool = False
) -> str:
    """Return the name of a model that a database records, if it may be used without being named.

    A database may come from somebody else. So it cannot make this machine download a model, read a folder, or send
    queries to a service: what it names must be built in, have been downloaded, or be a folder that was named before.

    Args:
        name: What the database records.
        uri: The database.
        role: What the model does.
        argument: The keyword argument that names the model.
        advice: What to do if the command has no option for it.
        offline: Whether nothing is downloaded, so that a missing model is another error.

    Raises:
        ModelError: If the caller has to name the model.
    """
    if name in CARDS and Path(CARDS[name].source).is_relative_to(ASSETS):
        return name
    from florence_rag.models.downloads import is_local

    repository = name.rpartition(":")[2]
    if name in CARDS or (is_repository(repository) and not Path(repository).exists()):
        card = find_model(name, role)
        if is_local(card) or (offline and card.download_kind):
            return name
        place = "a service" if card.family == "azure" else f"{card.source}, which is not on this machine"
    elif is_known(name):
        return name
    else:
        place = "a folder or file that was not named before on this machine"
    option = f"--{argument.replace('_', '-')}"
    advice = advice or f"if you want to use it, name it: {option} {name!r:.200} or {argument}={name!r:.200}"
    raise ModelError(f"the database {uri!r} records the model {name!r:.200} ({place}); {advice}")


def _model_names(
    recorded: tuple[EmbedderInfo, EmbedderInfo | None] | None, uri: str, model: str | None, options: DatabaseOptions
) -> ModelNames:
    """Return the names of all models; the recorded embedders and the defaults of the embedder complete the options."""
    check = partial(check_recorded, uri=uri, offline=(options.get("model_options") or ModelOptions()).offline)
    embedder, text_embedder = (info.name if info else None for info in recorded or (None, None))
    card = find_model(model or (check(embedder) if embedder else DEFAULT))
    if text_embedder and not options.get("text_embedder"):
        check(text_embedder, role="embed texts", argument="text_embedder")
    # A model that is known only by its weights, such as one in a folder, is compared when the database is opened.
    if embedder and card.name != embedder and {card.name, embedder} <= CARDS.keys():
        raise StoreMismatchError(
            f"the database {uri!r} was filled by {embedder}, not by {card.name}; "
            "open it with that model, or index the files into a new database"
        )
    return ModelNames(
        card.name,
        text_embedder=options.get("text_embedder") or text_embedder,
        vqa=options.get("vqa") or card.default_vqa,
        captioner=options.get("captioner") or card.default_captioner,
        detector=options.get("detector") or card.default_detector,
        action_recognizer=options.get("action_model"),
        reranker=options.get("reranker"),
    )
