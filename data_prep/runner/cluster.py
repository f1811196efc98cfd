"""The stages of a run on a cluster: what Beam and Spark have in common.

Every document goes to the bucket that its hash names (`buckets`), a bucket's records
come from `build.BucketRecordMaker.make` as they do locally, and `finish` joins shards
and writes report and manifest. A runner only sorts the documents and runs the buckets.
All intermediate files lie in a folder beside the output, NAME.beam or NAME.spark, where
every worker can reach them, and are removed at the end. So the output is that of a
local run, byte for byte.
"""

import dataclasses
import hashlib
import json
import os
import re
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from data_prep import command_line, storage
from data_prep.records import build, tfrecords
from data_prep.records import manifest as manifest_lib
from data_prep.runner import buckets, finish, held_out, resume, run_lock, spill
from data_prep.runner.job import Job
from data_prep.text import corpus
from data_prep.text import counts as counts_lib

_PLAN_FILE = "plan.json"
_OWN_FILE = re.compile(r"plan\.json.*|(bad-input|input|bucket|shard)-[\w.-]+")
_BAD_INPUT = re.compile(r"bad-input-\d+\.json")

# A document: its hash, text and copies.
Document = tuple[bytes, str, int]
# A bucket's records: its number, their file, their counts.
Part = tuple[int, str, counts_lib.Counts]


def run(
    job: Job,
    kind: str,
    run_pipeline: Callable[["Stages"], None],
    overwrite: bool,
) -> manifest_lib.Manifest:
    """Make the records of a job on a cluster.

    A pipeline that failed is run again from the start: only the runner itself can
    resume within a run.

    Args:
        job: checked settings and existing inputs.
        kind: "beam" or "spark", the ending of the folder.
        run_pipeline: calls the stages for all parts, buckets and shards.
        overwrite: remove an earlier output.

    Returns:
        The manifest that was written.

    Raises:
        ValueError: the output exists and is another job's, an input is bad, the
            pipeline failed, or no sequence came out.
    """
    job.settings.check()
    folder = f"{job.outputs.stem}.{kind}"
    with run_lock.hold_lock(job.outputs):
        plan_path = f"{folder}/{_PLAN_FILE}"
        _check_folder(folder)
        if overwrite:
            resume.remove_output(job, plan_path)
        elif earlier := resume.find_earlier(job, plan_path):
            shards = resume.find_finished_shards(job, earlier)
            if None not in shards:
                _remove_folder(folder)
                return finish.restore_output(job, earlier, shards)
        _remove_folder(folder)
        storage.makedirs(folder)
        manifest_lib.write_json(plan_path, job.identity())
        run_pipeline(Stages(job, folder))
        for path in _list_bad_inputs(folder):
            raise ValueError(storage.read_json(path)["message"])
        inputs = [
            {
                **dataclasses.asdict(file),
                **storage.read_json(f"{folder}/input-{number:05d}.json"),
            }
            for number, file in enumerate(job.files)
        ]
        shards = [
            storage.read_json(f"{folder}/shard-{shard:05d}.json")
            for shard in range(len(job.outputs.shards))
        ]
        manifest = finish.complete_output(job, inputs, shards)
        _remove_folder(folder)
        return manifest


class Stages:
    """What workers do; it is sent to them.

    Args:
        job: checked settings and existing inputs.
        folder: of the intermediate files.

    Attributes:
        job: see above.
        num_buckets: of the job.
    """

    def __init__(self, job: Job, folder: str):
        self.job = job
        self._folder = folder
        # Sums over all files, so they are not asked for again for a document.
        self.num_buckets = job.num_buckets
        self._buckets_per_shard = job.buckets_per_shard
        self._maker: build.BucketRecordMaker | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_maker": None}

    def list_parts(self) -> list[tuple[int, spill.Part]]:
        """Return the parts of all files, numbered."""
        return list(enumerate(spill.list_parts(self.job)))

    def read(self, number: int, part: spill.Part) -> Iterator[tuple[int, Document]]:
        """Yield the documents of a part, and the bucket of each."""
        try:
            yield from self._read(part)
        except (ValueError, OSError, *command_line.file_errors()) as error:
            # If it were raised, the runner would try again and end with a traceback.
            message = command_line.describe_error(error)
            self._write_json("bad-input", number, {"message": message})

    def _read(self, part: spill.Part) -> Iterator[tuple[int, Document]]:
        settings, file = self.job.settings, self.job.files[part.file]
        if part.bytes is None:
            checksum = storage.hash_file(file.path)
            self._write_json("input", part.file, {"sha256": checksum})
            return
        sha256 = hashlib.sha256() if part.bytes.is_whole else None
        copies = file.copies if settings.split == "train" else 1.0
        for text, _ in corpus.read_documents(
            file.path, sha256, settings.reading_rules, part.bytes
        ):
            if not held_out.takes(self.job, text):
                continue
            digest = buckets.hash_document(text, settings.random_seed)
            bucket = buckets.find_bucket(digest, self.num_buckets)
            yield bucket, (digest, text, spill.count_copies(digest, copies))
        if sha256 is not None:
            self._write_json("input", part.file, {"sha256": sha256.hexdigest()})

    def make(self, bucket: int, documents: Iterable[Document]) -> Iterator:
        """Write a bucket's records; yield (shard, `Part`), or nothing after bad input.

        Args:
            bucket: its number.
            documents: all of its documents, in any order.
        """
        if _list_bad_inputs(self._folder):
            return
        if self._maker is None:
            settings, vocabulary = self.job.settings, self.job.vocabulary
            self._maker = build.BucketRecordMaker(settings, vocabulary)
        texts = [(text, copies) for _, text, copies in sorted(documents)]
        counts: counts_lib.Counts = {}

        def batches() -> Iterator[list[bytes]]:
            for block in self._maker.make(texts, bucket):
                counts_lib.add(counts, block.counts)
                yield block.records

        # A name of its own: a runner may try a bucket twice at the same time.
        path = os.path.join(self._folder, f"bucket-{bucket:06d}-{uuid.uuid4().hex}")
        tfrecords.write_records(path, batches())
        yield bucket // self._buckets_per_shard, (bucket, path, counts)

    def join(self, shard: int, parts: Iterable[Part]) -> None:
        """Write a shard's file, and its entry for the manifest."""
        parts = sorted(parts, key=lambda part: part[0])
        partial = f"{self._folder}/shard-{shard:05d}-{uuid.uuid4().hex}"
        entry = finish.join_parts(
            [(path, counts) for _, path, counts in parts],
            partial,
            self.job.outputs.shards[shard],
            self.job.settings.compression,
        )
        self._write_json("shard", shard, entry)

    def _write_json(self, kind: str, number: int, content: dict[str, Any]) -> None:
        # Not storage.write_whole: processes of two machines may have the same number.
        partial = f"{self._folder}/{kind}-{number:05d}-{uuid.uuid4().hex}"
        with storage.open(partial, "w") as file:
            file.write(json.dumps(content))
        path = f"{self._folder}/{kind}-{number:05d}.json"
        storage.rename(partial, path, overwrite=True)


def _list_bad_inputs(folder: str) -> list[str]:
    names = sorted(storage.listdir(folder))
    return [f"{folder}/{name}" for name in names if _BAD_INPUT.fullmatch(name)]


def _check_folder(folder: str) -> None:
    """Raise ValueError if the folder holds a file that no pipeline of ours wrote."""
    for name in storage.listdir(folder) if storage.exists(folder) else ():
        if not _OWN_FILE.fullmatch(name.rstrip("/")):
            raise ValueError(
                f"{folder!r} is needed for work but holds {name!r}: move that, or name "
                "another --output_file."
            )


def _remove_folder(folder: str) -> None:
    if storage.exists(folder):
        storage.rmtree(folder)
