"""Vectors of texts that have nothing to do with a query, with which it is compared.

They are kept on this machine: otherwise each command would embed them again, which takes seconds with large models and
costs money with services.
"""

import base64
from contextlib import suppress

import numpy as np

from florence_rag.embedding.base import TextEmbedder, embed_queries
from florence_rag.models.state_cache import StateCache

EVERYDAY_TEXTS = (
    "a dog running on grass|a city street at night|a plate of food on a table|two people talking|a red car|"
    "a portrait of a woman|mountains and a lake|a document with text|a chart of numbers|"
    "a building with windows|a child playing|a cat sleeping on a sofa|a ship at sea|a forest in autumn|"
    "a crowd at a concert|a computer on a desk|a train at a station|an old book|a football match|"
    "flowers in a garden|a kitchen|an airplane in the sky|a blue shirt|a map of a country|a smiling man|"
    "snow on a road|a bottle of wine|a horse in a field|a bridge over a river|a bedroom with a bed|"
    "a sign with words|birds in a tree"
).split("|")

_remembered = StateCache("everyday_texts.json")


def embed_everyday_texts(embedder: TextEmbedder) -> np.ndarray:
    """Embed EVERYDAY_TEXTS as queries, (N, D) float32 of unit length, once for each embedder on this machine."""
    info = embedder.info
    key = f"{info.fingerprint} {info.preprocessing} {info.dimension}"
    with suppress(ValueError):  # a damaged record
        kept = base64.b64decode(_remembered.read().get(key, ""), validate=True)
        return np.frombuffer(kept, "<f4").reshape(len(EVERYDAY_TEXTS), info.dimension)
    vectors = embed_queries(embedder, EVERYDAY_TEXTS)
    _remembered.add({key: base64.b64encode(vectors.astype("<f4").tobytes()).decode()})
    return vectors
