"""Credentials for S3 in a file: ``obstore`` knows the environment and the machine's role, but not ``~/.aws``."""

import configparser
import os
from pathlib import Path
from typing import TYPE_CHECKING

from mien.errors import DataError

if TYPE_CHECKING:
    from obstore.store import S3Config

_IN_THE_ENVIRONMENT = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_SKIP_SIGNATURE",
)


def s3_credentials() -> "S3Config":
    """The keys of the profile ``AWS_PROFILE`` in ``~/.aws/credentials``; empty if others come first, or are left.

    Raises:
        DataError: there are none, and the machine may not be asked for its role, or the file is damaged.
    """
    if any(os.environ.get(name) for name in _IN_THE_ENVIRONMENT):
        return {}
    file = Path(os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or Path.home() / ".aws" / "credentials")
    profile = os.environ.get("AWS_PROFILE") or "default"
    try:
        known = configparser.RawConfigParser()
        known.read(file)
        keys = dict(known[profile]) if known.has_section(profile) else {}
    except (configparser.Error, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read ({' '.join(str(error).split())})") from error
    if "aws_access_key_id" in keys and "aws_secret_access_key" in keys:
        token = {"session_token": keys["aws_session_token"]} if "aws_session_token" in keys else {}
        return {
            "access_key_id": keys["aws_access_key_id"],
            "secret_access_key": keys["aws_secret_access_key"],
            **token,
        }  # type: ignore[return-value]
    if os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        raise DataError(
            f"no credentials for S3: neither AWS_ACCESS_KEY_ID is set, nor has {file} keys in [{profile}]; set "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_SKIP_SIGNATURE=true for a public bucket"
        )
    return {}
