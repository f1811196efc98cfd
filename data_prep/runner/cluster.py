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
import os
import re
import uuid
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from data_prep import command_line, storage
from data_prep.records import build, tfrecords
from data_prep.records import manifest as manifest_lib
from data_prep.runner import cluster_comparison, finish, resume, run_lock, spill
from data_prep.runner.job import Job
from data_prep.text import corpus
from data_prep.text import counts as counts_lib

_PLAN_FILE = "plan.json"
_OWN_FILE = re.compile(
    r"plan[\w.-]*|(bad-input|input|bucket|shard|lines|edges)-[\w.-]+"
)
_BAD_INPUT = re.compile(r"bad-input-\d+\.json")

# A bucket's records: its number, their file, their counts.
Part = tuple[int, str, counts_lib.Counts]


# A method of `Stages`, and the number of keys that it is called for.
Step = tuple[str, int]


class Engine(Protocol):
    """What a runner does for us."""

    def run(self, stages: "Stages", items: list, first: str, *steps: Step) -> None:
        """Call methods of `stages` on the workers.

        `first` is called for each item and yields (key, value). Each step is called
        with each of its keys, from 0 on, and all values that have it, and yields
        (key, value) for the next step; the last one yields nothing.

        Args:
            stages: is sent to the workers.
            items: tuples, the arguments of `first`.
            first: name of a method.
            *steps: what follows.

        Raises:
            ValueError: the runner failed.
        """


def run(job: Job, kind: str, engine: Engine, overwrite: bool) -> manifest_lib.Manifest:
    """Make the records of a job on a cluster.

    A pipeline that failed is run again from the start: only the runner itself can
    resume within a run.

    Args:
        job: checked settings and existing inputs.
        kind: "beam" or "spark", the ending of the folder.
        engine: calls the stages on the workers.
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
        _run_stages(engine, Stages(job, folder))
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


def _run_stages(engine: Engine, stages: "Stages") -> None:
    join = ("join", len(stages.job.outputs.shards))
    parts = list(enumerate(spill.list_parts(stages.job)))
    if not stages.compares:
        engine.run(stages, parts, "read", ("make", stages.num_buckets), join)
        stages.refuse_bad_input()
        return
    num_compared = stages.job.num_compared_buckets
    engine.run(stages, parts, "read", ("spill", num_compared))
    stages.refuse_bad_input()
    every = [(bucket,) for bucket in range(num_compared)]
    if stages.job.settings.drop_repeated_lines:
        engine.run(stages, every, "count_lines", ("find_repeated", num_compared))
        stages.join_repeated()
    if stages.job.settings.deduplicate == "near":
        count = stages.job.num_near_buckets
        compare = (("meet", count), ("attach", count), ("compare", count))
        engine.run(stages, every[:count], "sign", *compare)
        stages.choose_kept()
    engine.run(stages, every[: stages.num_buckets], "make_spilled", join)


class Stages(cluster_comparison.Comparison):
    """What workers do; it is sent to them.

    Args:
        job: checked settings and existing inputs.
        folder: of the intermediate files.

    Attributes:
        job: see above.
        num_buckets: of the job.
    """

    def __init__(self, job: Job, folder: str):
        super().__init__(job, folder)
        # Sums over all files, so they are not asked for again for a document.
        self.num_buckets = job.num_buckets
        self._buckets_per_shard = job.buckets_per_shard
        self._sorter = spill.Sorter(job)
        self._maker: build.BucketRecordMaker | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_maker": None}

    @property
    def compares(self) -> bool:
        """Whether documents are compared before records are made of them."""
        settings = self.job.settings
        return settings.deduplicate == "near" or settings.drop_repeated_lines > 0

    def refuse_bad_input(self) -> None:
        """Raise ValueError if a worker found an input bad."""
        for path in _list_bad_inputs(self.folder):
            raise ValueError(storage.read_json(path)["message"])

    def read(
        self, number: int, part: spill.Part
    ) -> Iterator[tuple[int, spill.Document]]:
        """Yield the documents of a part, and the bucket of each."""
        try:
            yield from self._read(part)
        except (ValueError, OSError, *command_line.file_errors()) as error:
            # If it were raised, the runner would try again and end with a traceback.
            message = command_line.describe_error(error)
            self.write_json(f"bad-input-{number:05d}.json", {"message": message})

    def _read(self, part: spill.Part) -> Iterator[tuple[int, spill.Document]]:
        file, name = self.job.files[part.file], f"input-{part.file:05d}.json"
        if part.bytes is None:
            self.write_json(name, {"sha256": storage.hash_file(file.path)})
            return
        sha256 = hashlib.sha256() if part.bytes.is_whole else None
        rules = self.job.settings.reading_rules
        for text, _ in corpus.read_documents(file.path, sha256, rules, part.bytes):
            found = self._sorter.find(text, file.copies)
            if found is not None:
                yield found
        if sha256 is not None:
            self.write_json(name, {"sha256": sha256.hexdigest()})

    def make(self, bucket: int, documents: Iterable[spill.Document]) -> Iterator:
        """Write a bucket's records; yield (shard, `Part`), or nothing after bad input.

        Args:
            bucket: its number.
            documents: all of its documents, in any order.
        """
        if _list_bad_inputs(self.folder):
            return
        texts = [(text, copies) for _, text, copies in sorted(documents)]
        yield from self._make(bucket, texts, {})

    def make_spilled(self, bucket: int) -> Iterator:
        """Do the same for documents that `spill` wrote and that were compared."""
        yield from self._make(bucket, *self.load_kept(bucket))

    def _make(self, bucket: int, texts, counts: counts_lib.Counts) -> Iterator:
        if self._maker is None:
            settings, vocabulary = self.job.settings, self.job.vocabulary
            self._maker = build.BucketRecordMaker(settings, vocabulary)

        def batches() -> Iterator[list[bytes]]:
            for block in self._maker.make(texts, bucket):
                counts_lib.add(counts, block.counts)
                yield block.records

        # A name of its own: a runner may try a bucket twice at the same time.
        path = os.path.join(self.folder, f"bucket-{bucket:06d}-{uuid.uuid4().hex}")
        tfrecords.write_records(path, batches())
        yield bucket // self._buckets_per_shard, (bucket, path, counts)

    def join(self, shard: int, parts: Iterable[Part]) -> Iterable:
        """Write a shard's file, and its entry for the manifest."""
        parts = sorted(parts, key=lambda part: part[0])
        if parts:  # There are none after bad input.
            partial = f"{self.folder}/shard-{shard:05d}-{uuid.uuid4().hex}"
            entry = finish.join_parts(
                [(path, counts) for _, path, counts in parts],
                partial,
                self.job.outputs.shards[shard],
                self.job.settings.compression,
            )
            self.write_json(f"shard-{shard:05d}.json", entry)
        return ()


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
