"""The data stage on Apache Spark: see `cluster`."""

import functools
from collections.abc import Iterable

import py4j.protocol
import pyspark
import pyspark.errors
from pyspark.sql import SparkSession

from data_prep.records import manifest as manifest_lib
from data_prep.runner import cluster
from data_prep.runner.job import Job

_NAME = "bert_cn create_pretraining_data"


def run(job: Job, master: str, overwrite: bool) -> manifest_lib.Manifest:
    """Make the records of a job on Spark.

    The executors need this package and what it depends on, and reach input and output
    under the same paths.

    Args:
        job: checked settings and existing inputs.
        master: such as "spark://host:7077" or "local[4]"; "" for the one that
            spark-submit or the configuration names.
        overwrite: remove an earlier output.

    Returns:
        The manifest that was written.

    Raises:
        ValueError: there is no such master; others are those of `cluster.run`.
    """
    builder = SparkSession.builder.appName(_NAME)
    if master:
        builder = builder.master(master)
    try:
        session = builder.getOrCreate()
    except (*_ERRORS, RuntimeError) as error:
        raise ValueError(
            f"Spark does not start with --spark_master={master or 'its own'} "
            f"({_last_line(error)}): check the address, and that Java is installed."
        ) from error
    try:
        return cluster.run(job, "spark", _Engine(session.sparkContext), overwrite)
    finally:
        session.stop()


_ERRORS = (
    py4j.protocol.Py4JError,
    pyspark.errors.PySparkException,
    ConnectionError,
)


class _Engine:
    """`cluster.Engine` on Spark."""

    def __init__(self, context: pyspark.SparkContext):
        self._context = context

    def run(
        self, stages: cluster.Stages, items: list, first: str, *steps: cluster.Step
    ) -> None:
        """Run one job."""
        # Sent to each worker process once, which keeps it, and what it has built.
        shared = self._context.broadcast(stages)

        def call_first(item: tuple) -> Iterable:
            return getattr(shared.value, first)(*item)

        def call_step(name: str, key: int, entries: Iterable) -> Iterable:
            values = (value for _, value in entries)
            return getattr(shared.value, name)(key, values)

        values = self._context.parallelize(items, len(items)).flatMap(call_first)
        for name, num_keys in steps:
            # A partition for each key, one without a value as well.
            values = values.partitionBy(
                num_keys, lambda key: key
            ).mapPartitionsWithIndex(functools.partial(call_step, name))
        try:
            values.count()
        except _ERRORS as error:
            raise ValueError(
                f"The Spark job failed: {_last_line(error)}; see its log above, then "
                "run the same command to start it again."
            ) from error


def _last_line(error: BaseException) -> str:
    """Return the line of a Java or Python error that says most, without a trace."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if "Error: " in line or "Exception: " in line]
    return (told or lines or [type(error).__name__])[-1][:300]
