"""The pages for people: ``/`` to send clips and see their scores, ``/jobs/{id}`` with the player of the report.

The player, tables and sparklines are those of the report: a clip looks the same here and there. What changes while one
looks is fetched from the interface under ``/v1``; only sparklines, which Python draws, have an address of their own,
``/jobs/{id}/summary``. ``rendering.py`` makes the HTML.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from mien.errors import DataError
from mien.media.browser_support import media_type
from mien.reporting import scores as reports
from mien.reporting import sparklines
from mien.reporting.player import Player, player_of, scale_of
from mien.reporting.videos import Video, Videos
from mien.scores.document import ScoresDocument, read_document
from mien.serving.web.access import SCOPES, Principal, Server, Shared, cookie_name, holder, principal
from mien.serving.web.forms import Form, discard, receive_form
from mien.serving.web.jobs import JobRequest, enqueue, job_of, list_jobs, new_job
from mien.serving.web.problems import Problem
from mien.serving.web.rendering import HEAD, LANGUAGE_COOKIE, LANGUAGES, assets, page

router = APIRouter(include_in_schema=False)

DOWNLOADS = (
    "scores.csv", "windows.csv", "words.csv", "long.csv", "why.csv", "report.html", "eaf", "TextGrid", "hume.json",
    "scores.json", "all.zip",
)  # fmt: skip
"""Results of a job in the order of the page; those that people ask for most come first."""
SUMMARY_CLIPS = 3
"""Clips of a job whose sparklines are shown in the list."""


@router.get("/static/{name}")
def static(name: str, request: Request) -> Response:
    """A script, a style or the texts of a language; no secret is in them, so no key is asked for."""
    asset = assets().get(name)
    if asset is None:
        raise Problem(404, "no such file")
    head = {"ETag": asset.tag, "Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
    if request.headers.get("if-none-match") == asset.tag:
        return Response(None, 304, head)
    return Response(asset.content, 200, head, asset.kind)


@router.get("/")
def home(request: Request, server: Shared, token: str = "") -> Response:
    """Send clips and see their scores; with the one-time token, first a cookie."""
    if token:
        return _signed_in(request, server, token)
    if (who := _visitor(request)) is None:
        if _visitor(request, "live") is not None:
            return RedirectResponse("/live", 303, HEAD)
        return page(request, "signin.html", 401, why="how")
    return page(request, "home.html", limits=server.limits, jobs=list_jobs(server, who, limit=20)["jobs"])


@router.post("/signin")
async def sign_in(request: Request, server: Shared) -> Response:
    """Sign a browser in with a key, which a form sends."""
    given = parse_qs((await request.body()).decode("utf-8", "replace"))
    who = await run_in_threadpool(holder, server, given.get("key", [""])[0].strip())
    if who is None or not set(SCOPES) & set(who.scopes):
        return page(request, "signin.html", 401, why="wrong")
    return _welcome(request, server.sign_in(who))


@router.get("/live")
async def live(request: Request, server: Shared) -> Response:
    """Live scores of the camera; a process that scores is made ready meanwhile."""
    if await run_in_threadpool(_visitor, request, "live") is None:
        return page(request, "signin.html", 401, why="how")
    server.scorers.prepare()
    limits = server.limits
    hours, minutes = round(limits.media_seconds / 3600), f"{limits.live_seconds / 60:g}"
    return page(request, "live.html", hours=hours, minutes=minutes)


@router.post("/clips")
async def send(request: Request, server: Shared) -> Response:
    """Score the files of the form, which browsers without JavaScript send."""
    if (who := await run_in_threadpool(_visitor, request)) is None:
        return page(request, "signin.html", 401, why="how")
    try:
        form = await receive_form(request, server, who.id, ("windows", "why", "forget"))
        try:
            job = await run_in_threadpool(_submit, server, who, form)
        finally:
            await run_in_threadpool(discard, server, form.files)
    except Problem as problem:
        return page(request, "refused.html", problem.status, why=problem.detail)
    return RedirectResponse(f"/jobs/{job}", 303, HEAD)


@router.get("/language/{language}")
def choose_language(language: str, back: str = "/") -> Response:
    """Keep the language in a cookie, and go back to where one was."""
    here = back if back.startswith("/") and not back.startswith(("//", "/\\")) else "/"
    answer = RedirectResponse(here, 303, HEAD)
    if language in LANGUAGES:
        answer.set_cookie(LANGUAGE_COOKIE, language, max_age=31_536_000, samesite="strict", httponly=True)
    return answer


@router.get("/jobs/{job}")
def show(job: str, request: Request, server: Shared) -> Response:
    """A job: its progress, or its scores in the player, its downloads."""
    if (who := _visitor(request)) is None:
        return page(request, "signin.html", 401, why="how")
    try:
        made = job_of(server, who, job)
    except Problem as problem:
        return page(request, "missing.html", problem.status)
    report = _report(server, made)
    downloads = [] if report is None else _downloads(made)
    return page(request, "job.html", job=made, page=report, downloads=downloads)


@router.get("/jobs/{job}/summary")
def summary(job: str, request: Request, server: Shared) -> JSONResponse:
    """Words, scores and sparklines of the first clips of a job, for the list."""
    made = job_of(server, principal(request), job)
    scored = _scores(server, made)
    if scored is None:
        raise Problem(409, "the job has no scores")
    good = [clip for clip in scored.clips if clip.error is None]
    first = good[:SUMMARY_CLIPS]
    players = [player_of(clip, scored) for clip in first]
    low, high = scale_of(players)
    scale = min(low, 0.0), max(high, 1.0)
    return JSONResponse(
        {
            "targets": scored.targets,
            "zero": sparklines.height(0.0, scale),
            "clips": [_outlined(player, scored.targets, scale) for player in players],
            "more": len(good) - len(first),
        },
        headers={"Cache-Control": "no-store"},
    )


def _submit(server: Server, who: Principal, form: Form) -> str:
    try:
        asked = JobRequest(
            files=[file.id for file in form.files],
            windows=float(form.fields.get("windows") or 0) or None,
            why="why" in form.fields,
            keep="none" if "forget" in form.fields else "media",
        )
    except ValueError:
        raise Problem(422, "windows: expected a number of seconds") from None
    return enqueue(server, new_job(asked, who, None))


def _outlined(player: Player, targets: list[str], scale: tuple[float, float]) -> dict[str, Any]:
    spark = sparklines.spark_of(player, None, targets, scale)
    low, high = scale
    return {
        "clip": player.clip,
        "seconds": player.seconds,
        "words": player.transcript or " ".join(word.text for word in player.words),
        "silent": next((strip.reason for strip in player.strips if strip.modality == "text"), ""),
        "scores": player.scores,
        "shares": [None if score is None else (score - low) / (high - low) for score in player.scores],
        "curves": spark.outlines if player.windowed else [],
    }


def _signed_in(request: Request, server: Server, token: str) -> Response:
    cookie = server.redeem(token)
    if cookie is not None:
        return _welcome(request, cookie)
    if _visitor(request) is not None:  # the address again, in the browser that it was used in
        return RedirectResponse("/", 303, HEAD)
    return page(request, "signin.html", 401, why="used")


def _welcome(request: Request, cookie: str) -> Response:
    answer = RedirectResponse("/", 303, HEAD | {"Referrer-Policy": "no-referrer"})
    secure = request.url.scheme == "https"
    answer.set_cookie(cookie_name(request), cookie, httponly=True, samesite="strict", secure=secure)
    return answer


def _downloads(made: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Results that have any rows, with their addresses."""
    asked = {"windows.csv": made["request"]["windows"], "why.csv": made["request"]["why"]}
    return [(name, made["links"][name]) for name in DOWNLOADS if name in made["links"] and asked.get(name, True)]


def _visitor(request: Request, scope: str = "score") -> Principal | None:
    try:
        who = principal(request)
    except Problem as problem:
        if problem.status != 401:
            raise
        return None
    return who if {scope, "admin"} & set(who.scopes) else None


def _scores(server: Server, made: Mapping[str, Any]) -> ScoresDocument | None:
    file = server.disk.scores(made["id"])
    try:
        return read_document(file) if file.is_file() and made["state"] == "completed" else None
    except DataError:  # deleted in this moment
        return None


def _report(server: Server, made: Mapping[str, Any]) -> Any:
    """The page of the report for a job with scores, without charts; ``None`` for others."""
    scored = _scores(server, made)
    if scored is None:
        return None
    return reports.page(scored, _videos(server, made, scored), charts=False)


def _videos(server: Server, made: Mapping[str, Any], scored: ScoresDocument) -> Videos:
    """The media that are still kept, at their addresses; whether the browser plays them, it says itself."""
    shown = {clip.clip for clip in reports.player_clips(scored)}
    found, of, missing = [], {}, []
    for n, clip in enumerate(scored.clips):
        if clip.clip not in shown:
            continue
        if not server.disk.media(made["id"], n).is_file():
            missing.append(clip.clip)
            continue
        name = made["files"][n]["name"]
        try:
            kind = media_type(Path(name))
        except KeyError:
            kind = "application/octet-stream"
        found.append(Video(f"video-{n}", name, kind, f"/v1/jobs/{made['id']}/media/{n}"))
        of[clip.clip] = f"video-{n}"
    return Videos(tuple(found), of, tuple(missing), without="The recording is no longer stored.")
