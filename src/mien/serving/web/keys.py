"""Keys: list, make, delete; for administrators."""

from typing import Annotated, Any, Literal

import sqlalchemy as sa
from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from mien.serving.database import keys
from mien.serving.web.access import Admin, Shared, add_key
from mien.serving.web.answers import Keys, NewKey
from mien.serving.web.problems import Problem

router = APIRouter(prefix="/v1/keys", tags=["keys"])


class KeyRequest(BaseModel):
    """A key to make."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[str, Field(min_length=1, max_length=200)]
    scopes: Annotated[list[Literal["score", "live", "admin"]], Field(min_length=1, max_length=3)] = ["score"]


@router.get("", response_model=Keys)
def list_keys(server: Shared, who: Admin) -> dict[str, Any]:  # noqa: ARG001
    """All keys, without the keys themselves, which are stored nowhere."""
    with server.engine.execution_options(reads=True).begin() as db:
        rows = db.execute(sa.select(keys).order_by(keys.c.created)).all()
    return {"keys": [{"id": row.id, "name": row.name, "scopes": row.scopes} for row in rows]}


@router.post("", status_code=201, response_model=NewKey)
def make_key(asked: KeyRequest, server: Shared, who: Admin) -> dict[str, Any]:  # noqa: ARG001
    """A new key; it is shown only now."""
    made, key = add_key(server.engine, asked.name, asked.scopes)
    return {"id": made, "name": asked.name, "scopes": asked.scopes, "key": key}


@router.delete("/{key}", status_code=204)
def delete_key(key: str, server: Shared, who: Admin) -> Response:  # noqa: ARG001
    """Delete a key; its jobs stay."""
    with server.engine.begin() as db:
        if not db.execute(sa.delete(keys).where(keys.c.id == key)).rowcount:
            raise Problem(404, "no such key")
    return Response(None, 204)
