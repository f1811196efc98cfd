"""Plan shards, make their buckets, resume after a kill, write the manifest.

The order of a run, which is also the order of a resumed one:
1. refuse an output that other flags or inputs made, unless it may be overwritten;
2. sort all documents into one spill file per bucket (again, if that was not finished);
3. make each bucket's part file (only those that are missing);
4. put each shard together from its parts, rename it, write its entry;
5. write the vocabulary's copy, the report, then the manifest; remove the work folder.
"""

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

from data_prep import storage
from data_prep.records import manifest as manifest_lib
from data_prep.runner import (
    finish,
    near_duplicates,
    repeated_lines,
    resume,
    run_lock,
    spill,
    workers,
)
from data_prep.runner.job import Job
from data_prep.runner.progress import Progress

# With less text than this for each, starting processes to read it takes longer than it
# saves.
_BYTES_PER_READER = 100_000_000


def run(job: Job, num_workers: int, overwrite: bool) -> manifest_lib.Manifest:
    """Make the records of a job, or those that are missing.

    Args:
        job: checked settings and existing inputs.
        num_workers: processes; it does not change a byte of the output.
        overwrite: remove a finished output, or one that other flags or inputs began;
            an unfinished run of the same job is resumed.

    Returns:
        The manifest that was written.

    Raises:
        ValueError: the output exists and is another job's, another run is writing it,
            an input is bad, or no sequence came out.
    """
    job.settings.check()
    with run_lock.hold_lock(job.outputs):
        if overwrite and not resume.is_begun(job):
            resume.check_work_folder(job.outputs.work_folder)
            resume.remove_output(job, job.plan_path)
            resume.remove_work_folder(job.outputs.work_folder)
        return _run_alone(job, num_workers)


def _run_alone(job: Job, num_workers: int) -> manifest_lib.Manifest:
    earlier = resume.find_earlier(job, job.plan_path)
    shards = resume.find_finished_shards(job, earlier)
    missing = [shard for shard in range(len(shards)) if shards[shard] is None]
    if earlier is not None and not missing:
        resume.remove_work_folder(job.outputs.work_folder)
        return finish.restore_output(job, earlier, shards)
    plan = prepare(job, earlier, num_workers)
    compare(job, num_workers)
    for shard, entry in make_shards(job, missing, num_workers):
        shards[shard] = entry
    manifest = finish.complete_output(job, plan["inputs"], shards)
    resume.remove_work_folder(job.outputs.work_folder)
    return manifest


def prepare(
    job: Job, earlier: manifest_lib.Manifest | None, num_workers: int
) -> dict[str, Any]:
    """Make the work folder with all spill files; return the plan."""
    folder = job.outputs.work_folder
    resume.check_work_folder(folder)
    if os.path.exists(job.plan_path):
        with open(job.plan_path, encoding="utf-8") as file:
            return json.load(file)
    resume.remove_work_folder(folder)
    storage.makedirs(os.path.dirname(job.outputs.manifest) or ".")
    os.makedirs(folder)
    progress = Progress("reading", job.corpus_bytes)
    plan = job.identity()
    num_readers = min(num_workers, 1 + job.corpus_bytes // _BYTES_PER_READER)
    for part, checksum in workers.run_tasks(
        job, spill.list_parts(job), num_readers, progress.add, spill.spill_part
    ):
        if checksum is not None:
            plan["inputs"][part.file]["sha256"] = checksum
    progress.close()
    if earlier is not None and plan["inputs"] != earlier.inputs:
        raise ValueError(
            "An input has changed since the earlier output: name another "
            "--output_file, or pass --overwrite."
        )
    manifest_lib.write_json(job.plan_path, plan)
    return plan


def compare(job: Job, num_workers: int) -> None:
    """Find what is dropped because it is elsewhere, too: lines, then documents."""

    def run(task: Callable[..., None]) -> Callable[[list[int]], None]:
        def run_task(buckets: list[int]) -> None:
            size = sum(spill.bucket_bytes(job, bucket) for bucket in buckets)
            progress = Progress("comparing", size)
            done = workers.run_tasks(job, buckets, num_workers, progress.add, task)
            for _ in done:
                pass
            progress.close()

        return run_task

    if job.settings.drop_repeated_lines:
        repeated_lines.find(job, run(repeated_lines.count_bucket))
    if job.settings.deduplicate == "near":
        near_duplicates.find(job, run(near_duplicates.sign_bucket))


def make_shards(
    job: Job, missing: list[int], num_workers: int
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (shard, its manifest entry) as shards are finished."""
    waiting = {
        shard: {bucket for bucket in job.buckets_of(shard) if not job.is_made(bucket)}
        for shard in missing
    }
    buckets = [bucket for shard in missing for bucket in sorted(waiting[shard])]
    total = sum(
        spill.bucket_bytes(job, bucket)
        for shard in missing
        for bucket in job.buckets_of(shard)
    )
    todo = sum(spill.bucket_bytes(job, bucket) for bucket in buckets)
    progress = Progress("writing", total, total - todo)
    for shard in [shard for shard in missing if not waiting[shard]]:
        yield shard, _finish_shard(job, shard)
    for bucket, _ in workers.run_tasks(
        job, buckets, num_workers, progress.add, workers.make_part
    ):
        shard = bucket // job.buckets_per_shard
        waiting[shard].remove(bucket)
        if not waiting[shard]:
            yield shard, _finish_shard(job, shard)
    progress.close()


def _finish_shard(job: Job, shard: int) -> dict[str, Any]:
    """Join a shard's parts under its name; return its manifest entry."""
    path = job.outputs.shards[shard]
    parts = [
        (job.part_path(bucket), job.read_counts(bucket))
        for bucket in job.buckets_of(shard)
    ]
    compression = job.settings.compression
    entry = finish.join_parts(
        parts, path + ".partial", path, compression, takes_first=True
    )
    manifest_lib.write_json(job.entry_path(shard), entry)
    for part, _ in parts:
        # The first one may have become the shard.
        with contextlib.suppress(FileNotFoundError):
            os.remove(part)
    return entry
