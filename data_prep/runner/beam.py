"""The data stage on Apache Beam: see `cluster`."""

from collections.abc import Iterable
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from data_prep.records import manifest as manifest_lib
from data_prep.runner import cluster
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
    return cluster.run(
        job, "beam", _Engine(build_options(runner, beam_arguments)), overwrite
    )


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


class _Engine:
    """`cluster.Engine` on Beam."""

    def __init__(self, options: PipelineOptions):
        self._options = options

    def run(
        self, stages: cluster.Stages, items: list, first: str, *steps: cluster.Step
    ) -> None:
        """Run one pipeline."""
        pipeline = beam.Pipeline(options=self._options)
        values = (
            pipeline
            | "items" >> beam.Create(items)
            | "spread" >> beam.Reshuffle()
            | first >> beam.ParDo(_First(stages, first))
        )
        for name, num_keys in steps:
            # So that a key without a value is called for as well.
            alone = [(key, None) for key in range(num_keys)]
            values = (
                (values, pipeline | f"keys of {name}" >> beam.Create(alone))
                | f"values of {name}" >> beam.Flatten()
                | f"meet for {name}" >> beam.GroupByKey()
                | name >> beam.ParDo(_Step(stages, name))
            )
        try:
            result = pipeline.run()
            result.wait_until_finish()
        # Runners raise any kind: RuntimeError, gRPC's and Google's own errors.
        except Exception as error:
            last = str(error).strip().splitlines() or [type(error).__name__]
            raise ValueError(
                f"The Beam pipeline failed: {last[-1]}; see its log above, then run "
                "the same command to start it again."
            ) from error


class _Method(beam.DoFn):
    def __init__(self, stages: cluster.Stages, name: str):
        self._stages, self._name = stages, name

    @property
    def _call(self):
        return getattr(self._stages, self._name)


class _First(_Method):
    def process(self, element: tuple):
        return self._call(*element)


class _Step(_Method):
    def process(self, element: tuple[int, Iterable[Any]]):
        key, values = element
        return self._call(key, [value for value in values if value is not None])
