"""The files that earlier runs left under a job's names: check, use or remove them."""

import contextlib
import json
import os
import re
import shutil
from typing import Any

from data_prep import storage
from data_prep.records import manifest as manifest_lib
from data_prep.records import report as report_lib
from data_prep.records import token_counts
from data_prep.runner.job import Job
from data_prep.text import counts as counts_lib

_WORK_FILES = re.compile(r"(plan|bucket-|shard-)[\w.-]*")


def find_earlier(job: Job, plan_path: str) -> manifest_lib.Manifest | None:
    """Return the manifest of an earlier run of the same job, if it finished.

    Args:
        job: to be run.
        plan_path: the file in which an unfinished run names its inputs and settings.

    Raises:
        ValueError: the output, or a part of it, is another job's.
    """
    outputs = job.outputs
    if storage.exists(outputs.manifest):
        manifest = manifest_lib.read_manifest(outputs.manifest)
        content = manifest_lib.as_json(manifest)
        content["shards"] = [shard["file"] for shard in manifest.shards]
        _check_same(job, content, outputs.manifest)
        return manifest
    if storage.exists(plan_path):
        _check_same(job, storage.read_json(plan_path), plan_path)
        return None
    for path in (*outputs.shards, *outputs.beside_shards):
        if storage.exists(path) and not _is_copy(job, path):
            raise ValueError(
                f"{path!r} exists and no manifest says what made it: name another "
                "--output_file, or pass --overwrite."
            )
    return None


def is_begun(job: Job) -> bool:
    """Say whether the work folder holds unfinished work of the same job."""
    if storage.exists(job.outputs.manifest) or not os.path.exists(job.plan_path):
        return False
    try:
        find_earlier(job, job.plan_path)
    except ValueError:
        return False
    return True


def _is_copy(job: Job, path: str) -> bool:
    """Say whether a file is already the copy of the vocabulary."""
    is_copy = path == job.outputs.vocabulary
    return is_copy and storage.read_bytes(path) == job.vocabulary.data


def _check_same(job: Job, earlier: dict[str, Any], where: str) -> None:
    for name, value in job.identity().items():
        old = earlier.get(name)
        if name == "inputs" and old is not None:
            _check_same_inputs(job, old, where)
        elif old != value:
            raise ValueError(
                f"The output was begun with {name}={_shorten(old)}, now it is "
                f"{_shorten(value)} (see {where!r}): name another --output_file, or "
                "pass --overwrite."
            )


def _check_same_inputs(job: Job, old: list[dict[str, Any]], where: str) -> None:
    advice = "name another --output_file, or pass --overwrite."
    old_files = {entry["path"]: entry for entry in old}
    made_at = storage.stat(where).mtime_nsec
    for file in job.files:
        entry = old_files.pop(file.path, None)
        if entry is None:
            raise ValueError(
                f"Input {file.path!r} was not part of the earlier output (see "
                f"{where!r}): {advice}"
            )
        if entry.get("copies", 1.0) != file.copies:
            raise ValueError(
                f"Input {file.path!r} has another weight than in the earlier output "
                f"(see {where!r}): {advice}"
            )
        changed = entry["bytes"] != file.bytes
        # Equal times too, because some storage counts whole seconds.
        if not changed and storage.stat(file.path).mtime_nsec >= made_at:
            changed = entry.get("sha256") != storage.hash_file(file.path)
        if changed:
            raise ValueError(
                f"Input {file.path!r} has changed since the earlier output (see "
                f"{where!r}): {advice}"
            )
    if old_files:
        raise ValueError(
            f"The earlier output (see {where!r}) also read {next(iter(old_files))!r}: "
            f"{advice}"
        )


def find_finished_shards(
    job: Job, earlier: manifest_lib.Manifest | None
) -> list[dict[str, Any] | None]:
    """Return the entry of each shard that is whole on disk, see `finish`."""
    entries: list[dict[str, Any] | None] = []
    statistics = {}
    if earlier is not None:
        statistics = _read_statistics(job, earlier)
    for shard, path in enumerate(job.outputs.shards):
        entry = None
        if earlier is not None:
            listed = earlier.shards[shard]
            # Without statistics it would be missing from the report.
            if listed["file"] in statistics:
                entry = {**listed, "statistics": statistics[listed["file"]]}
        elif os.path.exists(job.entry_path(shard)):
            with open(job.entry_path(shard), encoding="utf-8") as file:
                entry = json.load(file)
        whole = (
            entry is not None
            and storage.exists(path)
            and storage.stat(path).length == entry["bytes"]
            and storage.hash_file(path) == entry["sha256"]
        )
        entries.append(entry if whole else None)
    return entries


def _read_statistics(
    job: Job, earlier: manifest_lib.Manifest
) -> dict[str, counts_lib.Counts]:
    """Return file name -> statistics of each shard; {} if a file of them is lost."""
    statistics = report_lib.read_statistics(job.outputs.report)
    tokens = token_counts.read_counts(job.outputs.token_counts)
    if tokens is None:
        return {}
    return {
        shard["file"]: statistics[shard["file"]] | {token_counts.NAME: row.tolist()}
        for shard, row in zip(earlier.shards, tokens, strict=True)
        if shard["file"] in statistics
    }


def remove_output(job: Job, plan_path: str) -> None:
    """Remove all files of earlier runs under the job's names, except work folders.

    Args:
        job: to be run.
        plan_path: see `find_earlier`.
    """
    outputs = job.outputs
    folder = os.path.dirname(outputs.manifest)
    paths = {*outputs.shards, *outputs.beside_shards}
    if storage.exists(plan_path):
        # A broken plan lists nothing that could be removed.
        with contextlib.suppress(ValueError, KeyError, TypeError):
            shards = storage.read_json(plan_path)["shards"]
            paths.update(storage.join_named(folder, s, plan_path) for s in shards)
    if storage.exists(outputs.manifest):
        # An unreadable manifest lists nothing that could be removed.
        with contextlib.suppress(ValueError):
            shards = manifest_lib.read_manifest(outputs.manifest).shards
            paths.update(os.path.join(folder, shard["file"]) for shard in shards)
    # The manifest last: if this is killed, it still names what is left to remove.
    for path in sorted(paths, key=lambda path: path == outputs.manifest):
        is_input = os.path.abspath(path) == os.path.abspath(job.vocabulary.path)
        if storage.exists(path) and not is_input:
            storage.remove(path)


def check_work_folder(folder: str) -> None:
    """Raise ValueError if the work folder holds a file that no run wrote."""
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        if not _WORK_FILES.fullmatch(name):
            raise ValueError(
                f"{folder!r} is needed for work but holds {name!r}: move that, or name "
                "another --output_file."
            )


def remove_work_folder(folder: str) -> None:
    """Remove the work folder, see `check_work_folder`."""
    check_work_folder(folder)
    if os.path.isdir(folder):
        shutil.rmtree(folder)


def _shorten(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
