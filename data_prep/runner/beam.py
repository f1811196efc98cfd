"""The data stage on Apache Beam: the same groups, records and files as a local run.

Every document goes to the group that its hash names (`buckets`), a group's records
come from `build.GroupRecordMaker.make` as they do locally, and `finish`
writes report and manifest. Only what stands between, sorting documents and running
groups, is Beam's. All intermediate files lie in NAME.beam beside the output, where
every worker can reach them, and are removed at the end.
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

from data_prep import storage
from data_prep.records import build, tfrecords
from data_prep.records import manifest as manifest_lib
from data_prep.records.job import Job
from data_prep.records.settings import Settings
from data_prep.runner import buckets, finish, resume, run_lock
from data_prep.text import corpus
from data_prep.text import counts as counts_lib

_COPY_BYTES = 4 << 20
_PLAN_FILE = "plan.json"
_OWN_FILE = re.compile(r"plan\.json.*|(bad-input|input|group|shard)-[\w.-]+")
_BAD_INPUT = re.compile(r"bad-input-\d+\.json")
# Workers log every bundle otherwise; an option given later takes its place.
_QUIET = "--default_sdk_harness_log_level=WARNING"


def run(
    job: Job, runner: str, beam_arguments: list[str], overwrite: bool
) -> manifest_lib.Manifest:
    """Make the records of a job on a Beam runner.

    A pipeline that failed is run again from the start: going on within a run is the
    runner's part.

    Args:
        job: checked settings and existing inputs.
        runner: such as "DirectRunner" or "DataflowRunner".
        beam_arguments: Beam's own options, such as "--region=europe-west4".
        overwrite: remove an output that other flags or inputs made.

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
            f"Argument {beam_arguments[0]!r} belongs to no option: behind -- stand "
            "Beam's own options, as --name=value."
        )
    arguments = [f"--runner={runner}", _QUIET, *beam_arguments]
    try:
        options = PipelineOptions(arguments)
        # The only way to hear of words that no option takes.
        known = options.get_all_options(retain_unknown_options=True)
        kept = options.get_all_options()
    except SystemExit as error:
        raise ValueError(
            f"Beam refused its options {' '.join(beam_arguments)}: see its line above, "
            "and the runner's page at https://beam.apache.org for what it knows."
        ) from error
    unknown = set(known) - set(kept)
    if unknown:
        raise ValueError(
            f"Option --{min(unknown)} is unknown to Beam's {runner}: behind -- stand "
            "Beam's own options only."
        )
    return options


def _run_pipeline(job: Job, folder: str, options: PipelineOptions) -> None:
    num_groups = job.groups_per_shard * len(job.outputs.shards)
    pipeline = beam.Pipeline(options=options)
    files = [(number, file.path) for number, file in enumerate(job.files)]
    documents = (
        pipeline
        | "Files" >> beam.Create(files)
        | "SpreadFiles" >> beam.Reshuffle()
        | "ReadDocuments"
        >> beam.ParDo(_ReadDocuments(folder, num_groups, job.settings))
    )
    # So that a group without a document has a part and counts as well.
    groups = pipeline | "Groups" >> beam.Create([(g, None) for g in range(num_groups)])
    _ = (
        (documents, groups)
        | "DocumentsAndGroups" >> beam.Flatten()
        | "MeetInGroups" >> beam.GroupByKey()
        | "MakeParts" >> beam.ParDo(_MakePart(job, folder))
        | "MeetInShards" >> beam.GroupByKey()
        | "JoinParts" >> beam.ParDo(_JoinParts(job.outputs.shards, folder))
    )
    try:
        result = pipeline.run()
        result.wait_until_finish()
    # Runners raise what they like: RuntimeError, gRPC's and Google's own errors.
    except Exception as error:
        last = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(
            f"The Beam pipeline failed: {last[-1]}; its log above says more, and the "
            "same command starts it again."
        ) from error


class _ReadDocuments(beam.DoFn):
    """(number, path) of a file -> (group, (hash, text)) of each of its documents."""

    def __init__(self, folder: str, num_groups: int, settings: Settings):
        self._folder = folder
        self._num_groups = num_groups
        self._random_seed = settings.random_seed
        self._rules = settings.reading_rules

    def process(self, element):
        number, path = element
        sha256 = hashlib.sha256()
        try:
            for text, _ in corpus.read_documents(path, sha256, self._rules):
                digest = buckets.hash_document(text, self._random_seed)
                group = buckets.find_group(digest, self._num_groups)
                yield group, (digest, text)
        except (ValueError, OSError, tf.errors.OpError) as error:
            # Raised, it would be tried again and end in a traceback.
            text = " ".join((getattr(error, "message", None) or str(error)).split())
            _write_json(self._folder, "bad-input", number, {"message": text})
            return
        _write_json(self._folder, "input", number, {"sha256": sha256.hexdigest()})


class _MakePart(beam.DoFn):
    """(group, its documents) -> (shard, (group, path of its records, its counts))."""

    def __init__(self, job: Job, folder: str):
        self._settings = job.settings
        self._vocabulary = job.vocabulary
        self._groups_per_shard = job.groups_per_shard
        self._folder = folder
        self._maker = None

    def setup(self):
        self._maker = build.GroupRecordMaker(self._settings, self._vocabulary)

    def process(self, element: tuple[int, Iterable[Any]]):
        if _list_bad_inputs(self._folder):
            return
        group, entries = element
        documents = sorted(entry for entry in entries if entry is not None)
        counts: counts_lib.Counts = {}

        def batches():
            for block in self._maker.make([text for _, text in documents], group):
                counts_lib.add(counts, block.counts)
                yield block.records

        # A name of its own: a runner may try an element twice at the same time.
        path = os.path.join(self._folder, f"group-{group:06d}-{uuid.uuid4().hex}")
        tfrecords.write_records(path, batches())
        yield group // self._groups_per_shard, (group, path, counts)


class _JoinParts(beam.DoFn):
    """(shard, its parts) -> the shard's file and its entry for the manifest."""

    def __init__(self, shards: tuple[str, ...], folder: str):
        self._shards = shards
        self._folder = folder

    def process(self, element):
        shard, parts = element
        total: counts_lib.Counts = {}
        sha256 = hashlib.sha256()
        size = 0
        path = self._shards[shard]
        partial = f"{self._folder}/shard-{shard:05d}-{uuid.uuid4().hex}"
        with storage.open(partial, "wb") as output:
            output.write(b"")  # GFile makes no file before the first write.
            for _, part, counts in sorted(parts, key=lambda part: part[0]):
                counts_lib.add(total, counts)
                with storage.open(part, "rb") as file:
                    while block := file.read(_COPY_BYTES):
                        output.write(block)
                        sha256.update(block)
                        size += len(block)
        storage.rename(partial, path, overwrite=True)
        entry = finish.describe_shard(path, size, sha256.hexdigest(), total)
        _write_json(self._folder, "shard", shard, entry)


def _list_bad_inputs(folder: str) -> list[str]:
    names = sorted(storage.listdir(folder))
    return [f"{folder}/{name}" for name in names if _BAD_INPUT.fullmatch(name)]


def _write_json(folder: str, kind: str, number: int, content: dict[str, Any]) -> None:
    partial = f"{folder}/{kind}-{number:05d}-{uuid.uuid4().hex}"
    with storage.open(partial, "w") as file:
        file.write(json.dumps(content))
    storage.rename(partial, f"{folder}/{kind}-{number:05d}.json", overwrite=True)


def _read_json(path: str) -> dict[str, Any]:
    with storage.open(path, "r") as file:
        return json.loads(file.read())


def _check_folder(folder: str) -> None:
    """Raise ValueError if NAME.beam holds what no pipeline here wrote."""
    for name in storage.listdir(folder) if storage.exists(folder) else ():
        if not _OWN_FILE.fullmatch(name.rstrip("/")):
            raise ValueError(
                f"{folder!r} is needed for work but holds {name!r}: move that, or name "
                "another --output_file."
            )


def _remove_folder(folder: str) -> None:
    if storage.exists(folder):
        storage.rmtree(folder)
