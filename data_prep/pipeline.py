"""Plan shards, run their groups, go on after a kill, write the manifest.

The order of a run, which is also the order of a resumed one:
1. refuse an output that other flags or inputs made, unless it may be overwritten;
2. sort all documents into one spill file a group (again, if that was not finished);
3. make each group's part file (only those that are missing);
4. put each shard together from its parts, write its counts, rename it;
5. write the vocabulary's copy, then the manifest; remove the work folder.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import shutil
from collections import Counter
from typing import Any

import tensorflow as tf

from data_prep import corpus, group_workers, grouping, spill, vocab
from data_prep import manifest as manifest_lib
from data_prep.outputs import Outputs
from data_prep.progress import Progress
from data_prep.settings import Settings

_PLAN = "plan.json"
_WORK_FILES = re.compile(r"(plan|group-|shard-)[\w.-]*")
_COPY_BYTES = 4 << 20


@dataclasses.dataclass(frozen=True)
class Job:
    """One run: what goes in, what decides the records, where they go."""

    files: list[corpus.InputFile]
    vocabulary: vocab.Vocabulary
    settings: Settings
    outputs: Outputs

    @property
    def corpus_bytes(self) -> int:
        """Bytes of all input files."""
        return sum(file.bytes for file in self.files)

    @property
    def groups_per_shard(self) -> int:
        """Groups that make up one shard."""
        return grouping.count_groups_per_shard(
            self.corpus_bytes, len(self.outputs.shards)
        )

    def identity(self) -> dict[str, Any]:
        """Return what must be equal for an earlier output to be this one's."""
        return {
            **dataclasses.asdict(self.settings),
            "vocab_sha256": self.vocabulary.sha256,
            "shards": [os.path.basename(path) for path in self.outputs.shards],
            "inputs": [dataclasses.asdict(file) for file in self.files],
        }

    def groups_of(self, shard: int) -> range:
        """Return the numbers of a shard's groups."""
        return range(shard * self.groups_per_shard, (shard + 1) * self.groups_per_shard)


def run(job: Job, num_workers: int, overwrite: bool) -> manifest_lib.Manifest:
    """Make the records of a job, or what is missing of them.

    Args:
        job: checked settings and existing inputs.
        num_workers: processes; it does not change a byte of the output.
        overwrite: remove an output that other flags or inputs made.

    Returns:
        The manifest that was written.

    Raises:
        ValueError: the output exists and is another job's, an input is bad, or no
            sequence came out.
    """
    job.settings.check()
    if overwrite:
        remove_output(job)
    earlier = _find_earlier(job)
    shards = _finished_shards(job, earlier)
    missing = [shard for shard in range(len(shards)) if shards[shard] is None]
    if earlier is not None and not missing:
        _remove_work_folder(job.outputs.work_folder)
        return earlier
    plan = _prepare(job, earlier)
    for shard, entry in _make_shards(job, missing, num_workers):
        shards[shard] = entry
    counts = Counter({"files": len(job.files)})
    for entry in shards:
        counts.update(entry["counts"])
    if not counts["sequences"]:
        raise ValueError(
            "The input gave no sequence: every line is empty of tokens, or the whole "
            "text is one word; name other files with --input_file."
        )
    manifest = _build_manifest(job, plan["inputs"], dict(counts), shards)
    _copy_vocabulary(job)
    manifest_lib.write_manifest(manifest)
    _remove_work_folder(job.outputs.work_folder)
    return manifest


def remove_output(job: Job) -> None:
    """Remove whatever an earlier run left under the job's names."""
    outputs = job.outputs
    _remove_work_folder(outputs.work_folder)
    paths = {*outputs.shards, outputs.vocabulary, outputs.manifest}
    if tf.io.gfile.exists(outputs.manifest):
        # First, so that no reader takes what is left for complete.
        folder = os.path.dirname(outputs.manifest)
        # An unreadable manifest lists nothing that could be removed.
        with contextlib.suppress(ValueError):
            shards = manifest_lib.read_manifest(outputs.manifest).shards
            paths.update(os.path.join(folder, shard["file"]) for shard in shards)
        tf.io.gfile.remove(outputs.manifest)
    for path in paths:
        if tf.io.gfile.exists(path):
            tf.io.gfile.remove(path)


def _find_earlier(job: Job) -> manifest_lib.Manifest | None:
    """Return the manifest of an earlier run of the same job, if it finished."""
    outputs = job.outputs
    plan_path = os.path.join(outputs.work_folder, _PLAN)
    if tf.io.gfile.exists(outputs.manifest):
        manifest = manifest_lib.read_manifest(outputs.manifest)
        content = dataclasses.asdict(manifest)
        content["shards"] = [shard["file"] for shard in manifest.shards]
        _check_same(job, content, outputs.manifest)
        return manifest
    if os.path.exists(plan_path):
        with open(plan_path, encoding="utf-8") as file:
            _check_same(job, json.load(file), plan_path)
        return None
    for path in outputs.shards:
        if tf.io.gfile.exists(path):
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
    made_at = tf.io.gfile.stat(where).mtime_nsec
    for file in job.files:
        entry = old_files.pop(file.path, None)
        if entry is None:
            raise ValueError(
                f"Input {file.path!r} was not part of the earlier output (see "
                f"{where!r}): {advice}"
            )
        changed = entry["bytes"] != file.bytes
        # The times count whole seconds.
        if not changed and tf.io.gfile.stat(file.path).mtime_nsec >= made_at:
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


def _finished_shards(
    job: Job, earlier: manifest_lib.Manifest | None
) -> list[dict[str, Any] | None]:
    """Return the manifest's entry of each shard that is whole on disk."""
    entries: list[dict[str, Any] | None] = []
    for shard, path in enumerate(job.outputs.shards):
        entry = None
        entry_path = _entry_path(job, shard)
        if earlier is not None:
            entry = earlier.shards[shard]
        elif os.path.exists(entry_path):
            with open(entry_path, encoding="utf-8") as file:
                entry = json.load(file)
        whole = (
            entry is not None
            and tf.io.gfile.exists(path)
            and tf.io.gfile.stat(path).length == entry["bytes"]
        )
        entries.append(entry if whole else None)
    return entries


def _prepare(job: Job, earlier: manifest_lib.Manifest | None) -> dict[str, Any]:
    """Make the work folder with all spill files; return the plan."""
    folder = job.outputs.work_folder
    plan_path = os.path.join(folder, _PLAN)
    if os.path.exists(plan_path):
        with open(plan_path, encoding="utf-8") as file:
            return json.load(file)
    _remove_work_folder(folder)
    tf.io.gfile.makedirs(os.path.dirname(job.outputs.manifest) or ".")
    os.makedirs(folder)
    progress = Progress("reading", job.corpus_bytes)
    checksums = spill.spill_documents(
        job.files,
        folder,
        job.groups_per_shard * len(job.outputs.shards),
        job.settings.random_seed,
        progress.add,
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
    manifest_lib.write_json(plan_path, plan)
    return plan


def _make_shards(job: Job, missing: list[int], num_workers: int):
    """Yield (shard, its manifest entry) as shards are finished."""
    work = group_workers.GroupJob(job.settings, job.vocabulary, job.outputs.work_folder)
    waiting = {
        shard: {group for group in job.groups_of(shard) if not work.read_counts(group)}
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
    for group in group_workers.make_parts(work, groups, num_workers, progress.add):
        shard = group // job.groups_per_shard
        waiting[shard].remove(group)
        if not waiting[shard]:
            yield shard, _finish_shard(job, work, shard)
    progress.close()


def _finish_shard(job: Job, work: group_workers.GroupJob, shard: int) -> dict[str, Any]:
    """Join a shard's parts under its name; return its manifest entry."""
    path = job.outputs.shards[shard]
    counts: Counter[str] = Counter()
    sha256 = hashlib.sha256()
    size = 0
    # A TFRecord file is a plain run of records, so parts can be put end to end.
    with tf.io.gfile.GFile(path + ".partial", "wb") as output:
        output.write(b"")  # GFile makes no file before the first write.
        for group in job.groups_of(shard):
            counts.update(work.read_counts(group))
            with open(work.part_path(group), "rb") as part:
                while block := part.read(_COPY_BYTES):
                    output.write(block)
                    sha256.update(block)
                    size += len(block)
    entry = {
        "file": os.path.basename(path),
        "sequences": counts["sequences"],
        "bytes": size,
        "sha256": sha256.hexdigest(),
        "counts": dict(counts),
    }
    manifest_lib.write_json(_entry_path(job, shard), entry)
    tf.io.gfile.rename(path + ".partial", path, overwrite=True)
    for group in job.groups_of(shard):
        os.remove(work.part_path(group))
    return entry


def _entry_path(job: Job, shard: int) -> str:
    return os.path.join(job.outputs.work_folder, f"shard-{shard:05d}.json")


def _build_manifest(job: Job, inputs, counts, shards) -> manifest_lib.Manifest:
    return manifest_lib.Manifest(
        **dataclasses.asdict(job.settings),
        vocab_file=os.path.basename(job.outputs.vocabulary),
        vocab_size=len(job.vocabulary),
        vocab_sha256=job.vocabulary.sha256,
        inputs=inputs,
        counts=counts,
        shards=shards,
        path=job.outputs.manifest,
    )


def _remove_work_folder(folder: str) -> None:
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


def _copy_vocabulary(job: Job) -> None:
    # Written anew: a copy would inherit the original's rights, such as read-only.
    partial = job.outputs.vocabulary + ".partial"
    with tf.io.gfile.GFile(partial, "wb") as file:
        file.write(job.vocabulary.data)
    tf.io.gfile.rename(partial, job.outputs.vocabulary, overwrite=True)


def _hash_file(path: str) -> str:
    sha256 = hashlib.sha256()
    with tf.io.gfile.GFile(path, "rb") as file:
        while block := file.read(_COPY_BYTES):
            sha256.update(block)
    return sha256.hexdigest()


def _shorten(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
