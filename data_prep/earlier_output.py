"""What earlier runs left under a job's names: check it, use it, or remove it."""

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import shutil
from typing import Any

from data_prep import data_report, storage
from data_prep import manifest as manifest_lib
from data_prep.job import Job

_WORK_FILES = re.compile(r"(plan|group-|shard-)[\w.-]*")
_COPY_BYTES = 4 << 20


def find_earlier(job: Job) -> manifest_lib.Manifest | None:
    """Return the manifest of an earlier run of the same job, if it finished."""
    outputs = job.outputs
    if storage.exists(outputs.manifest):
        manifest = manifest_lib.read_manifest(outputs.manifest)
        content = dataclasses.asdict(manifest)
        content["shards"] = [shard["file"] for shard in manifest.shards]
        _check_same(job, content, outputs.manifest)
        return manifest
    if os.path.exists(job.plan_path):
        with open(job.plan_path, encoding="utf-8") as file:
            _check_same(job, json.load(file), job.plan_path)
        return None
    for path in outputs.shards:
        if storage.exists(path):
            raise ValueError(
                f"{path!r} exists and no manifest says what made it: name another "
                "--output_file, or pass --overwrite."
            )
    return None


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
        changed = entry["bytes"] != file.bytes
        # The times count whole seconds.
        if not changed and storage.stat(file.path).mtime_nsec >= made_at:
            changed = entry["sha256"] != _hash_file(file.path)
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
    """Return the entry of each shard that is whole on disk, see `completion`."""
    entries: list[dict[str, Any] | None] = []
    statistics = {}
    if earlier is not None:
        statistics = data_report.read_statistics(job.outputs.report)
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
        )
        entries.append(entry if whole else None)
    return entries


def remove_output(job: Job) -> None:
    """Remove whatever an earlier run left under the job's names."""
    outputs = job.outputs
    remove_work_folder(outputs.work_folder)
    paths = {*outputs.shards, *outputs.beside_shards}
    if storage.exists(outputs.manifest):
        # First, so that no reader takes what is left for complete.
        folder = os.path.dirname(outputs.manifest)
        # An unreadable manifest lists nothing that could be removed.
        with contextlib.suppress(ValueError):
            shards = manifest_lib.read_manifest(outputs.manifest).shards
            paths.update(os.path.join(folder, shard["file"]) for shard in shards)
        storage.remove(outputs.manifest)
    for path in paths:
        if storage.exists(path):
            storage.remove(path)


def remove_work_folder(folder: str) -> None:
    """Remove the work folder; ValueError if it holds what this module never wrote."""
    if not os.path.isdir(folder):
        return
    for name in os.listdir(folder):
        if not _WORK_FILES.fullmatch(name):
            raise ValueError(
                f"{folder!r} is needed for work but holds {name!r}: move that, or name "
                "another --output_file."
            )
    shutil.rmtree(folder)


def _hash_file(path: str) -> str:
    sha256 = hashlib.sha256()
    with storage.open(path, "rb") as file:
        while block := file.read(_COPY_BYTES):
            sha256.update(block)
    return sha256.hexdigest()


def _shorten(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
