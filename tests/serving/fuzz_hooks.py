"""What schemathesis cannot know: how bytes are sent, and the name of a job that exists (``FUZZ_JOB``)."""

import os
from typing import Any

import schemathesis


@schemathesis.serializer("application/offset+octet-stream")
def send_bytes(context: Any, value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


@schemathesis.hook
def map_path_parameters(context: Any, path_parameters: Any) -> Any:
    """Half of the requests are about a job that exists."""
    if path_parameters and len(str(path_parameters.get("job", "x"))) % 2 == 0 and context.operation.method != "delete":
        return {**path_parameters, "job": os.environ["FUZZ_JOB"]}
    return path_parameters
