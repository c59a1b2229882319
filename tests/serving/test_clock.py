"""Somebody sets the clock by hours while a job runs: nothing is lost, scored twice, or too old at once."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from mien.serving import clock
from mien.serving.database import jobs, living, open_database, steady_now, uploads, workers
from mien.serving.disk import Disk
from mien.serving.queue import ClipDone, Queue
from mien.serving.retention import Ages, sweep
from mien.serving.settings import read_serve_settings
from tests.serving.test_queue import LEASE, claimed, job, queue, row, submitted, upload  # noqa: F401

HOURS = 3 * 3600.0
DAYS = 30 * 86_400.0


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Queue]:
    """A queue in SQLite, whose clock can be set."""
    engine = open_database(tmp_path)
    yield Queue(engine, LEASE)
    engine.dispose()


def set_clock(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    monkeypatch.setattr(clock, "wall_seconds", lambda: time.time() + seconds)


@pytest.mark.parametrize("leap", [HOURS, -HOURS])
def test_a_lease_does_not_know_the_time_of_day(local: Queue, monkeypatch: pytest.MonkeyPatch, leap: float) -> None:
    local.lease_seconds = 30
    name = submitted(local)
    claim = claimed(local)
    set_clock(monkeypatch, leap)
    assert local.claim("w2", "m") is None
    assert local.beat(claim, ClipDone(0)) and local.finish(claim, "completed")
    ended = row(local, name)
    assert ended.state == "completed"
    assert ended.ended - ended.started == pytest.approx(leap, abs=5)


def test_a_dead_workers_job_goes_on_in_time_although_the_clock_was_set_back(
    local: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = submitted(local)
    claimed(local)
    set_clock(monkeypatch, -HOURS)
    time.sleep(LEASE + 0.1)
    assert claimed(local, "w2").job == name


def test_a_lease_from_before_the_machine_started_ends(queue: Queue) -> None:  # noqa: F811
    """So does one of PostgreSQL, whose clock was set back: both end later than any lease could."""
    name = submitted(queue)
    first = claimed(queue)
    with queue.engine.begin() as db:
        db.execute(sa.update(jobs).values(leased_until=jobs.c.leased_until + HOURS))
    assert queue.claim("w2", "m") is None  # its worker may be alive, and gets a whole lease to show it
    assert queue.beat(first)
    assert queue.claim("w2", "m") is None
    time.sleep(LEASE + 0.1)
    assert claimed(queue, "w2").job == name
    with queue.engine.begin() as db:
        db.execute(sa.insert(workers).values(id="w1", model="m", seen=steady_now(queue.engine) + HOURS))
        assert db.scalar(sa.select(sa.func.count()).select_from(workers).where(living(queue.engine, 30))) == 0


@pytest.mark.parametrize("leap", [DAYS, -DAYS])
def test_what_is_stored_keeps_its_age(
    local: Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leap: float, capsys: pytest.CaptureFixture[str]
) -> None:
    """Media are kept a day, results a week: a leap of a month would delete, or keep, all of it."""
    disk, limits = Disk(tmp_path / "data"), read_serve_settings()
    new = job(local)
    for file in new.files:
        disk.upload(file).write_bytes(b"abc")
    disk.place(new.id, new.files)
    local.submit(new)
    claim = claimed(local)
    assert local.finish(claim, "completed")
    disk.write_scores(new.id, {})
    unused = upload(local)
    disk.upload(unused).write_bytes(b"abc")
    early = {name: getattr(row(local, new.id), name) for name in ("created", "started", "ended")}
    ages = Ages(local.engine)
    ages._wall -= 200.0  # the last look is minutes old, so it is certain by which clock the rows are
    ages._steady -= 200.0
    with local.engine.begin() as db:
        for table, names in ((jobs, ("created", "started", "ended")), (uploads, ("created",))):
            db.execute(sa.update(table).values({name: table.c[name] - 300.0 for name in names}))
    set_clock(monkeypatch, leap)
    assert ages.keep() == pytest.approx(3600, abs=5)  # files' ages are in doubt for so long
    sweep(local.engine, disk, limits, 1e18)
    assert disk.upload(unused).exists()
    assert disk.media(new.id, 0).exists()
    assert disk.scores(new.id).exists()
    moved = row(local, new.id)
    assert {name: getattr(moved, name) - leap + 300 for name in early} == pytest.approx(early)
    assert capsys.readouterr().err.startswith(f"the clock was set by {leap:+,.0f} s; what is stored keeps its age")
    assert ages.keep() > 3000
    assert capsys.readouterr().err == ""
    sweep(local.engine, disk, read_serve_settings(["media_seconds=200"]), 1e18)
    assert not disk.media(new.id, 0).exists()  # it is 300 s old, by either clock


def test_a_clock_that_drifts_moves_nothing(local: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    name = submitted(local)
    before = row(local, name).created
    ages = Ages(local.engine)
    set_clock(monkeypatch, 30.0)
    assert ages.keep() == 0
    assert row(local, name).created == before
