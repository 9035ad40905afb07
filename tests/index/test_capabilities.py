"""What a server can do, asked of one that answers as Milvus does."""

import pytest
from pymilvus import MilvusException

from florence_rag.errors import InputError, StoreUnavailableError
from florence_rag.index.address import Address
from florence_rag.index.capabilities import check_capabilities
from florence_rag.index.connection import Connection


class Server:
    """A client of a server without GPUs, or with."""

    def __init__(self, version="v2.6.4", error: Exception | None = None) -> None:
        self.version, self.error = version, error
        self.collections: set[str] = set()
        self.made: list[str] = []

    def get_server_version(self, timeout):
        return self.version

    def create_collection(self, name, **_):
        self.collections.add(name)
        self.made.append(name)

    def list_indexes(self, *_, **__):
        return []

    def prepare_index_params(self):
        from pymilvus import MilvusClient

        return MilvusClient.prepare_index_params()

    def create_index(self, *_, **__):
        if self.error:
            raise self.error

    def drop_collection(self, name, timeout):
        self.collections.discard(name)


NO_GPU = MilvusException(1100, "invalid parameter[expected=valid index][actual=invalid index type: GPU_CAGRA]")


def connected(server: Server) -> Connection:
    return Connection(Address.parse("http://127.0.0.1:19530"), server, None)


@pytest.mark.parametrize("name", ["gpu_cagra", "GPU_IVF_FLAT", "GPU_IVF_PQ", "GPU_BRUTE_FORCE"])
def test_a_server_without_gpus_is_told_apart_before_anything_stays_on_it(name):
    server = Server(error=NO_GPU)
    with pytest.raises(InputError, match=f"'{name}' needs a Milvus server that was built for GPUs.*use HNSW"):
        check_capabilities(connected(server), name, "fp32")
    assert len(server.made) == 1
    assert not server.collections


def test_a_server_with_gpus_is_asked_once_and_left_clean():
    server = Server()
    check_capabilities(connected(server), "GPU_CAGRA", "fp16")
    assert len(server.made) == 1
    assert not server.collections


def test_others_are_not_asked():
    server = Server(error=NO_GPU)
    check_capabilities(connected(server), "DISKANN", "fp32")
    assert not server.made


def test_the_version_speaks_before_the_server_is_asked():
    server = Server(version="2.5.1")
    with pytest.raises(InputError, match=r"needs Milvus 2\.6"):
        check_capabilities(connected(server), "IVF_RABITQ", "fp32")
    assert not server.made


def test_a_server_that_is_gone_is_no_server_without_gpus(monkeypatch):
    monkeypatch.setattr("florence_rag.index.connection.MAX_WAIT_S", 0.0)
    with pytest.raises(StoreUnavailableError):
        check_capabilities(connected(Server(error=MilvusException(2, "gone"))), "GPU_CAGRA", "fp32")
