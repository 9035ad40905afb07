import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from florence_rag.index.base import ChunkIndex
from florence_rag.index.milvus import MilvusIndex


def test_it_is_a_chunk_index(index):
    assert isinstance(index, ChunkIndex)


@pytest.mark.lite
def test_info_counts_complete_sources(db, index, street, embedder, source, chunks, unit):
    index.fail("/broken.jpg", "truncated")
    index.begin(source("/half.txt"))
    index.add(chunks(source("/half.txt"), 3), unit(3))
    info = index.info()
    assert info.chunks == {"clip": 1, "image": 1, "page": 1, "text": 1}
    assert (info.sources, info.failures, info.incomplete) == (3, 1, ())
    assert (info.uri, info.collection, info.index_type, info.embedder) == (db, "florence", "FLAT", embedder)
    assert info.server_version.startswith("milvus_lite-")
    json.dumps(info.to_dict())


def test_a_reopened_index_has_all_its_contents(open_index, street, index):
    query = (4 * np.eye(8)[0] + 3 * np.eye(8)[1]) / 5
    before = index.search_vector(query, 4), index.search_bm25("car", 4), index.sources(), index.info()
    index.close()
    again = open_index(create=False)
    assert (
        again.search_vector(query, 4),
        again.search_bm25("car", 4),
        again.sources(),
        again.info(),
    ) == before


@pytest.mark.needs("bm25")
def test_a_fresh_process_loads_before_it_searches(db, index, street):
    index.close()
    script = f"""
import sys
sys.path[:0] = {sys.path!r}
from florence_rag.index.milvus import MilvusIndex
embedder = MilvusIndex.recorded_embedders({db!r})[0]
with MilvusIndex.open({db!r}, embedder, create=False) as index:
    print(index.search_bm25("hydrant", 1)[0].source)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("/p/car.jpg\n", "")


def test_importing_the_package_and_the_protocol_loads_no_milvus():
    script = (
        "import sys, florence_rag.index.base; print(sorted({'pymilvus', 'milvus_lite', 'grpc'} & set(sys.modules)))"
    )
    path = f"import sys; sys.path[:0] = {sys.path!r}; "
    done = subprocess.run([sys.executable, "-c", path + script], capture_output=True, text=True, timeout=120)
    assert done.stdout == "[]\n"


def test_leaving_the_block_closes(db, embedder):
    with MilvusIndex.open(db, embedder) as index:
        pass
    assert not index.chunks.connection.is_usable


@pytest.mark.parametrize(("version", "is_named"), [("v2.3.5-lite", True), ("v2.6.4", False)])
def test_an_index_type_that_misses_filtered_hits_is_named(index, monkeypatch, version, is_named):
    monkeypatch.setattr(index.chunks.connection, "version", version)
    lossy = MilvusIndex(replace(index.chunks, index_type="IVF_PQ"))
    assert ("IVF_PQ of Milvus" in lossy.info().advice) == is_named
