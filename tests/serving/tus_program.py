"""Sends a file with the client ``tuspy``: ADDRESS KEY FILE; prints the address of the upload."""

import sys
from pathlib import Path

from tusclient import client  # type: ignore[import-not-found]

address, key, file = sys.argv[1:]
uploader = client.TusClient(address, headers={"Authorization": f"Bearer {key}"}).uploader(
    file, chunk_size=250_000, retries=5, retry_delay=0.2, metadata={"filename": Path(file).name}
)
uploader.upload()
print(uploader.url)
