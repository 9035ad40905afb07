"""Worker of benchmarks/plugins.py in another environment: adds images through the Milvus stores of other packages.

The image embedders of LangChain and LlamaIndex need torchvision, which has no CPU wheels on many machines.
`OpenClipLike` and `ClipLike` replace them: they make the same calls for each image, one at a time, on the weights of
our own store.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.append(sys.argv[1])  # After the packages of this environment; it holds torch, transformers and Pillow.

import numpy as np
import torch
from PIL import Image
from transformers import CLIPModel

MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
DEVIATION = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]
SIDE_PX = 224


def preprocess(image: Image.Image) -> torch.Tensor:
    """Return (3, 224, 224) as CLIP's torchvision transforms do: resize the shorter side, crop the center, normalize."""
    factor = SIDE_PX / min(image.size)
    width, height = (round(side * factor) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - SIDE_PX) // 2, (height - SIDE_PX) // 2
    image = image.crop((left, top, left + SIDE_PX, top + SIDE_PX)).convert("RGB")
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
    return (pixels - MEAN) / DEVIATION


def encode(model: CLIPModel, pixels: torch.Tensor) -> torch.Tensor:
    """Return the features of the model, (N, D)."""
    features: Any = model.get_image_features(pixel_values=pixels)
    return getattr(features, "pooler_output", features)


class OpenClipLike:
    """langchain_experimental's OpenCLIPEmbeddings.embed_image: a forward for each image, gradients on."""

    def __init__(self, model: CLIPModel) -> None:
        self.model = model

    def embed_image(self, paths: list[str]) -> list[list[float]]:
        rows = []
        for path in paths:
            features = encode(self.model, preprocess(Image.open(path)).unsqueeze(0))
            normed = features / features.norm(dim=-1, keepdim=True)
            rows.append(normed.squeeze(0).tolist())
        return rows

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        raise NotImplementedError


def through_langchain(model: CLIPModel, folder: Path) -> Callable[[list[str]], Any]:
    """Return a function that embeds images and stores the vectors with langchain_milvus."""
    from langchain_milvus import Milvus

    embedder = OpenClipLike(model)
    store = Milvus(embedder, connection_args={"uri": str(folder / "langchain.db")}, auto_id=False)

    def add(paths: list[str]) -> None:
        metadatas = [{"source": path} for path in paths]
        store.add_embeddings([""] * len(paths), embedder.embed_image(paths), metadatas, ids=paths)

    return add


def through_llama_index(model: CLIPModel, folder: Path) -> Callable[[list[str]], Any]:
    """Return a function that embeds a batch and stores its nodes, as MultiModalVectorStoreIndex does."""
    from llama_index.core.embeddings.multi_modal_base import MultiModalEmbedding
    from llama_index.core.schema import ImageNode
    from llama_index.vector_stores.milvus import MilvusVectorStore

    class ClipLike(MultiModalEmbedding):
        """llama_index.embeddings.clip's ClipEmbedding: a batch is one image after another."""

        def _get_image_embedding(self, path: Any) -> list[float]:
            with torch.no_grad():
                return encode(model, preprocess(Image.open(path)).unsqueeze(0)).tolist()[0]

        async def _aget_image_embedding(self, path: Any) -> list[float]:
            return self._get_image_embedding(path)

        def _get_text_embedding(self, text: str) -> list[float]:
            raise NotImplementedError

        _get_query_embedding = _get_text_embedding

        async def _aget_query_embedding(self, query: str) -> list[float]:
            raise NotImplementedError

    embedder = ClipLike(embed_batch_size=10)
    dimension = model.config.projection_dim
    store = MilvusVectorStore(uri=str(folder / "llama_index.db"), dim=dimension, similarity_metric="COSINE")

    def add(paths: list[str]) -> None:
        vectors = embedder.get_image_embedding_batch(paths)
        nodes = [ImageNode(id_=path, image_path=path, text=" ") for path in paths]
        store.add([node.model_copy(update={"embedding": row}) for node, row in zip(nodes, vectors, strict=True)])

    return add


PEERS = {"langchain": through_langchain, "llama_index": through_llama_index}


def main() -> None:
    """Answer each line of paths with the seconds to add them, as JSON, until the input ends."""
    torch.set_num_threads(int(sys.argv[4]))
    model = CLIPModel.from_pretrained(sys.argv[3], dtype=torch.float32, local_files_only=True).eval()
    with tempfile.TemporaryDirectory() as folder:
        add = PEERS[sys.argv[2]](model, Path(folder))
        print(json.dumps("ready"), flush=True)
        for line in sys.stdin:
            started = time.perf_counter()
            add(json.loads(line))
            print(json.dumps(time.perf_counter() - started), flush=True)


if __name__ == "__main__":
    main()
