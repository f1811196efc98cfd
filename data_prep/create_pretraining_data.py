r"""Make TFRecords for BERT pretraining of raw text, whole words masked.

    python -m data_prep.create_pretraining_data --input_file='corpus/*.txt' \
        --output_file=out/train.tfrecord --vocab_file=vocab.txt --do_whole_word_mask \
        --masking_time=dynamic --packing=chunks --eval_fraction=0.01

Running the same command again finishes what a killed run began. docs/data.md has more.
"""

import os
import sys
import time

from data_prep import command_line
from data_prep.records import manifest as manifest_lib
from data_prep.records import report
from data_prep.runner import (
    first_look,
    flags,
    held_out,
    local,
    outputs,
    tasks,
    workers,
)
from data_prep.runner.job import Job
from data_prep.text import corpus
from data_prep.text import vocab as vocab_lib

# Tokens of Google's Chinese vocabulary, which the recipes' models have.
_RECIPES_VOCAB_SIZE = 21128

flags.define_flags()


def main(arguments: list[str]) -> None:
    """Plan the run, make the records, describe the result."""
    start = time.monotonic()
    args = flags.read_flags(arguments)

    # Inputs and outputs
    planned = outputs.plan_outputs(args.output_file, args.num_shards)
    vocabulary = vocab_lib.load_vocabulary(args.vocab_file)
    files = corpus.find_files(args.input_file, _warn)
    if args.text_field_given:
        corpus.check_text_field(files, args.settings.text_field)
    job = Job(files, vocabulary, args.settings, planned)

    # Records, those of the text that is held out first
    jobs = held_out.split_job(job) or (job,)
    for part in jobs:
        _refuse_replacing(files, part.outputs)
    if unknown := first_look.warn_of_unknown(job):
        _warn(unknown)
    made = [_make_records(part, args) for part in jobs]

    # Result
    if made[-1] is None:
        print(
            f"Task {args.task_index} of {args.num_tasks} is done; the last one writes "
            f"{planned.manifest}."
        )
        return
    _print_copies(files)
    _print_summary(made[-1], planned, time.monotonic() - start)
    for manifest in filter(None, made[:-1]):
        _print_held_out(manifest)
    _print_warnings(made[-1], planned)
    _print_next(made[-1], planned)


def _make_records(job: Job, args: flags.DataArgs) -> manifest_lib.Manifest | None:
    """Return the manifest; None if another task makes it."""
    if args.runner is None:
        num_workers = args.num_workers or workers.choose_num_workers(job)
        if args.num_tasks == 1:
            return local.run(job, num_workers, args.overwrite)
        if job.settings.split == "train":
            return tasks.run(job, args.task_index, args.num_tasks, num_workers)
        # The held-out text is one shard, the first task's.
        is_first = args.task_index == 0
        return local.run(job, num_workers, False) if is_first else None
    if args.settings.eval_documents:
        raise ValueError(
            "--eval_documents reads the whole text here before --runner reads it: use "
            "--eval_fraction."
        )
    return _run_on_cluster(job, args)


def _refuse_replacing(files: list[corpus.InputFile], planned: outputs.Outputs) -> None:
    written = {os.path.abspath(path) for path in planned.shards}
    written |= {os.path.abspath(path) for path in planned.beside_shards}
    for file in files:
        if os.path.abspath(file.path) in written:
            raise ValueError(
                f"--input_file {file.path!r} would be replaced by a file that "
                "--output_file names: name another output."
            )


def _run_on_cluster(job: Job, args: flags.DataArgs) -> manifest_lib.Manifest:
    if args.runner == flags.SPARK:
        try:
            # An extra, as Apache Beam is, and slow to import.
            from data_prep.runner import spark
        except ImportError as error:
            raise ValueError(
                f"--runner={args.runner} needs PySpark ({error}): pip install "
                "'bert_cn[spark]', and Java 17."
            ) from error
        return spark.run(job, args.spark_master, args.overwrite)
    try:
        from data_prep.runner import beam
    except ImportError as error:
        raise ValueError(
            f"--runner={args.runner} needs Apache Beam ({error}): pip install "
            "'apache-beam[gcp]', in an environment of its own (see docs/data.md)."
        ) from error
    return beam.run(job, args.runner, args.beam_arguments, args.overwrite)


def _print_copies(files: list[corpus.InputFile]) -> None:
    """Say how often texts with weights are used."""
    for copies in sorted({file.copies for file in files}):
        paths = [file.path for file in files if file.copies == copies]
        if len(paths) < len(files):
            more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
            print(f"Used {copies:g} times: {paths[0]}{more}.")


def _print_summary(
    manifest: manifest_lib.Manifest, planned: outputs.Outputs, seconds: float
) -> None:
    counts = manifest.counts
    sequences = counts["sequences"]
    print(
        f"Text: {counts['files']} files, {counts['documents']} documents, "
        f"{counts['sentences']} sentences, {counts['characters']} characters, "
        f"{counts['tokens']} tokens ({_percent(counts, 'unknown_tokens', 'tokens')} "
        "[UNK])."
    )
    print(
        f"Records: {sequences} sequences, "
        f"{counts['sequence_tokens'] / sequences:.1f} tokens each, "
        f"{_describe_labels(manifest)}{_describe_masks(manifest)}."
    )
    if counts["replacement_characters"]:
        print(
            f"Text holds {counts['replacement_characters']} characters U+FFFD, most "
            "often bytes that were not UTF-8."
        )
    if manifest.settings.fix_punctuation:
        print(f"Punctuation: {counts['punctuation_fixed']} characters replaced.")
    last = f" ... {planned.shards[-1]}" if len(planned.shards) > 1 else ""
    print(f"Shards: {planned.shards[0]}{last}")
    print(f"Manifest: {planned.manifest} (vocabulary: {planned.vocabulary})")
    print(f"Report: {planned.report_web_page}")
    print(f"Done in {seconds:.1f} s.")


def _print_next(manifest: manifest_lib.Manifest, planned: outputs.Outputs) -> None:
    shards = planned.shards
    pattern = shards[0] if len(shards) == 1 else f"{planned.stem}-*-of-*"
    # The recipes that masks and vocabulary suit.
    is_dynamic = manifest.settings.masking_time == "dynamic"
    training = [f"--recipe={'bert_tiny_cn_fast' if is_dynamic else 'bert_tiny_cn'}"]
    if manifest.vocab_size != _RECIPES_VOCAB_SIZE:
        training.append(f"--bert_config_file=OF_{manifest.vocab_size}_TOKENS.json")
    training += [f"--input_file={pattern}", "--output_dir=out/model"]
    command_line.print_next(
        ("data_prep.inspect_records", shards[0]),
        ("bert_cn.run_pretraining", *training, "--do_train", "--do_eval"),
    )


def _print_held_out(manifest: manifest_lib.Manifest) -> None:
    counts = manifest.counts
    print(
        f"Held out: {counts['documents']} documents, {counts['sequences']} sequences, "
        f"{manifest.path.removesuffix(manifest_lib.SUFFIX)}.tfrecord; run_pretraining "
        "--do_eval finds them by itself."
    )


def _describe_masks(manifest: manifest_lib.Manifest) -> str:
    counts = manifest.counts
    if manifest.settings.masking_time == "dynamic":
        return "to be masked while training"
    return (
        f"{counts['masked_tokens'] / counts['sequences']:.2f} tokens masked in each, "
        f"budget filled in {_percent(counts, 'budgets_filled', 'sequences')}"
    )


def _describe_labels(manifest: manifest_lib.Manifest) -> str:
    meaning = {"nsp": ("random_next", "random next"), "sop": ("swapped", "swapped")}
    task = manifest.settings.sentence_task
    if task not in meaning:
        return ""
    name, words = meaning[task]
    return f"{_percent(manifest.counts, name, 'parts')} {words}, "


def _print_warnings(manifest: manifest_lib.Manifest, planned: outputs.Outputs) -> None:
    warnings = report.read_warnings(planned.report)
    empty = [shard["file"] for shard in manifest.shards if not shard["sequences"]]
    if empty:
        warnings.append(
            f"{len(empty)} of {len(manifest.shards)} shards hold no sequence, such as "
            f"{empty[0]}: the text has few documents, so use fewer --num_shards."
        )
    for warning in warnings:
        _warn(warning)


def _warn(text: str) -> None:
    print(f"create_pretraining_data: warning: {text}", file=sys.stderr)


def _percent(counts: dict[str, int], part: str, whole: str) -> str:
    return f"{100 * counts[part] / max(1, counts[whole]):.2f} %"


if __name__ == "__main__":
    command_line.run_command(main, "every finished part of the output")
