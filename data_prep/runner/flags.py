"""The flags of create_pretraining_data, and their values as one."""

import dataclasses

from absl import flags

from data_prep import command_line
from data_prep.records import schema, similar_words, tfrecords
from data_prep.records.settings import Settings
from data_prep.runner import record_flags
from data_prep.text import quality_filter, segmentation

# The flags belong to the command that calls `define_flags`: --help lists them there.
flags.disclaim_key_flags()

_BEAM_RUNNERS = (
    *("DirectRunner", "DataflowRunner", "FlinkRunner", "SparkRunner"),
    "PortableRunner",
)
SPARK = "spark"
RUNNERS = (SPARK, *_BEAM_RUNNERS)
_DEFAULT = Settings()


@dataclasses.dataclass(frozen=True)
class DataArgs:
    """One run of the data stage."""

    input_file: str
    """Paths and globs of text files, separated by commas."""

    output_file: str
    """The record file, or a comma list of them; see `outputs.plan_outputs`."""

    vocab_file: str
    """The WordPiece vocabulary."""

    settings: Settings
    """The flags that, with text and vocabulary, decide the bytes of the records."""

    num_shards: int
    """Record files to write."""

    text_field_given: bool
    """Whether --text_field is on the command line, so that JSON lines must follow."""

    task_index: int
    """The number of this process among `num_tasks` that share the output."""

    num_tasks: int
    """How many processes share the output, each with shards of its own."""

    num_workers: int | None
    """Local processes; None to choose by the size of the text."""

    runner: str | None
    """`SPARK`, or a runner of Apache Beam; None for local processes."""

    spark_master: str
    """Spark's master; "" for the one of spark-submit or of Spark's configuration."""

    beam_arguments: list[str]
    """Beam's own options."""

    overwrite: bool
    """Remove an earlier output of other flags or inputs, or a finished one."""


def define_flags() -> None:
    """Define the flags of `DataArgs`; settings have the names of their fields."""
    _define_files()
    record_flags.define_flags()
    _define_run()


def read_flags(arguments: list[str]) -> DataArgs:
    """Return the values of the flags.

    Args:
        arguments: the words that are no flags, the program's name first.

    Raises:
        ValueError: a word belongs to no flag, a value cannot work or contradicts
            another, or the user dictionary cannot be read.
    """
    values = flags.FLAGS
    _check_runner(values, arguments)
    if values.num_workers is not None and values.num_workers < 1:
        raise ValueError(
            f"--num_workers={values.num_workers} cannot work: it must be 1 or more."
        )
    _check_tasks(values)
    settings = _read_settings(values)
    settings.check()
    return DataArgs(
        input_file=values.input_file,
        output_file=values.output_file,
        vocab_file=values.vocab_file,
        settings=settings,
        num_shards=values.num_shards,
        text_field_given=values["text_field"].present > 0,
        task_index=values.task_index,
        num_tasks=values.num_tasks,
        num_workers=values.num_workers,
        runner=values.runner,
        spark_master=values.spark_master,
        beam_arguments=arguments[1:],
        overwrite=values.overwrite,
    )


def _check_runner(values: flags.FlagValues, arguments: list[str]) -> None:
    if values.runner not in _BEAM_RUNNERS:
        command_line.refuse_arguments(arguments)
    if values.spark_master and values.runner != SPARK:
        raise ValueError(
            f"--spark_master={values.spark_master} is for --runner={SPARK}: add it, or "
            "leave the master out."
        )
    if values.runner is not None and values.num_workers is not None:
        raise ValueError(
            "--num_workers is for local processes: with --runner=spark the master has "
            "the number, such as local[4]; with Beam give the runner's own option "
            "after --, such as -- --direct_num_workers=2."
        )


def _check_tasks(values: flags.FlagValues) -> None:
    if not 0 <= values.task_index < values.num_tasks:
        raise ValueError(
            f"--task_index={values.task_index} cannot work with --num_tasks="
            f"{values.num_tasks}: it must be 0 or more, and below."
        )
    if values.num_tasks > 1 and (values.overwrite or values.runner):
        raise ValueError(
            "--num_tasks goes with neither --overwrite nor --runner: its tasks share "
            "an output, so remove an earlier one by hand."
        )


def _read_settings(values: flags.FlagValues) -> Settings:
    names = [field.name for field in dataclasses.fields(Settings)]
    plain = {name: values[name].value for name in names if name in values}
    dynamic = values.masking_time == "dynamic"
    # The default is Google's; `Settings.check` refuses a value that was given.
    if dynamic and not values["dupe_factor"].present:
        plain["dupe_factor"] = 1
    if values.compression is None:
        plain["compression"] = "GZIP" if dynamic else "none"
    if values.sentence_task is None:
        plain["sentence_task"] = "nsp" if values.packing == "pairs" else "none"
    segmentation.check_installed(values.segmenter)
    if values.user_dict:
        _, plain["user_dict_sha256"] = segmentation.load_user_dict(values.user_dict)
    if values.similar_words:
        _, sha256 = similar_words.read_file(values.similar_words)
        plain["similar_words_sha256"] = sha256
    if values.filter:
        _, plain["filter_sha256"] = quality_filter.load_thresholds(values.filter)
    plain["masking"] = _read_masking(values)
    return Settings(**plain)


def _read_masking(values: flags.FlagValues) -> str:
    whole_words, chosen = values.do_whole_word_mask, values.masking
    if whole_words is None:
        return chosen or "token"
    meant = "wwm" if whole_words else "token"
    if chosen not in (None, meant):
        raise ValueError(
            f"--masking={chosen} contradicts --{'' if whole_words else 'no'}"
            f"do_whole_word_mask, which is --masking={meant}: leave one of them out."
        )
    return meant


def _define_files() -> None:
    flags.DEFINE_string(
        "input_file",
        None,
        "File, folder, glob or comma list. Text is UTF-8, one sentence a line, a blank "
        "line between documents. Names ending in .json, .jsonl, .ndjson (objects one a "
        "line, or one array), .csv, .tsv (with a header), .parquet or .arrow have a "
        "document in each object or row; a folder may be one that datasets saved. "
        "Names ending in .gz, .bz2, .xz or .zst are decompressed. Entries may have "
        "weights, 'news*.txt:2,wiki.jsonl:1': the smaller text is then used again and "
        "again, so that there is twice as much of news as of wiki.",
        required=True,
    )
    flags.DEFINE_string(
        "output_file",
        None,
        "Record file, such as out/train.tfrecord, or a comma list, one shard each.",
        required=True,
    )
    flags.DEFINE_string(
        "vocab_file",
        None,
        "The vocabulary that BERT is trained on; a folder stands for its vocab.txt.",
        required=True,
    )
    flags.DEFINE_integer("num_shards", 1, "Record files to write.")
    flags.DEFINE_float(
        "eval_fraction",
        _DEFAULT.eval_fraction,
        "Hold out this share of the documents, such as 0.01: their records go to "
        "eval-NAME.tfrecord, masked once, and run_pretraining evaluates on them.",
    )
    flags.DEFINE_integer(
        "eval_documents",
        _DEFAULT.eval_documents,
        "The same for a number of documents; reads the text once more.",
    )
    flags.DEFINE_enum(
        "feature_names",
        _DEFAULT.feature_names,
        list(schema.RECORD_NAMES),
        "Spelling of the features: google-research/bert or TF Model Garden v2.",
    )
    flags.DEFINE_enum(
        "compression",
        None,
        list(tfrecords.COMPRESSIONS),
        "Compress whole record files, as tf.data.TFRecordDataset's compression_type "
        "reads them; by default GZIP with --masking_time=dynamic, else none.",
    )


def _define_run() -> None:
    flags.DEFINE_integer(
        "num_tasks",
        1,
        "Number of independent processes that share the output, such as the tasks of a "
        "Slurm array; each makes shards of its own, the last one the manifest.",
    )
    flags.DEFINE_integer("task_index", 0, "This process among --num_tasks, from 0 on.")
    flags.DEFINE_integer(
        "num_workers",
        None,
        "Processes, by default one per core (only one for little text); the result is "
        "the same.",
    )
    flags.DEFINE_enum(
        "runner",
        None,
        RUNNERS,
        "Run on Apache Spark (extra spark) or on a runner of Apache Beam (extra beam) "
        "instead of local processes; Beam's own options stand at the end, after --, "
        "such as -- --region=europe-west4. The result is the same.",
    )
    flags.DEFINE_string(
        "spark_master",
        "",
        "With --runner=spark, such as spark://host:7077 or local[4]; by default what "
        "spark-submit or Spark's configuration says.",
    )
    flags.DEFINE_bool(
        "overwrite",
        False,
        "Remove a finished output, or one that other flags or inputs began. An "
        "unfinished run of the same flags and inputs is resumed.",
    )
