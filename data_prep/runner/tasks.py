"""One of several independent processes that share an output, without a coordinator.

They may be the tasks of a Slurm array or of an indexed Kubernetes job. Each reads the
whole text and keeps the documents of its own shards, every `num_tasks`-th one. What it
has finished lies in NAME.tasks beside the output, and whoever finds all shards there
writes the manifest: the last one to finish. A task that was killed is run again, alone;
the bytes are those of a run without tasks.
"""

import dataclasses
import os

from data_prep import storage
from data_prep.records import manifest as manifest_lib
from data_prep.runner import finish, local, resume, run_lock
from data_prep.runner.job import Job

_PLAN, _INPUTS = "plan.json", "inputs.json"


def run(
    job: Job, task_index: int, num_tasks: int, num_workers: int
) -> manifest_lib.Manifest | None:
    """Make the shards of one task, and the manifest if they were the last.

    Args:
        job: as a run without tasks would have it.
        task_index: this task's number, from 0 on.
        num_tasks: how many there are.
        num_workers: processes of this task.

    Returns:
        The manifest; None if other tasks have shards to make.

    Raises:
        ValueError: the output is another job's, or the job compares all documents.
    """
    _check(job, num_tasks)
    folder = job.outputs.stem + ".tasks"
    task = dataclasses.replace(
        job,
        own_shards=tuple(range(task_index, len(job.outputs.shards), num_tasks)),
        outputs=dataclasses.replace(
            job.outputs, work_folder=f"{job.outputs.work_folder}-{task_index}"
        ),
    )
    plan_path = os.path.join(folder, _PLAN)
    with run_lock.hold_lock(task.outputs):
        earlier = resume.find_earlier(job, plan_path)
        if earlier is not None:
            return earlier
        storage.makedirs(folder)
        manifest_lib.write_json(plan_path, job.identity())
        _make_shards(task, folder, num_workers)
    return _complete(job, folder)


def _check(job: Job, num_tasks: int) -> None:
    if num_tasks > len(job.outputs.shards):
        raise ValueError(
            f"--num_tasks={num_tasks} is more than the {len(job.outputs.shards)} "
            "shards that tasks share: raise --num_shards."
        )
    settings = job.settings
    if settings.deduplicate == "near" or settings.drop_repeated_lines:
        raise ValueError(
            "--deduplicate=near and --drop_repeated_lines compare all documents, of "
            "which a task of --num_tasks has its own alone: leave out one or the other."
        )


def _make_shards(task: Job, folder: str, num_workers: int) -> None:
    missing = [s for s in task.own_shards if not _is_whole(task, folder, s)]
    if missing:
        plan = local.prepare(task, None, num_workers)
        manifest_lib.write_json(os.path.join(folder, _INPUTS), plan["inputs"])
        for shard, entry in local.make_shards(task, missing, num_workers):
            manifest_lib.write_json(_entry_path(folder, shard), entry)
    resume.remove_work_folder(task.outputs.work_folder)


def _complete(job: Job, folder: str) -> manifest_lib.Manifest | None:
    shards = range(len(job.outputs.shards))
    try:
        if not all(_is_whole(job, folder, shard) for shard in shards):
            return None
        inputs = storage.read_json(os.path.join(folder, _INPUTS))
        entries = [storage.read_json(_entry_path(folder, shard)) for shard in shards]
    except FileNotFoundError:
        # Another task was the last as well, and has removed the folder.
        return manifest_lib.read_manifest(job.outputs.manifest)
    manifest = finish.complete_output(job, inputs, entries)
    if storage.exists(folder):
        storage.rmtree(folder)
    return manifest


def _is_whole(job: Job, folder: str, shard: int) -> bool:
    path, entry_path = job.outputs.shards[shard], _entry_path(folder, shard)
    if not (storage.exists(path) and storage.exists(entry_path)):
        return False
    return storage.stat(path).length == storage.read_json(entry_path)["bytes"]


def _entry_path(folder: str, shard: int) -> str:
    return os.path.join(folder, f"shard-{shard:05d}.json")
