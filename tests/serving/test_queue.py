"""The queue on SQLite and on PostgreSQL: each job ends once, whoever dies, and only its worker writes to it."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from mien.errors import DataError, SettingsError
from mien.serving.database import about, clips, events, jobs, open_database, uploads
from mien.serving.disk import Disk
from mien.serving.queue import Claim, ClipDone, ClipStage, NewJob, Queue, Refused, new_id
from mien.serving.retention import sweep
from mien.serving.settings import read_serve_settings

LEASE = 0.4


@pytest.fixture
def queue(tmp_path: Path, database: str | None) -> Iterator[Queue]:
    engine = open_database(tmp_path, database)
    yield Queue(engine, LEASE)
    engine.dispose()


def upload(queue: Queue, owner: str = "anna") -> str:
    made = new_id("file")
    row = {"id": made, "owner": owner, "name": "a.mp4", "bytes": 3, "sha256": "0" * 64, "created": time.time()}
    with queue.engine.begin() as db:
        db.execute(sa.insert(uploads).values(**row))
    return made


def job(queue: Queue, files: int = 1, owner: str = "anna", **more: Any) -> NewJob:
    given = [upload(queue, owner) for _ in range(files)]
    return NewJob(new_id("job"), owner, given, {"keep": "media"}, more.pop("sha", "1" * 64), **more)


def submitted(queue: Queue, files: int = 1, **more: Any) -> str:
    return queue.submit(job(queue, files, **more))[0]


def row(queue: Queue, name: str) -> Any:
    with queue.engine.begin() as db:
        return db.execute(sa.select(jobs).where(jobs.c.id == name)).one()


def claimed(queue: Queue, worker: str = "w1", model: str = "m") -> Claim:
    found = queue.claim(worker, model)
    assert found is not None
    return found


def test_a_job_goes_from_queued_to_completed(queue: Queue) -> None:
    name = submitted(queue, files=2)
    assert row(queue, name).state == "queued"
    claim = claimed(queue)
    assert (claim.job, claim.attempt, [clip.n for clip in claim.clips]) == (name, 1, [0, 1])
    assert queue.beat(claim, ClipDone(0))
    assert queue.beat(claim, ClipDone(1, "no sound"))
    assert queue.finish(claim, "completed")
    ended = row(queue, name)
    assert ended.state == "completed"
    assert ended.created <= ended.started <= ended.ended
    with queue.engine.begin() as db:
        assert db.execute(sa.select(clips.c.state, clips.c.reason).order_by(clips.c.n)).all() == [
            ("completed", None), ("failed", "no sound")
        ]  # fmt: skip
        assert list(db.scalars(sa.select(events.c.kind).order_by(events.c.id))) == [
            "state", "state", "clip", "clip", "state"
        ]  # fmt: skip
    assert queue.claim("w1", "m") is None
    assert not queue.finish(claim, "failed")


def test_what_is_done_with_a_clip_is_an_event_and_prolongs_the_lease(queue: Queue) -> None:
    submitted(queue, files=2)
    claim = claimed(queue)
    time.sleep(LEASE / 2)
    assert queue.beat(claim, doing=ClipStage(1, "vision"))
    time.sleep(LEASE / 2 + 0.1)
    assert queue.claim("w2", "m") is None
    with queue.engine.begin() as db:
        found = db.execute(sa.select(events.c.kind, events.c.data).order_by(events.c.id.desc())).first()
    assert found == ("progress", {"n": 1, "stage": "vision"})


def test_the_oldest_job_is_first(queue: Queue) -> None:
    names = [submitted(queue) for _ in range(3)]
    times = {name: row(queue, name).created for name in names}
    assert [claimed(queue).job for _ in names] == sorted(names, key=lambda name: (times[name], name))


def test_each_of_many_jobs_goes_to_one_of_many_workers(queue: Queue) -> None:
    names = [submitted(queue) for _ in range(30)]
    queue.lease_seconds = 30
    barrier = threading.Barrier(6)

    def work(worker: int) -> list[str]:
        barrier.wait()
        done = []
        while (found := queue.claim(f"w{worker}", "m")) is not None:
            assert queue.beat(found, ClipDone(0))
            assert queue.finish(found, "completed")
            done.append(found.job)
        return done

    with ThreadPoolExecutor(6) as pool:
        done = [name for part in pool.map(work, range(6)) for name in part]
    assert sorted(done) == sorted(names)


def test_a_dead_workers_job_goes_on_at_the_next_clip_and_the_dead_one_is_fenced(queue: Queue) -> None:
    name = submitted(queue, files=3)
    first = claimed(queue)
    assert queue.beat(first, ClipDone(0))
    assert queue.claim("w2", "m") is None
    time.sleep(LEASE + 0.1)
    second = claimed(queue, "w2")
    assert (second.job, second.attempt) == (name, 2)
    assert [clip.done for clip in second.clips] == [True, False, False]
    assert not queue.beat(first)
    assert not queue.beat(first, ClipDone(1))
    assert not queue.finish(first, "failed", "of the dead")
    assert queue.beat(second, ClipDone(1))
    assert queue.finish(second, "completed")
    assert row(queue, name).state == "completed"


def test_a_job_is_given_up_when_three_workers_died_at_the_same_clip(queue: Queue) -> None:
    name = submitted(queue, files=2)
    for death in range(3):
        assert claimed(queue, f"w{death}").attempt == death + 1
        time.sleep(LEASE + 0.1)
    assert queue.claim("w4", "m") is None
    assert (row(queue, name).state, row(queue, name).reason) == ("failed", "its worker died 3 times")


def test_a_finished_clip_forgives_the_deaths_before(queue: Queue) -> None:
    name = submitted(queue, files=4)
    for n in range(4):
        claim = claimed(queue)
        assert queue.beat(claim, ClipDone(n))
        time.sleep(LEASE + 0.1)
    assert claimed(queue).job == name


def test_a_job_that_is_given_back_is_claimed_without_waiting_for_the_lease(queue: Queue) -> None:
    name = submitted(queue, files=2)
    claim = claimed(queue)
    assert queue.beat(claim, ClipDone(0))
    assert queue.finish(claim, "queued")
    again = claimed(queue, "w2")
    assert (again.job, [clip.done for clip in again.clips]) == (name, [True, False])
    assert row(queue, name).deaths == 0


def test_another_model_begins_the_job_again(queue: Queue) -> None:
    submitted(queue, files=2)
    claim = claimed(queue, model="a")
    assert queue.beat(claim, ClipDone(0))
    assert queue.finish(claim, "queued")
    assert [clip.done for clip in claimed(queue, model="b").clips] == [False, False]


def test_a_cancelled_job_is_lost_for_its_worker(queue: Queue) -> None:
    name = submitted(queue)
    claim = claimed(queue)
    assert queue.cancel(name)
    assert not queue.cancel(name)
    assert not queue.beat(claim, ClipDone(0))
    assert row(queue, name).state == "cancelled"
    assert queue.claim("w2", "m") is None


def test_an_idempotency_key_gives_one_job_also_when_used_at_once(queue: Queue) -> None:
    new = [job(queue, idempotency_key="k") for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(queue.submit, new))
    assert len({name for name, _ in found}) == 1
    assert sorted(fresh for _, fresh in found) == [False, False, False, True]
    with pytest.raises(Refused) as refused:
        queue.submit(job(queue, idempotency_key="k", sha="2" * 64))
    assert refused.value.kind == "other_request"
    assert queue.submit(job(queue, owner="ben", idempotency_key="k"))[1]


def test_a_full_queue_refuses(queue: Queue) -> None:
    queue.submit(job(queue), most=2, most_per_owner=1)
    for owner, kind in (("anna", "full_for_key"), ("ben", ""), ("cleo", "full")):
        try:
            queue.submit(job(queue, owner=owner), most=2, most_per_owner=1)
            assert not kind
        except Refused as refused:
            assert refused.kind == kind


def test_a_file_is_used_by_one_job_of_its_owner(queue: Queue) -> None:
    first, mine = job(queue), job(queue)
    queue.submit(first)
    foreign = NewJob(new_id("job"), "ben", mine.files, {}, "1" * 64)
    for new in (NewJob(new_id("job"), "anna", first.files, {}, "1" * 64), foreign):
        with pytest.raises(Refused) as refused:
            queue.submit(new)
        assert refused.value.kind == "no_file"
    queue.submit(mine)


def test_a_locked_database_passes(queue: Queue, database: str | None) -> None:
    """Another process holds the job's row for half a second."""
    submitted(queue)
    claim = claimed(queue)
    with ThreadPoolExecutor(1) as pool, queue.engine.begin() as db:
        db.execute(sa.update(jobs).values(worker="somebody"))
        beaten = pool.submit(queue.beat, claim)
        time.sleep(0.3)
        assert not beaten.done()
        db.commit()
        assert beaten.result(5)


def test_tables_of_another_version_are_refused(tmp_path: Path, database: str | None) -> None:
    engine = open_database(tmp_path, database)
    with engine.begin() as db:
        db.execute(sa.update(about).values(value=99))
    engine.dispose()
    with pytest.raises(DataError, match="tables of version 99, but this mien reads version 1"):
        open_database(tmp_path, database)


def test_an_address_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="only postgresql"):
        open_database(tmp_path, "mysql://a@b/c")
    with pytest.raises(SettingsError, match="not a database address"):
        open_database(tmp_path, "nothing")
    with pytest.raises(DataError, match="cannot be opened") as refused:
        open_database(tmp_path, "postgresql://anna:secret@127.0.0.1:1/mien")
    assert "secret" not in str(refused.value)


def test_what_is_old_goes(queue: Queue, tmp_path: Path) -> None:
    """Uploads, then media, then results, then the rows; and files without a row."""
    disk = Disk(tmp_path / "data")
    new = job(queue, files=2)
    for file in new.files:
        disk.upload(file).write_bytes(b"abc")
    disk.place(new.id, new.files)
    queue.submit(new)
    unused = upload(queue)
    disk.upload(unused).write_bytes(b"abc")
    orphans = [disk.root / "jobs" / new_id("job"), disk.root / "uploads" / f"{new_id('file')}.part"]
    orphans[0].mkdir()
    orphans[1].touch()
    disk.write_scores(new.id, {})

    def swept(*limits: str) -> None:
        sweep(queue.engine, disk, read_serve_settings(limits), orphan_seconds=0.0)

    time.sleep(0.05)
    swept()
    assert disk.upload(unused).exists()
    assert not disk.upload(new.files[0]).exists()  # the job has its own link
    assert not any(path.exists() for path in orphans)
    swept("media_seconds=0.01", "upload_seconds=0.01", "result_seconds=0.01")
    assert not disk.upload(unused).exists()
    assert disk.media(new.id, 0).exists()  # the job is open
    claim = claimed(queue)
    queue.finish(claim, "completed")
    time.sleep(0.05)
    swept("media_seconds=0.01")
    assert not disk.media(new.id, 0).exists()
    assert disk.scores(new.id).exists()
    swept("result_seconds=0.01")
    assert row(queue, new.id).state == "expired"
    assert not disk.job(new.id).exists()
    swept("row_seconds=0.01")
    with queue.engine.begin() as db:
        for table in (jobs, clips, events, uploads):
            assert not db.execute(sa.select(table)).all()
    assert [path.name for path in disk.root.rglob("*") if path.is_file()] == []


def test_media_of_a_job_that_keeps_none_go_at_its_end(queue: Queue, tmp_path: Path) -> None:
    disk = Disk(tmp_path / "data")
    given = [upload(queue)]
    disk.upload(given[0]).write_bytes(b"abc")
    new = NewJob(new_id("job"), "anna", given, {"keep": "none"}, "1" * 64)
    disk.place(new.id, given)
    queue.submit(new)
    claim = claimed(queue)
    sweep(queue.engine, disk, read_serve_settings())
    assert disk.media(new.id, 0).exists()
    queue.finish(claim, "completed")
    sweep(queue.engine, disk, read_serve_settings())
    assert not disk.media(new.id, 0).exists()


def test_nothing_is_written_into_a_deleted_job(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    name, file = new_id("job"), new_id("file")
    disk.upload(file).write_bytes(b"abc")
    disk.place(name, [file])
    disk.remove_job(name)
    disk.write_clip(name, 0, {})
    disk.write_scores(name, {})
    disk.remove_upload(file)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not disk.job(name).exists()
