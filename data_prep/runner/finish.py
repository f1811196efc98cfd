"""The end of every run, local or not: vocabulary's copy, report, manifest."""

import dataclasses
import os
from typing import Any

from data_prep import storage
from data_prep.records import manifest as manifest_lib
from data_prep.records import report as report_lib
from data_prep.records.job import Job
from data_prep.text import counts as counts_lib


def complete_output(
    job: Job, inputs: list[dict[str, Any]], shards: list[dict[str, Any]]
) -> manifest_lib.Manifest:
    """Write what lies beside the shards, the manifest last.

    Args:
        job: what was made.
        inputs: of each text file its path, bytes and sha256.
        shards: of each record file what `describe_shard` returned.

    Raises:
        ValueError: no sequence came out.
    """
    counts: counts_lib.Counts = {"files": len(job.files)}
    for shard in shards:
        counts_lib.add(counts, shard["counts"])
    if not counts["sequences"]:
        raise ValueError(
            "The input gave no sequence: every line is empty of tokens, or the whole "
            "text is one word; name other files with --input_file."
        )
    listed = [{k: v for k, v in s.items() if k != "statistics"} for s in shards]
    manifest = manifest_lib.Manifest(
        **dataclasses.asdict(job.settings),
        vocab_file=os.path.basename(job.outputs.vocabulary),
        vocab_size=len(job.vocabulary),
        vocab_sha256=job.vocabulary.sha256,
        inputs=inputs,
        counts=counts,
        shards=listed,
        path=job.outputs.manifest,
    )
    _copy_vocabulary(job)
    report_lib.write_report(job, counts, shards)
    manifest_lib.write_manifest(manifest)
    return manifest


def restore_output(
    job: Job, manifest: manifest_lib.Manifest, shards: list[dict[str, Any]]
) -> manifest_lib.Manifest:
    """Write what lies beside finished shards again, if any of it is missing.

    Args:
        job: what was made.
        manifest: of it.
        shards: see `complete_output`.
    """
    if all(map(storage.exists, job.outputs.beside_shards)):
        return manifest
    return complete_output(job, manifest.inputs, shards)


def describe_shard(
    path: str, num_bytes: int, sha256: str, total: counts_lib.Counts
) -> dict[str, Any]:
    """Return a shard's entry: the manifest's, and "statistics" for the report."""
    counts, statistics = counts_lib.split(total)
    return {
        "file": os.path.basename(path),
        "sequences": counts["sequences"],
        "bytes": num_bytes,
        "sha256": sha256,
        "counts": counts,
        "statistics": statistics,
    }


def _copy_vocabulary(job: Job) -> None:
    # Written anew: a copy would inherit the original's rights, such as read-only.
    partial = job.outputs.vocabulary + ".partial"
    with storage.open(partial, "wb") as file:
        file.write(job.vocabulary.data)
    storage.rename(partial, job.outputs.vocabulary, overwrite=True)
