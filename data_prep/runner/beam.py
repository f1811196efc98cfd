"""The data stage on Apache Beam: the same buckets, records and files as a local run.

Every document goes to the bucket that its hash names (`buckets`), a bucket's records
come from `build.BucketRecordMaker.make` as they do locally, and `finish` joins shards
and writes report and manifest. Beam only sorts the documents and runs the buckets. All
intermediate files lie in NAME.beam beside the output, where every worker can reach
them, and are removed at the end.
"""

import hashlib
import json
import os
import re
import uuid
from collections.abc import Iterable
from typing import Any

import apache_beam as beam
import tensorflow as tf
from apache_beam.options.pipeline_options import PipelineOptions

from data_prep import command_line, storage
from data_prep.records import build, tfrecords
from data_prep.records import manifest as manifest_lib
from data_prep.runner import buckets, finish, held_out, resume, run_lock
from data_prep.runner.job import Job
from data_prep.text import corpus
from data_prep.text import counts as counts_lib

_PLAN_FILE = "plan.json"
_OWN_FILE = re.compile(r"plan\.json.*|(bad-input|input|bucket|shard)-[\w.-]+")
_BAD_INPUT = re.compile(r"bad-input-\d+\.json")
# Otherwise workers log every bundle; an option given later replaces this one.
_QUIET = "--default_sdk_harness_log_level=WARNING"


def run(
    job: Job, runner: str, beam_arguments: list[str], overwrite: bool
) -> manifest_lib.Manifest:
    """Make the records of a job on a Beam runner.

    A pipeline that failed is run again from the start: only the runner itself can
    resume within a run.

    Args:
        job: checked settings and existing inputs.
        runner: such as "DirectRunner" or "DataflowRunner".
        beam_arguments: Beam's own options, such as "--region=europe-west4".
        overwrite: remove an earlier output.

    Returns:
        The manifest that was written.

    Raises:
        ValueError: the output exists and is another job's, an input is bad, an option
            is unknown to Beam, the pipeline failed, or no sequence came out.
    """
    job.settings.check()
    options = build_options(runner, beam_arguments)
    folder = os.path.splitext(job.outputs.report_page)[0].removesuffix(".report")
    folder += ".beam"
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
        _run_pipeline(job, folder, options)
        for path in _list_bad_inputs(folder):
            raise ValueError(_read_json(path)["message"])
        inputs = [
            {
                "path": file.path,
                "bytes": file.bytes,
                **_read_json(f"{folder}/input-{number:05d}.json"),
            }
            for number, file in enumerate(job.files)
        ]
        shards = [
            _read_json(f"{folder}/shard-{shard:05d}.json")
            for shard in range(len(job.outputs.shards))
        ]
        manifest = finish.complete_output(job, inputs, shards)
        _remove_folder(folder)
        return manifest


def build_options(runner: str, beam_arguments: list[str]) -> PipelineOptions:
    """Return Beam's options.

    Raises:
        ValueError: Beam does not know an option.
    """
    if beam_arguments and not beam_arguments[0].startswith("--"):
        raise ValueError(
            f"Argument {beam_arguments[0]!r} belongs to no option: after -- stand "
            "Beam's own options, as --name=value."
        )
    arguments = [f"--runner={runner}", _QUIET, *beam_arguments]
    try:
        options = PipelineOptions(arguments)
        # The only way to find words that no option takes.
        known = options.get_all_options(retain_unknown_options=True)
        kept = options.get_all_options()
    except SystemExit as error:
        raise ValueError(
            f"Beam refused its options {' '.join(beam_arguments)}: see its line above, "
            "and the options on the runner's page at https://beam.apache.org."
        ) from error
    unknown = set(known) - set(kept)
    if unknown:
        raise ValueError(
            f"Option --{min(unknown)} is unknown to Beam's {runner}: after -- stand "
            "only Beam's own options."
        )
    return options


def _run_pipeline(job: Job, folder: str, options: PipelineOptions) -> None:
    num_buckets = job.num_buckets
    pipeline = beam.Pipeline(options=options)
    files = [(number, file.path) for number, file in enumerate(job.files)]
    documents = (
        pipeline
        | "Files" >> beam.Create(files)
        | "SpreadFiles" >> beam.Reshuffle()
        | "ReadDocuments" >> beam.ParDo(_ReadDocuments(folder, job))
    )
    # So that a bucket without a document has a part and counts as well.
    buckets_alone = [(bucket, None) for bucket in range(num_buckets)]
    _ = (
        (documents, pipeline | "Buckets" >> beam.Create(buckets_alone))
        | "DocumentsAndBuckets" >> beam.Flatten()
        | "MeetInBuckets" >> beam.GroupByKey()
        | "MakeParts" >> beam.ParDo(_MakePart(job, folder))
        | "MeetInShards" >> beam.GroupByKey()
        | "JoinParts" >> beam.ParDo(_JoinParts(job, folder))
    )
    try:
        result = pipeline.run()
        result.wait_until_finish()
    # Runners raise any kind: RuntimeError, gRPC's and Google's own errors.
    except Exception as error:
        last = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(
            f"The Beam pipeline failed: {last[-1]}; see its log above, then run the "
            "same command to start it again."
        ) from error


class _ReadDocuments(beam.DoFn):
    """(number, path) of a file -> (bucket, (hash, text)) of each of its documents."""

    def __init__(self, folder: str, job: Job):
        self._folder = folder
        self._job = job
        self._num_buckets = job.num_buckets

    def process(self, element):
        number, path = element
        sha256 = hashlib.sha256()
        try:
            settings = self._job.settings
            rules = settings.reading_rules
            for text, _ in corpus.read_documents(path, sha256, rules):
                if not held_out.takes(self._job, text):
                    continue
                digest = buckets.hash_document(text, settings.random_seed)
                bucket = buckets.find_bucket(digest, self._num_buckets)
                yield bucket, (digest, text)
        except (ValueError, OSError, tf.errors.OpError) as error:
            # If it were raised, Beam would try again and end with a traceback.
            message = command_line.describe_error(error)
            _write_json(self._folder, "bad-input", number, {"message": message})
            return
        _write_json(self._folder, "input", number, {"sha256": sha256.hexdigest()})


class _MakePart(beam.DoFn):
    """(bucket, its documents) -> (shard, (bucket, path of its records, its counts))."""

    def __init__(self, job: Job, folder: str):
        self._settings = job.settings
        self._vocabulary = job.vocabulary
        self._buckets_per_shard = job.buckets_per_shard
        self._folder = folder
        self._maker = None

    def setup(self):
        self._maker = build.BucketRecordMaker(self._settings, self._vocabulary)

    def process(self, element: tuple[int, Iterable[Any]]):
        if _list_bad_inputs(self._folder):
            return
        bucket, entries = element
        documents = sorted(entry for entry in entries if entry is not None)
        counts: counts_lib.Counts = {}

        def batches():
            for block in self._maker.make([text for _, text in documents], bucket):
                counts_lib.add(counts, block.counts)
                yield block.records

        # A name of its own: a runner may try an element twice at the same time.
        path = os.path.join(self._folder, f"bucket-{bucket:06d}-{uuid.uuid4().hex}")
        tfrecords.write_records(path, batches())
        yield bucket // self._buckets_per_shard, (bucket, path, counts)


class _JoinParts(beam.DoFn):
    """(shard, its parts) -> the shard's file and its entry for the manifest."""

    def __init__(self, job: Job, folder: str):
        self._shards = job.outputs.shards
        self._compression = job.settings.compression
        self._folder = folder

    def process(self, element):
        shard, parts = element
        parts = sorted(parts, key=lambda part: part[0])
        partial = f"{self._folder}/shard-{shard:05d}-{uuid.uuid4().hex}"
        entry = finish.join_parts(
            [(path, counts) for _, path, counts in parts],
            partial,
            self._shards[shard],
            self._compression,
        )
        _write_json(self._folder, "shard", shard, entry)


def _list_bad_inputs(folder: str) -> list[str]:
    names = sorted(storage.listdir(folder))
    return [f"{folder}/{name}" for name in names if _BAD_INPUT.fullmatch(name)]


def _write_json(folder: str, kind: str, number: int, content: dict[str, Any]) -> None:
    # Not storage.write_whole: processes of two machines may have the same number.
    partial = f"{folder}/{kind}-{number:05d}-{uuid.uuid4().hex}"
    with storage.open(partial, "w") as file:
        file.write(json.dumps(content))
    storage.rename(partial, f"{folder}/{kind}-{number:05d}.json", overwrite=True)


def _read_json(path: str) -> dict[str, Any]:
    with storage.open(path, "r") as file:
        return json.loads(file.read())


def _check_folder(folder: str) -> None:
    """Raise ValueError if NAME.beam holds a file that no pipeline of ours wrote."""
    for name in storage.listdir(folder) if storage.exists(folder) else ():
        if not _OWN_FILE.fullmatch(name.rstrip("/")):
            raise ValueError(
                f"{folder!r} is needed for work but holds {name!r}: move that, or name "
                "another --output_file."
            )


def _remove_folder(folder: str) -> None:
    if storage.exists(folder):
        storage.rmtree(folder)
