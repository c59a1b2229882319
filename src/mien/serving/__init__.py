"""The server: uploads, jobs and results over HTTP, scored by worker processes (``mien serve``, ``mien work``).

    settings     limits: sizes, rates, times
    database     tables; SQLite (embedded) or PostgreSQL
    queue        submit, claim, beat, finish: jobs with leases
    disk         files of uploads and jobs
    worker       loads a model once, claims jobs, scores clip by clip
    supervisor   starts workers and replaces those that die
    results      a job's scores in every export format
    web/         the HTTP interface; never imports torch

The database decides: a file on disk without its row is removed, a row is never written before its file. So a process
that is killed at any point costs at most the clip in flight.
"""
