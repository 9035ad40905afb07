"""The contents of the index, its media, and the jobs that change it, as a REST API."""

import re
import uuid
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Query, Request
from fastapi import Path as PathParameter
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from florence_rag.errors import InputError, mapped_write_errors
from florence_rag.ingest.contents import delete_sources, selector
from florence_rag.ingest.items import item_content
from florence_rag.server.config import allowed_path
from florence_rag.server.index_jobs import Job
from florence_rag.server.media import file_response, image_of, jpeg_response, require_chunk
from florence_rag.server.service import Service, ServiceDependency
from florence_rag.sources import MEDIA_BY_SUFFIX
from florence_rag.tools.limits import MAX_CHARACTERS, MAX_ITEMS

router = APIRouter(prefix="/api", tags=["index"])

IMAGE_PX = 1600
_UNSAFE = re.compile(r"[^\w. ()+-]+|^\.+")
MAX_NAME = 100


class Names(BaseModel):
    """Sources by their exact uris."""

    model_config = ConfigDict(extra="forbid")
    sources: list[Annotated[str, Field(max_length=MAX_CHARACTERS)]] = Field(min_length=1, max_length=MAX_ITEMS)


class JobRequest(BaseModel):
    """What to index: paths inside the folders that the server allows, and uploads by their names."""

    model_config = ConfigDict(extra="forbid")
    paths: list[Annotated[str, Field(max_length=MAX_CHARACTERS)]] = Field(default=[], max_length=MAX_ITEMS)
    uploads: list[Annotated[str, Field(max_length=MAX_CHARACTERS)]] = Field(default=[], max_length=MAX_ITEMS)
    retry: bool = Field(default=False, description="Whether to read files again that failed before.")


@router.get("/info")
async def info(service: ServiceDependency) -> dict[str, Any]:
    """Return the contents of the index in numbers, its models, and what this server allows."""

    def read() -> dict[str, Any]:
        rag, config = service.rag, service.config
        return rag.info().to_dict() | {
            "version": version("florence-rag"),
            "is_calibrated": rag.retriever.is_calibrated,
            "tools": list(service.tools),
            "read_only": config.read_only,
            "folders": [] if config.read_only else [str(folder) for folder in config.allowed_folders],
            "uploads": config.upload_folder is not None and not config.read_only,
            "max_upload_bytes": config.max_upload_mb * 1_000_000,
            "suffixes": sorted(MEDIA_BY_SUFFIX),
        }

    return await service.short(read)


@router.get("/sources")
async def list_sources(
    service: ServiceDependency,
    name: Annotated[str, Query(max_length=MAX_CHARACTERS, description="A path, a folder, a pattern or an id.")] = "",
    offset: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> dict[str, Any]:
    """List the files and items of the index, sorted, and those that failed."""

    def read() -> dict[str, Any]:
        matches = selector(name) if name else lambda uri: True
        sources = [uri for uri in service.rag.index.sources() if matches(uri)]
        failures = [asdict(each) for each in service.rag.index.failures() if matches(each.source)]
        listed = {"sources": sources[offset : offset + limit], "failed": failures[offset : offset + limit]}
        return {**listed, "sources_count": len(sources), "failed_count": len(failures)}

    return await service.short(read)


@router.post("/sources/delete")
async def delete(service: ServiceDependency, request: Names) -> dict[str, Any]:
    """Delete files and items from the index. The files themselves stay."""
    service.require_writable()

    def remove() -> int:
        index = service.rag.index
        known = {*index.sources(), *index.rejected(), *(failure.source for failure in index.failures())}
        if unknown := [uri for uri in request.sources if uri not in known]:
            raise HTTPException(404, f"the index has no source {unknown[0]!r:.200}; nothing was deleted")
        chunks = delete_sources(index, service.rag.context.images, request.sources)
        index.flush()
        return chunks

    return {"sources": len(set(request.sources)), "chunks": await service.long(remove)}


@router.get("/items/{id}")
async def item(service: ServiceDependency, id: str) -> dict[str, Any]:
    """Return a chunk by its id."""
    return (await service.short(lambda: require_chunk(service.rag, id))).to_dict()


@router.get("/items/{id}/thumbnail", response_class=Response)
async def thumbnail(
    service: ServiceDependency, id: str, side: Annotated[int, Query(ge=16, le=IMAGE_PX)] = 320, box: bool = False
) -> Response:
    """Return a small JPEG of an image, a page or a clip."""

    def draw() -> Response:
        hit = require_chunk(service.rag, id)  # also for a known thumbnail: the chunk may have been deleted
        key = (id, item_content(hit), side, box)
        return jpeg_response(service.thumbnails.get(key, lambda: image_of(service.rag, hit, side, with_box=box)), hit)

    return await service.short(draw)


@router.get("/items/{id}/image", response_class=Response)
async def image(service: ServiceDependency, id: str) -> Response:
    """Return a large JPEG of an image, a page or a clip."""

    def draw() -> Response:
        hit = require_chunk(service.rag, id)
        return jpeg_response(image_of(service.rag, hit, IMAGE_PX), hit)

    return await service.short(draw)


@router.get("/items/{id}/media", response_class=Response)
async def media(service: ServiceDependency, id: str) -> Response:
    """Return the file of a chunk; a video plays from any position, because ranges may be requested."""
    return await service.short(lambda: file_response(service.rag, require_chunk(service.rag, id)))


@router.put("/uploads/{name}", status_code=201)
async def upload(
    service: ServiceDependency, request: Request, name: Annotated[str, PathParameter(max_length=1000)]
) -> dict[str, str]:
    """Store a file, which is the body of the request; a job indexes it by the name that is returned."""
    service.require_writable()
    folder = service.config.upload_folder
    if folder is None:
        raise HTTPException(403, "this server takes no uploads; it does with --upload-folder FOLDER")
    stored = f"{uuid.uuid4().hex[:12]}/{_safe_name(name)}"
    await _store(request, folder / stored)
    return {"upload": stored}


async def _store(request: Request, path: Path) -> None:
    """Write the body of a request; nothing is left of one that is too large, or whose client leaves."""
    with mapped_write_errors(path):
        path.parent.mkdir(parents=True)
    try:
        with mapped_write_errors(path):
            async with await anyio.open_file(path, "wb") as file:
                async for part in request.stream():
                    await file.write(part)
    except BaseException as error:
        path.unlink(missing_ok=True)
        path.parent.rmdir()
        if isinstance(error, ClientDisconnect):
            raise HTTPException(400, "the client has left") from None
        raise


def _safe_name(name: str) -> str:
    """Return a file name for the name of an upload; raise InputError if it is not that of a medium."""
    suffix = Path(name).suffix.lower()
    if suffix not in MEDIA_BY_SUFFIX:
        raise InputError(f"{name!r:.80} cannot be indexed; supported are {' '.join(MEDIA_BY_SUFFIX)}")
    return (_UNSAFE.sub("_", Path(name).stem)[:MAX_NAME] or "upload") + suffix


@router.post("/jobs", status_code=201)
async def start_job(service: ServiceDependency, request: JobRequest) -> dict[str, Any]:
    """Index files; unchanged ones are skipped."""
    service.require_writable()
    paths = [allowed_path(name, service.config.allowed_folders) for name in request.paths]
    paths += [_uploaded(service, name) for name in request.uploads]
    if not paths:
        raise InputError("nothing to index: give paths or uploads")
    return service.jobs.start(paths, request.retry).to_dict()


def _uploaded(service: Service, name: str) -> Path:
    folder = service.config.upload_folder
    if folder is not None and re.fullmatch(r"[0-9a-f]{12}/[^/]+", name) and (folder / name).is_file():
        return folder / name
    raise InputError(f"there is no upload {name!r:.200}; give the name that the upload returned")


@router.get("/jobs")
async def list_jobs(service: ServiceDependency) -> list[dict[str, Any]]:
    """List the latest jobs, the newest first."""
    return [job.to_dict() for job in service.jobs.all()]


@router.get("/jobs/{id}")
async def get_job(service: ServiceDependency, id: str) -> dict[str, Any]:
    """Return the progress of a job, or its report."""
    return _require_job(service, id).to_dict()


@router.delete("/jobs/{id}")
async def cancel_job(service: ServiceDependency, id: str) -> dict[str, Any]:
    """Cancel a job; files that are finished stay in the index."""
    service.require_writable()
    job = _require_job(service, id)
    service.jobs.cancel(job)
    return job.to_dict()


def _require_job(service: Service, id: str) -> Job:
    job = service.jobs.get(id)
    if job is None:
        raise HTTPException(404, f"there is no job {id!r:.80}")
    return job
