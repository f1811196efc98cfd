"""The end of every run, local or not: joined shards, vocabulary, report, manifest."""

import errno
import hashlib
import os
from collections.abc import Iterable, Iterator
from typing import Any

from data_prep import storage, web_page
from data_prep.records import manifest as manifest_lib
from data_prep.records import report as report_lib
from data_prep.records import report_page, tfrecords, token_counts
from data_prep.runner.job import Job
from data_prep.text import counts as counts_lib

_COPY_BYTES = 4 << 20


def join_parts(
    parts: Iterable[tuple[str, counts_lib.Counts]],
    partial: str,
    path: str,
    compression: str,
    takes_first: bool = False,
) -> dict[str, Any]:
    """Concatenate the parts of a shard; return the shard's entry.

    Args:
        parts: (file of records, its counts) of each bucket, in order.
        partial: a temporary file on the file system of `path`.
        path: the shard, which appears when it is whole.
        compression: of the shard, see `tfrecords.COMPRESSIONS`; parts have none.
        takes_first: the first part may become the shard, which saves copying it.

    Returns:
        The shard's entry in the manifest, and "statistics" for the report.
    """
    files, part_counts = zip(*parts, strict=True)
    total: counts_lib.Counts = {}
    for counts in part_counts:
        counts_lib.add(total, counts)
    sha256 = hashlib.sha256()
    size = 0
    copied = files
    if takes_first and compression == "none" and _move(files[0], partial):
        copied = files[1:]
        for block in _read(partial):
            sha256.update(block)
            size += len(block)
    with storage.open(partial, "wb" if copied is files else "ab") as output:
        output.write(b"")  # GFile makes no file before the first write.
        # A TFRecord file is its records alone, so files can be concatenated.
        blocks = (block for file in copied for block in _read(file))
        for block in tfrecords.compress(blocks, compression):
            output.write(block)
            sha256.update(block)
            size += len(block)
    storage.rename(partial, path, overwrite=True)
    counts, statistics = counts_lib.split(total)
    return {
        "file": os.path.basename(path),
        "sequences": counts["sequences"],
        "bytes": size,
        "sha256": sha256.hexdigest(),
        "counts": counts,
        "statistics": statistics,
    }


def _move(part: str, partial: str) -> bool:
    """Rename a part, if both are on one local file system; say whether it was done."""
    if storage.is_remote(partial):
        return False
    try:
        os.replace(part, partial)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        return False
    return True


def _read(path: str) -> Iterator[bytes]:
    with storage.open(path, "rb") as file:
        while block := file.read(_COPY_BYTES):
            yield block


def complete_output(
    job: Job, inputs: list[dict[str, Any]], shards: list[dict[str, Any]]
) -> manifest_lib.Manifest:
    """Write the files beside the shards, the manifest last.

    Args:
        job: it has been run.
        inputs: path, bytes and sha256 of each text file.
        shards: each record file's entry from `join_parts`.

    Raises:
        ValueError: no sequence came out.
    """
    counts: counts_lib.Counts = {"files": len(job.files)}
    for shard in shards:
        counts_lib.add(counts, shard["counts"])
    if not counts["sequences"]:
        if job.settings.split == "eval":
            raise ValueError(
                "Not a document of the text is held out, or none gives a sequence: "
                "raise --eval_fraction or --eval_documents, or leave them out."
            )
        raise ValueError(
            "The input gave no sequence: every line is empty of tokens, or the whole "
            "text is one word; name other files with --input_file."
        )
    listed = [{k: v for k, v in s.items() if k != "statistics"} for s in shards]
    manifest = manifest_lib.Manifest(
        settings=job.settings,
        vocab_file=os.path.basename(job.outputs.vocabulary),
        vocab_size=len(job.vocabulary),
        vocab_sha256=job.vocabulary.sha256,
        inputs=inputs,
        counts=counts,
        shards=listed,
        path=job.outputs.manifest,
    )
    # Written, not copied: a copy would inherit the original's rights, such as
    # read-only.
    storage.write_whole(job.outputs.vocabulary, job.vocabulary.data)
    token_counts.write_counts(
        job.outputs.token_counts,
        [shard["statistics"].get(token_counts.NAME, []) for shard in shards],
        len(job.vocabulary),
    )
    _write_report(job, counts, shards)
    manifest_lib.write_manifest(manifest)
    return manifest


def restore_output(
    job: Job, manifest: manifest_lib.Manifest, shards: list[dict[str, Any]]
) -> manifest_lib.Manifest:
    """Write the files beside finished shards again, if any of them is missing.

    Args:
        job: it has been run.
        manifest: written by that run.
        shards: see `complete_output`.
    """
    if all(map(storage.exists, job.outputs.beside_shards)):
        return manifest
    return complete_output(job, manifest.inputs, shards)


def _write_report(
    job: Job, counts: counts_lib.Counts, shards: list[dict[str, Any]]
) -> None:
    outputs = job.outputs
    report = report_lib.build_report(job.settings, job.vocabulary, counts, shards)
    name = os.path.basename(outputs.report).split(".report")[0]
    image = os.path.basename(outputs.report_image)
    page = report_page.write_markdown(report, name, image)
    plots = report_page.draw_plots(report)
    storage.write_whole(outputs.report_image, plots)
    storage.write_whole(outputs.report_page, page)
    storage.write_whole(
        outputs.report_web_page,
        web_page.render(f"Data report: {name}", page, {image: plots}),
    )
    manifest_lib.write_json(outputs.report, report)
