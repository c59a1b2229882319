"""A program that uses Hume's batch API through its own client, of any version from 0.12 on.

It is written as for the service. Arguments: base URL, key, a folder for the artifacts, files. Prints what the client
made of each response, as JSON.
"""

import json
import sys
import time
from importlib.metadata import version
from pathlib import Path


def main() -> None:
    from hume import HumeClient
    from hume.core.api_error import ApiError
    from hume.empathic_voice.types import EmotionScores
    from hume.expression_measurement.batch.types import InferenceBaseRequest, Models, Prosody, Window

    base_url, key, folder, *names = sys.argv[1:]
    client = HumeClient(api_key=key, base_url=base_url)
    batch = client.expression_measurement.batch
    found = {}

    wanted = InferenceBaseRequest(
        models=Models(prosody=Prosody(window=Window(length=0.5, step=0.25), granularity="word"), face={}), notify=False
    )
    files = [Path(name).open("rb") for name in names]  # noqa: SIM115
    job = batch.start_inference_job_from_local_file(file=files, json=wanted)
    found["start"] = job

    options: dict = {"models": {"prosody": {}}}
    found["raw"] = batch.with_raw_response.start_inference_job_from_local_file(
        file=[("again.mp4", Path(names[0]).read_bytes(), "video/mp4")],
        json=json.dumps(options) if version("hume").startswith("0.12") else options,
    ).data

    details = batch.get_job_details(id=job)
    while details.state.status not in ("COMPLETED", "FAILED"):
        time.sleep(0.2)
        details = batch.get_job_details(id=job)
    found["details"] = details.dict()

    jobs = batch.list_jobs(
        limit=5,
        status=["COMPLETED", "IN_PROGRESS", "QUEUED"],
        when="created_before",
        sort_by="created",
        direction="desc",
    )
    found["list"] = [one.job_id for one in jobs]
    found["failed"] = [one.job_id for one in batch.list_jobs(status="FAILED")]

    predictions = batch.get_job_predictions(id=job)
    found["predictions"] = [one.dict() for one in predictions]
    found["scores"] = [
        [(window.time.begin, window.time.end, {emotion.name: emotion.score for emotion in window.emotions})
         for window in one.results.predictions[0].models.prosody.grouped_predictions[0].predictions]
        for one in predictions if one.results.predictions
    ]  # fmt: skip

    found["emotions"] = [
        next((one.alias for one in (*field.metadata, field) if getattr(one, "alias", None)), name.capitalize())
        for name, field in EmotionScores.model_fields.items()
    ]

    archive = Path(folder) / "artifacts.zip"
    batch.get_and_write_job_artifacts(id=job, file_name=str(archive))

    for name, call in {
        "urls": lambda: batch.start_inference_job(urls=["https://example.org/clip.mp4"]),
        "unknown": lambda: batch.get_job_details(id="00000000-0000-0000-0000-000000000000"),
    }.items():
        try:
            call()
        except ApiError as error:
            found[name] = [error.status_code, error.body["detail"]]

    print(json.dumps(found))


if __name__ == "__main__":
    main()
