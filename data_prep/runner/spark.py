"""The data stage on Apache Spark: see `cluster`."""

import functools
from collections.abc import Iterable, Iterator

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
        run_pipeline = functools.partial(_run_pipeline, session.sparkContext)
        return cluster.run(job, "spark", run_pipeline, overwrite)
    finally:
        session.stop()


_ERRORS = (
    py4j.protocol.Py4JError,
    pyspark.errors.PySparkException,
    ConnectionError,
)


def _run_pipeline(context: pyspark.SparkContext, stages: cluster.Stages) -> None:
    # Sent to each worker process once, which keeps it, and what it has built.
    shared = context.broadcast(stages)
    parts = stages.list_parts()
    num_shards = len(stages.job.outputs.shards)

    def read(part) -> Iterator:
        for bucket, document in shared.value.read(*part):
            digest = document[0]
            yield (bucket, digest), document

    def make(bucket: int, entries: Iterable) -> Iterator:
        return shared.value.make(bucket, (document for _, document in entries))

    try:
        (
            context.parallelize(parts, len(parts))
            .flatMap(read)
            # A partition for each bucket, one without a document as well.
            .repartitionAndSortWithinPartitions(stages.num_buckets, lambda key: key[0])
            .mapPartitionsWithIndex(make)
            .groupByKey(num_shards, lambda shard: shard)
            .foreach(lambda shard: shared.value.join(*shard))
        )
    except _ERRORS as error:
        raise ValueError(
            f"The Spark job failed: {_last_line(error)}; see its log above, then run "
            "the same command to start it again."
        ) from error


def _last_line(error: BaseException) -> str:
    """Return the line of a Java or Python error that says most, without a trace."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if "Error: " in line or "Exception: " in line]
    return (told or lines or [type(error).__name__])[-1][:300]
