"""Search latency and ingestion speed of the plug-ins, compared with pymilvus and with other packages.

    python benchmarks/plugins.py --json plugins.json
    python benchmarks/plugins.py --photos 60 --large 8 --rows 1000      # in two minutes

Search: our retrievers over an index of Milvus Lite are compared with pymilvus over a database of the same rows in the
same process, with one embedding of the text. There, Milvus Lite searches as it does without this package (see
`index/lite/search.py`), behind gRPC. Similarity search runs one search in both. Hybrid search, our default, runs three,
for images, passages and terms; it is compared with three searches of pymilvus.

Adding: photo files are added to a vector store with a ViT-B/32 of random weights, and compared with LangChain's
OpenCLIP embedder with langchain-milvus, and LlamaIndex's CLIP embedder with its Milvus store. Their stores need another
pymilvus and run in virtual environments that this script creates. Their embedders need torchvision; replacements make
the same calls for each image on the same weights (benchmarks/plugin_peers.py).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from statistics import median
from typing import Annotated, Any
from unittest.mock import patch

import numpy as np
import torch
import typer
from milvus_lite.engine import collection as lite
from photo_files import LARGE, SMALL, save_clip, save_photos
from pymilvus import DataType, Function, FunctionType, MilvusClient
from transformers import CLIPModel

from florence_rag import FlorenceRAG
from florence_rag.embedding.base import embed_queries, unit_rows
from florence_rag.embedding.sentence_transformers import SentenceTransformerEmbedder
from florence_rag.models.registry import TINY
from florence_rag.types import Chunk, Source
from langchain_florence import FlorenceEmbeddings, FlorenceVectorStore
from langchain_florence import FlorenceRetriever as DocumentRetriever
from llama_index_florence import FlorenceRetriever as NodeRetriever

Add = Callable[[list[str]], float]
"""Adds files to a store, and returns the seconds."""

K = 5
COLORS, THINGS = ("red", "blue", "green", "white"), ("car", "bus", "dog", "tree")
QUERIES = [f"a {color} {thing}" for color in COLORS for thing in THINGS]
WORDS = [*COLORS, *THINGS, *(f"word{number}" for number in range(200))]
LITE_SEARCHES = lite.execute_search_with_index, lite.Collection._search_sparse
LITE = "milvus-lite==3.2.2"
PEERS = {
    "langchain": ("langchain-milvus==0.3.3", "pymilvus==2.6.6", LITE),  # With 2.6.17 it finds no connection.
    "llama_index": ("llama-index-vector-stores-milvus==1.2.0", LITE),
}
NAMES = {
    "langchain": "LangChain (OpenCLIP-like, langchain-milvus)",
    "llama_index": "LlamaIndex (CLIP-like, its Milvus store)",
}
ROUND = 100
"""Photos per turn of each method."""


# Searching


def fill(rag: FlorenceRAG, rows: int) -> None:
    """Add images with random vectors and without files, one in five with text, and a fifth as many passages."""
    random = np.random.default_rng(0)
    for number in range(rows):
        kind = "text" if number % 6 == 5 else "image"
        source = Source(f"/album/{number}.{'txt' if kind == 'text' else 'jpg'}", kind, 1, 1, f"{number}")
        words = " ".join(random.choice(WORDS, random.integers(5, 30))) if kind == "text" or number % 5 == 0 else ""
        vector = unit_rows(random.standard_normal((1, rag.models.embedder.info.dimension)).astype(np.float32))
        rag.index.begin(source)
        rag.index.add([Chunk(source, kind, text=words, metadata={"width": 640, "height": 480})], vector)
        rag.index.complete(source)
    rag.index.flush()


@contextmanager
def bare_client(rag: FlorenceRAG, db: Path) -> Iterator[MilvusClient]:
    """Open a database with the same rows that pymilvus creates."""
    hits = sorted(rag.index.find(), key=lambda hit: hit.id)
    vectors = rag.index.vectors([hit.id for hit in hits])
    client = MilvusClient(uri=str(db))
    schema = client.create_schema()
    schema.add_field("id", DataType.VARCHAR, max_length=64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=vectors.shape[1])
    for field in ("source", "kind", "caption"):
        schema.add_field(field, DataType.VARCHAR, max_length=1000)
    schema.add_field("text", DataType.VARCHAR, max_length=1000, enable_analyzer=True)
    schema.add_field("metadata", DataType.JSON)
    schema.add_field("bm25", DataType.SPARSE_FLOAT_VECTOR)
    schema.add_function(Function("bm25", FunctionType.BM25, ["text"], ["bm25"]))
    indexes = client.prepare_index_params()
    indexes.add_index("vector", index_type="FLAT", metric_type="COSINE")
    indexes.add_index("bm25", index_type="SPARSE_INVERTED_INDEX", metric_type="BM25")
    client.create_collection("album", schema=schema, index_params=indexes)
    for start in range(0, len(hits), 1000):
        some = zip(hits[start : start + 1000], vectors[start : start + 1000].tolist(), strict=True)
        client.insert("album", [bare_row(hit, vector) for hit, vector in some])
    client.flush("album")
    client.load_collection("album")
    yield client
    client.close()


def bare_row(hit: Any, vector: list[float]) -> dict[str, Any]:
    """Return the row that pymilvus stores for a hit."""
    row = {name: getattr(hit, name) for name in ("id", "source", "kind", "text", "caption")}
    return {**row, "vector": vector, "metadata": dict(hit.metadata)}


@contextmanager
def lite_alone() -> Iterator[None]:
    """Let Milvus Lite search as it does without this package."""
    with (
        patch.object(lite, "execute_search_with_index", LITE_SEARCHES[0]),
        patch.object(lite.Collection, "_search_sparse", LITE_SEARCHES[1]),
    ):
        yield


def bare_search(client: MilvusClient, query: Any, limit: int, kinds: str = "", field: str = "vector") -> Any:
    """Return what pymilvus finds; a query by the field `bm25` is a text."""
    fields = ["source", "kind", "text", "caption", "metadata"]
    with lite_alone():
        (hits,) = client.search("album", [query], filter=kinds, limit=limit, output_fields=fields, anns_field=field)
    return [{"score": hit["distance"], **hit["entity"]} for hit in hits]  # pymilvus decodes what is read


def three_bare_searches(client: MilvusClient, text: str, vector: Any, limit: int) -> Any:
    """Return what pymilvus finds among images, among passages and by terms, as our hybrid search."""
    images, passages = 'kind in ["image", "page", "clip"]', 'kind == "text"'
    by_vector = [bare_search(client, vector, limit, kinds) for kinds in (images, passages)]
    return *by_vector, bare_search(client, text, limit, "", "bm25")


def bare_searches(rag: FlorenceRAG, client: MilvusClient) -> dict[str, Callable[[str], Any]]:
    """Return searches with one embedding of the text, and one search or three."""
    depth = rag.retriever.config.candidates_per_branch

    def embed(text: str) -> Any:
        return embed_queries(rag.models.embedder, [text])[0].tolist()

    def once(text: str) -> Any:
        return bare_search(client, embed(text), K)

    def thrice(text: str) -> Any:
        return three_bare_searches(client, text, embed(text), depth)

    return {"pymilvus, one search": once, "pymilvus, three searches": thrice}


def latencies(rows: int, rounds: int, folder: Path) -> list[dict[str, Any]]:
    """Return the median milliseconds of each method, and the ratio to pymilvus with as many searches."""
    with FlorenceRAG.open(folder / "ours.db", TINY, ocr="never") as rag:
        fill(rag, rows)
        with bare_client(rag, folder / "bare.db") as client:
            bare = bare_searches(rag, client)
            once, thrice = bare
            ways: dict[str, tuple[Callable[[str], Any], str]] = {
                **{name: (search, name) for name, search in bare.items()},
                "LangChain retriever, similarity": (similarity(rag).invoke, once),
                "LangChain vector store": (FlorenceVectorStore(rag).similarity_search, once),
                "LangChain retriever, hybrid": (DocumentRetriever(rag=rag, k=K).invoke, thrice),
                "LlamaIndex retriever, hybrid": (NodeRetriever(rag, k=K, images=False).retrieve, thrice),
            }
            times: dict[str, list[float]] = {name: [] for name in ways}
            turns = Random(0)
            for text in QUERIES * rounds:
                for name in turns.sample(
                    list(ways), len(ways)
                ):  # A search profits from data that the previous one has read.
                    search, _ = ways[name]
                    started = time.perf_counter()
                    search(text)
                    times[name].append(1000 * (time.perf_counter() - started))
            middle = {name: median(each) for name, each in times.items()}
            return [
                {
                    "way": name,
                    "ms": round(middle[name], 2),
                    "compared_with": baseline,
                    "ratio": round(middle[name] / middle[baseline], 2),
                }
                for name, (_, baseline) in ways.items()
            ]


def similarity(rag: FlorenceRAG) -> DocumentRetriever:
    """Return the retriever that searches once."""
    return DocumentRetriever(rag=rag, k=K, search_type="similarity")


# Adding


@contextmanager
def our_adding(weights: Path, folder: Path) -> Iterator[Add]:
    """Add through our vector store for LangChain, which LlamaIndex uses, too."""
    embedder = SentenceTransformerEmbedder.from_pretrained(weights, name="clip")
    with FlorenceVectorStore.open(folder / "ours-photos.db", FlorenceEmbeddings(embedder=embedder)) as store:

        def add(paths: list[str]) -> float:
            started = time.perf_counter()
            store.add_images(paths, ids=paths)
            return time.perf_counter() - started

        yield add


@contextmanager
def forward_only(weights: Path) -> Iterator[Add]:
    """Run the forward pass alone in batches of 32 on pixels in memory: an upper bound for every store."""
    model = CLIPModel.from_pretrained(weights, dtype=torch.float32, local_files_only=True).eval()

    def add(paths: list[str]) -> float:
        pixels = torch.randn(32, 3, 224, 224)
        started = time.perf_counter()
        with torch.inference_mode():
            for start in range(0, len(paths), 32):
                model.get_image_features(pixel_values=pixels[: len(paths) - start])
        return time.perf_counter() - started

    yield add


@contextmanager
def peer_adding(name: str, weights: Path, environment: Path) -> Iterator[Add]:
    """Add through another package, in a process of its environment."""
    here = next(path for path in sys.path if Path(path, "torch").is_dir())
    worker = Path(__file__).with_name("plugin_peers.py")
    command = [str(environment / "bin" / "python"), str(worker), here, name, str(weights), str(torch.get_num_threads())]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout
        stdin, stdout = process.stdin, process.stdout

        def add(paths: list[str]) -> float:
            print(json.dumps(paths), file=stdin, flush=True)
            return float(json.loads(stdout.readline()))

        if stdout.readline().strip() != '"ready"':
            raise typer.BadParameter(
                f"the environment of {name} in {environment} does not work; delete it, or --no-peers"
            )
        yield add
        stdin.close()


def create_environment(name: str, folder: Path) -> Path | None:
    """Return a virtual environment with another package, created if needed; None if it cannot be installed."""
    environment = folder / name
    if not (environment / "bin" / "pip").exists():
        venv.create(environment, with_pip=True)
    done = subprocess.run([environment / "bin" / "pip", "install", "-q", *PEERS[name]], capture_output=True, text=True)
    if done.returncode:
        print(f"without {name}: {PEERS[name][0]} cannot be installed here\n{done.stderr.strip()[-300:]}")
        return None
    return environment


def adding(photos: int, large: int, peers: Path | None, folder: Path) -> list[dict[str, Any]]:
    """Return images per second of each method and size, measured in turns, and our speed relative to each."""
    plain, ours = save_clip(folder)
    with ExitStack() as stack:
        ways = {
            "forward pass alone": stack.enter_context(forward_only(plain)),
            "ours": stack.enter_context(our_adding(ours, folder)),
        }
        for name in PEERS if peers else ():
            if environment := create_environment(name, peers or folder):
                ways[NAMES[name]] = stack.enter_context(peer_adding(name, plain, environment))
        results = []
        for size, count in ((SMALL, photos), (LARGE, large)):
            paths = save_photos(folder / f"{size[0]}", count, size)
            rates = measured(ways, paths)
            fields = {"size": f"{size[0]}x{size[1]}", "photos": count}
            results += [
                {"way": name, **fields, "images_per_s": round(rate, 2), "ours_times": round(rates["ours"] / rate, 2)}
                for name, rate in rates.items()
            ]
        return results


def measured(ways: dict[str, Add], paths: Sequence[str]) -> dict[str, float]:
    """Return images per second; the first photo is a warm-up."""
    seconds = dict.fromkeys(ways, 0.0)
    for add in ways.values():
        add(list(paths[:1]))
    rest = paths[1:]
    for start in range(0, len(rest), ROUND):
        for name, add in ways.items():
            seconds[name] += add(list(rest[start : start + ROUND]))
    return {name: len(rest) / taken for name, taken in seconds.items()}


def show(latency: Sequence[dict[str, Any]], rates: Sequence[dict[str, Any]]) -> None:
    """Print two tables."""
    for row in latency:
        print(f"{row['way']:34} {row['ms']:8.2f} ms   {row['ratio']:5.2f} of {row['compared_with']}")
    for row in rates:
        rate = f"{row['images_per_s']:7.2f} images/s   ours is {row['ours_times']:5.2f} times"
        print(f"{row['size']:10} {row['way']:45} {rate}")


def main(
    rows: Annotated[int, typer.Option(min=100, help="Rows of the searched index.")] = 5000,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of 16 queries.")] = 10,
    photos: Annotated[int, typer.Option(min=2, help="Photos of 640x480.")] = 500,
    large: Annotated[int, typer.Option(min=2, help="Photos of 12 megapixels.")] = 40,
    environments: Annotated[
        Path | None, typer.Option(help="Keep the environments of the other packages in this folder.")
    ] = None,
    peers: Annotated[bool, typer.Option(help="Whether to measure other packages.")] = True,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the metrics here.")] = None,
) -> None:
    """Measure search and adding, and print two tables."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        latency = latencies(rows, rounds, folder)
        rates = adding(photos, large, (environments or folder / "environments") if peers else None, folder)
    print(f"{rows} rows, k {K}, {torch.get_num_threads()} threads of torch")
    show(latency, rates)
    if json_file:
        json_file.write_text(json.dumps({"latency": latency, "adding": rates}, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
