from collections.abc import Callable, Iterator

import pytest

from florence_rag.embedding.azure_client import AzureVisionClient
from tests.embedding.azure_server import KEY, FakeAzure, FakeTime


@pytest.fixture
def service(monkeypatch) -> Iterator[FakeAzure]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with FakeAzure() as fake:
        yield fake


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


@pytest.fixture
def connect(service, time) -> Iterator[Callable[..., AzureVisionClient]]:
    """Return a function of options of the client."""
    clients: list[AzureVisionClient] = []

    def make(**options) -> AzureVisionClient:
        login = {} if "token" in options else {"key": KEY}
        clients.append(
            AzureVisionClient(service.endpoint, **{"requests_per_s": 1e6, "clock": time.clock()} | login | options)
        )
        return clients[-1]

    yield make
    for client in clients:
        client.close()
