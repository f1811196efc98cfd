"""Plan shards, run their groups, go on after a kill, write the manifest.

The order of a run, which is also the order of a resumed one:
1. refuse an output that other flags or inputs made, unless it may be overwritten;
2. sort all documents into one spill file a group (again, if that was not finished);
3. make each group's part file (only those that are missing);
4. put each shard together from its parts, write its counts, rename it;
5. write the vocabulary's copy, the report, then the manifest; remove the work folder.
"""

import hashlib
import json
import os
from typing import Any

from data_prep import storage
from data_prep.records import manifest as manifest_lib
from data_prep.records.job import Job
from data_prep.runner import finish, resume, run_lock, spill, workers
from data_prep.runner.progress import Progress
from data_prep.text import counts as counts_lib

_COPY_BYTES = 4 << 20


def run(job: Job, num_workers: int, overwrite: bool) -> manifest_lib.Manifest:
    """Make the records of a job, or what is missing of them.

    Args:
        job: checked settings and existing inputs.
        num_workers: processes; it does not change a byte of the output.
        overwrite: remove a finished output, or one that other flags or inputs began;
            what the same job has begun is gone on with.

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
    plan = _prepare(job, earlier)
    for shard, entry in _make_shards(job, missing, num_workers):
        shards[shard] = entry
    manifest = finish.complete_output(job, plan["inputs"], shards)
    resume.remove_work_folder(job.outputs.work_folder)
    return manifest


def _prepare(job: Job, earlier: manifest_lib.Manifest | None) -> dict[str, Any]:
    """Make the work folder with all spill files; return the plan."""
    folder = job.outputs.work_folder
    if os.path.exists(job.plan_path):
        with open(job.plan_path, encoding="utf-8") as file:
            return json.load(file)
    resume.remove_work_folder(folder)
    storage.makedirs(os.path.dirname(job.outputs.manifest) or ".")
    os.makedirs(folder)
    progress = Progress("reading", job.corpus_bytes)
    checksums = spill.spill_documents(
        job.files,
        folder,
        job.groups_per_shard * len(job.outputs.shards),
        job.settings.random_seed,
        progress.add,
        job.settings.reading_rules,
    )
    progress.close()
    plan = job.identity()
    for entry, checksum in zip(plan["inputs"], checksums, strict=True):
        entry["sha256"] = checksum
    if earlier is not None and plan["inputs"] != earlier.inputs:
        raise ValueError(
            "An input has changed since the earlier output: name another "
            "--output_file, or pass --overwrite."
        )
    manifest_lib.write_json(job.plan_path, plan)
    return plan


def _make_shards(job: Job, missing: list[int], num_workers: int):
    """Yield (shard, its manifest entry) as shards are finished."""
    work = workers.GroupJob(job.settings, job.vocabulary, job.outputs.work_folder)
    waiting = {
        shard: {group for group in job.groups_of(shard) if not work.is_made(group)}
        for shard in missing
    }
    groups = [group for shard in missing for group in sorted(waiting[shard])]
    total = sum(
        spill.group_bytes(work.folder, g) for s in missing for g in job.groups_of(s)
    )
    todo = sum(spill.group_bytes(work.folder, group) for group in groups)
    progress = Progress("writing", total, total - todo)
    for shard in [shard for shard in missing if not waiting[shard]]:
        yield shard, _finish_shard(job, work, shard)
    for group in workers.make_parts(work, groups, num_workers, progress.add):
        shard = group // job.groups_per_shard
        waiting[shard].remove(group)
        if not waiting[shard]:
            yield shard, _finish_shard(job, work, shard)
    progress.close()


def _finish_shard(job: Job, work: workers.GroupJob, shard: int) -> dict[str, Any]:
    """Join a shard's parts under its name; return its manifest entry."""
    path = job.outputs.shards[shard]
    total: counts_lib.Counts = {}
    sha256 = hashlib.sha256()
    size = 0
    # A TFRecord file is a plain run of records, so parts can be put end to end.
    with storage.open(path + ".partial", "wb") as output:
        output.write(b"")  # GFile makes no file before the first write.
        for group in job.groups_of(shard):
            counts_lib.add(total, work.read_counts(group))
            with open(work.part_path(group), "rb") as part:
                while block := part.read(_COPY_BYTES):
                    output.write(block)
                    sha256.update(block)
                    size += len(block)
    entry = finish.describe_shard(path, size, sha256.hexdigest(), total)
    manifest_lib.write_json(job.entry_path(shard), entry)
    storage.rename(path + ".partial", path, overwrite=True)
    for group in job.groups_of(shard):
        os.remove(work.part_path(group))
    return entry
