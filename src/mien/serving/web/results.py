"""Results of a job, in every export format, and its media while they are kept."""

import os
import pathlib
from typing import Any

from fastapi import APIRouter, Path, Response
from fastapi.responses import FileResponse
from starlette.types import Receive, Scope, Send

from mien.errors import DataError
from mien.media.browser_support import TYPES
from mien.serving import results
from mien.serving.web.access import Scorer, Shared
from mien.serving.web.jobs import job_of
from mien.serving.web.problems import Problem

router = APIRouter(prefix="/v1/jobs", tags=["results"])
BYTES: dict[str, Any] = {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
RESULTS: dict[str, Any] = {
    "content": {kind.partition(";")[0]: {"schema": {}} for kind in results.MEDIA_TYPES.values()},
}
INLINE = "default-src 'none'; sandbox"


class OpenFileResponse(FileResponse):
    """A file that is sent whole, though it may be deleted between the headers and the content."""

    def __init__(self, file: pathlib.Path, kind: str, headers: dict[str, str]) -> None:
        """Open the file.

        Raises:
            FileNotFoundError: it is not there.
        """
        self._file = file.open("rb")
        number = self._file.fileno()
        super().__init__(f"/dev/fd/{number}", 200, headers, kind, stat_result=os.fstat(number))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        with self._file:
            await super().__call__(scope, receive, send)


@router.get("/{job}/media/{n}", response_class=FileResponse, responses={200: BYTES, 206: BYTES})
def media(job: str, server: Shared, who: Scorer, n: int = Path(ge=0, le=10_000)) -> FileResponse:
    """A file of a job, while it is kept; supports ranges."""
    made = job_of(server, who, job)
    path = server.disk.media(job, n)
    if n >= len(made["files"]):
        raise Problem(404, "no such file")
    head = {"Content-Security-Policy": INLINE, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
    kind = TYPES.get(pathlib.PurePath(made["files"][n]["name"]).suffix.lower(), "application/octet-stream")
    try:
        return OpenFileResponse(path, kind, head)
    except FileNotFoundError:
        raise Problem(404, "the media were deleted") from None


@router.get("/{job}/{name}", response_class=Response, responses={200: RESULTS})
def result(job: str, name: str, server: Shared, who: Scorer) -> Response:
    """Scores as one of the files that the job's links name; formats with a file per clip come as an archive."""
    made = job_of(server, who, job)
    if name not in results.NAMES:
        raise Problem(404, f"no such result; there are {', '.join(results.NAMES)}")
    if made["state"] == "expired":
        raise Problem(410, "the results were deleted")
    if not server.disk.scores(job).is_file():
        raise Problem(409, f"the job is {made['state']}, and has no scores")
    try:
        content, kind = results.result(server.disk, job, name)
    except (FileNotFoundError, DataError):
        if server.disk.scores(job).is_file():
            raise
        raise Problem(410, "the results were deleted") from None
    head = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
    if name == "report.html":
        head["Content-Security-Policy"] = "frame-ancestors 'none'"
    else:
        ending = "" if "." in name or kind != "application/zip" else ".zip"
        head["Content-Disposition"] = f'attachment; filename="{name}{ending}"'
    return Response(content, 200, head, kind)
