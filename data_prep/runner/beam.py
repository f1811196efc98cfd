"""The data stage on Apache Beam: see `cluster`."""

import functools
from collections.abc import Iterable
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from data_prep.records import manifest as manifest_lib
from data_prep.runner import cluster, spill
from data_prep.runner.job import Job

# Otherwise workers log every bundle; an option given later replaces this one.
_QUIET = "--default_sdk_harness_log_level=WARNING"


def run(
    job: Job, runner: str, beam_arguments: list[str], overwrite: bool
) -> manifest_lib.Manifest:
    """Make the records of a job on a Beam runner.

    Args:
        job: checked settings and existing inputs.
        runner: such as "DirectRunner" or "DataflowRunner".
        beam_arguments: Beam's own options, such as "--region=europe-west4".
        overwrite: remove an earlier output.

    Returns:
        The manifest that was written.

    Raises:
        ValueError: an option is unknown to Beam; others are those of `cluster.run`.
    """
    options = build_options(runner, beam_arguments)
    run_pipeline = functools.partial(_run_pipeline, options=options)
    return cluster.run(job, "beam", run_pipeline, overwrite)


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


def _run_pipeline(stages: cluster.Stages, options: PipelineOptions) -> None:
    pipeline = beam.Pipeline(options=options)
    documents = (
        pipeline
        | "Parts" >> beam.Create(stages.list_parts())
        | "SpreadParts" >> beam.Reshuffle()
        | "ReadDocuments" >> beam.ParDo(_ReadDocuments(stages))
    )
    # So that a bucket without a document has a part and counts as well.
    buckets_alone = [(bucket, None) for bucket in range(stages.num_buckets)]
    _ = (
        (documents, pipeline | "Buckets" >> beam.Create(buckets_alone))
        | "DocumentsAndBuckets" >> beam.Flatten()
        | "MeetInBuckets" >> beam.GroupByKey()
        | "MakeParts" >> beam.ParDo(_MakePart(stages))
        | "MeetInShards" >> beam.GroupByKey()
        | "JoinParts" >> beam.ParDo(_JoinParts(stages))
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


class _Stage(beam.DoFn):
    def __init__(self, stages: cluster.Stages):
        self._stages = stages


class _ReadDocuments(_Stage):
    def process(self, element: tuple[int, spill.Part]):
        return self._stages.read(*element)


class _MakePart(_Stage):
    def process(self, element: tuple[int, Iterable[Any]]):
        bucket, entries = element
        documents = [entry for entry in entries if entry is not None]
        return self._stages.make(bucket, documents)


class _JoinParts(_Stage):
    def process(self, element: tuple[int, Iterable[cluster.Part]]):
        self._stages.join(*element)
