"""An S3 server on this machine (moto), and what is stored in it, seen with its own client (boto3)."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def s3_server(log: Path) -> Iterator[str]:
    """The address of a server that is empty at the start, in a process of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        yield _ready(f"http://127.0.0.1:{port}", process, log)
    finally:
        process.kill()
        process.wait()


def _ready(url: str, process: subprocess.Popen[bytes], log: Path) -> str:
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/moto-api/"):
                return url
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"the S3 server did not start: {log.read_text()[-2000:]}")


def environment(url: str) -> dict[str, str]:
    """The variables that lead the clients of S3 to a server."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


class Bucket:
    """A bucket of its own for a test.

    Attributes:
        name: of the bucket.
        address: ``s3://`` and its name.
    """

    def __init__(self, url: str, name: str) -> None:
        import boto3

        self.name, self.address = name, f"s3://{name}"
        self._client: Any = boto3.client("s3", endpoint_url=url, region_name="us-east-1")
        self._client.create_bucket(Bucket=name)

    def put(self, key: str, content: bytes | Path) -> str:
        """Store an object; returns its address."""
        body = content.read_bytes() if isinstance(content, Path) else content
        self._client.put_object(Bucket=self.name, Key=key, Body=body)
        return f"{self.address}/{key}"

    def put_folder(self, folder: Path, key: str) -> str:
        """Store every file of a local folder; returns the address of the folder."""
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            self.put(f"{key}/{file.relative_to(folder).as_posix()}", file)
        return f"{self.address}/{key}"

    def get(self, key: str) -> bytes:
        """The bytes of an object."""
        return self._client.get_object(Bucket=self.name, Key=key)["Body"].read()

    def sizes(self, prefix: str = "") -> dict[str, int]:
        """The objects by key, with their sizes; markers of folders (``a/``) are left out."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        found = {item["Key"]: item["Size"] for page in pages for item in page.get("Contents", ())}
        return {key: size for key, size in sorted(found.items()) if not key.endswith("/")}


def requests_of(log: Path, method: str, part: str) -> int:
    """How often a server was asked for a path that contains ``part``, by its log."""
    os.sync()
    lines = log.read_text(errors="replace").splitlines()
    return sum(f'"{method} ' in line and part in line for line in lines)
