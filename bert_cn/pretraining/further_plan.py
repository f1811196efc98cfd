"""A plan for further pretraining: what fits, what it takes, and the commands.

It looks at the first megabytes of the text, measures the checkpoint on them as it is,
makes some updates to see how fast this machine is, and throws the updates away.
"""

import dataclasses
import math
import os
import shlex
import time

import tensorflow as tf

from bert_cn.conversion import formats, pretrained, surgery, tokenizer_files, weight_map
from bert_cn.pretraining import (
    evaluation,
    input_pipeline,
    text_sample,
    token_frequencies,
    train_step,
    warm_start,
)
from bert_cn.pretraining import records as records_lib
from bert_cn.pretraining import settings as settings_lib
from bert_cn.pretraining.further_flags import PlanArgs
from bert_cn.training import precision as precision_lib
from bert_cn.training import run_files
from data_prep import storage
from data_prep.records import manifest as manifest_lib
from data_prep.text import corpus, new_words

RECIPE = "configs/pretrain/mlm_further.flags"
WORDS_FILE = "words.txt"
_EPOCHS = (1, 3, 10)
_CHOSEN_EPOCHS = 3
_WORDS_SHOWN = 12
# Of fewer documents none can be held out without a loss.
_FEW_DOCUMENTS = 50
# Batches that the head is measured on, of 32 records.
_EVAL_BATCHES = 8


@dataclasses.dataclass(frozen=True)
class Measured:
    """A checkpoint on the records of a sample.

    Attributes:
        metrics: under Google's names, before the first update.
        sequences: that were measured.
        majority: the share of the most frequent token.
        steps_per_second: updates; None if they were not measured.
    """

    metrics: dict[str, float]
    sequences: int
    majority: float
    steps_per_second: float | None


def plan(args: PlanArgs) -> None:
    """Look at checkpoint and text, and print the plan.

    Raises:
        ValueError: the checkpoint or the text cannot be read, or most of its tokens are
            [UNK] under the checkpoint's vocabulary.
    """
    bert = _read_checkpoint(args)
    rules = corpus.ReadingRules(args.text_field)
    files = corpus.find_files(args.input_file)
    sample = text_sample.read_sample(files, rules, args.sample_megabytes)
    words = new_words.find_new_words(
        sample.count_words(),
        bert.vocabulary,
        tokenizer_files.lower_case(bert),
        args.min_count,
    )
    with text_sample.temporary_folder() as folder:
        manifest = text_sample.make_records(
            sample, bert, args.max_seq_length, args.random_seed, folder
        )
        measured = _measure(args, bert, folder)
    storage.makedirs(args.output_dir)
    listed = "".join(f"{word.word}\n" for word in words)
    storage.write_whole(os.path.join(args.output_dir, WORDS_FILE), listed.encode())
    _print_text(sample, manifest, bert)
    _print_words(args, words, manifest)
    _print_head(bert, measured)
    steps = _print_time(args, sample, manifest, measured)
    _print_commands(args, bert, steps, _choose_eval_share(sample), bool(words))


def _read_checkpoint(args: PlanArgs) -> pretrained.PretrainedBert:
    bert = formats.read_checkpoint(args.init_checkpoint)
    warm_start.check_model_type(bert.config, bert.source)
    surgery.check_has_vocabulary(bert)
    bert.check_vocabulary()
    positions = bert.config.max_position_embeddings
    if args.max_seq_length > positions:
        raise ValueError(
            f"--max_seq_length={args.max_seq_length}, and {bert.source} has "
            f"{positions} positions: lower it, or extend them first by "
            f"convert_checkpoint --resize_positions={args.max_seq_length}."
        )
    return bert


def _measure(
    args: PlanArgs, bert: pretrained.PretrainedBert, folder: str
) -> Measured | None:
    """Measure the head, if there is one, and the speed of updates."""
    run = settings_lib.PretrainingArgs(
        input_file=os.path.join(folder, "sample.tfrecord"),
        output_dir=folder,
        do_train=True,
        do_eval=True,
        optimizer="adamw",
        train_batch_size=args.train_batch_size,
        precision=precision_lib.choose_precision(args.precision),
        random_seed=args.random_seed,
    )
    records = records_lib.load_records(run)
    trainer = train_step.build_trainer(
        run,
        bert.config,
        tf.distribute.get_strategy(),
        records.sentence_task,
        train_step.choose_training_ops(run),
    )
    warm_start.load_checkpoint(trainer.model, bert)
    warm_start.include_outputs(trainer.model, records.train)
    dataset = evaluation.distribute_eval_dataset(
        trainer.strategy, records.eval, run.eval_batch_size
    )
    metrics, sequences = evaluation.evaluate(trainer, dataset, _EVAL_BATCHES)
    habits = token_frequencies.find_habits(records.train, records.vocabulary)
    speed = None
    if args.measured_steps:
        speed = _time_updates(trainer, records, run, args.measured_steps)
    return Measured(metrics, sequences, habits.share if habits else 0.0, speed)


def _time_updates(
    trainer: train_step.Trainer,
    records: records_lib.Records,
    run: settings_lib.PretrainingArgs,
    num_steps: int,
) -> float:
    """Return updates a second, tracing and the first of them left out."""
    batches = input_pipeline.TrainInput(
        trainer.strategy, records.train, run.train_batch_size, run.random_seed
    )
    iterator = iter(batches.distribute(0))
    trainer.train_steps(iterator, tf.constant(2))
    begin = time.monotonic()
    trainer.train_steps(iterator, tf.constant(num_steps)).sums.numpy()
    return num_steps / (time.monotonic() - begin)


def _print_text(
    sample: text_sample.TextSample,
    manifest: manifest_lib.Manifest,
    bert: pretrained.PretrainedBert,
) -> None:
    counts = manifest.counts
    share = "" if sample.share == 1 else f", {sample.share:.1%} of it looked at"
    print(f"Text: {sample.total_bytes / 1e6:,.1f} MB{share}.")
    words = max(1, sum(sample.count_words().values()))
    print(
        f"  {counts['tokens']:,} tokens, {counts['tokens'] / words:.2f} a word, "
        f"{counts['unknown_tokens'] / max(1, counts['tokens']):.2%} [UNK] under the "
        f"{len(bert.vocabulary):,} tokens of {bert.source}."
    )


def _print_words(
    args: PlanArgs, words: list[new_words.NewWord], manifest: manifest_lib.Manifest
) -> None:
    if not words:
        print("Words: none is frequent enough here to be worth a token of its own.")
        return
    saved = sum(word.saved for word in words) / max(1, manifest.counts["tokens"])
    print(
        f"Words: {len(words):,} that are cut now and that other texts seldom have, in "
        f"{os.path.join(args.output_dir, WORDS_FILE)}; as tokens of their own they "
        f"save {saved:.1%} of the tokens. The first of them (times, tokens saved):"
    )
    shown = words[:_WORDS_SHOWN]
    print("  " + "  ".join(f"{w.word} ({w.count:,}, {w.saved:,})" for w in shown))


def _print_head(bert: pretrained.PretrainedBert, measured: Measured) -> None:
    if not bert.has(weight_map.Part.MLM):
        print(
            "Head: the checkpoint has no masked-LM head; a new one starts from the "
            "word embeddings, and training has to learn the rest of it first."
        )
        return
    loss = measured.metrics["masked_lm_loss"]
    accuracy = measured.metrics["masked_lm_accuracy"]
    print(
        f"Head: masked_lm_loss {loss:.2f}, masked_lm_accuracy {accuracy:.1%} on "
        f"{measured.sequences:,} sequences before the first update (the most frequent "
        f"token alone: {measured.majority:.1%})."
    )
    if evaluation.is_random_loss(loss, bert.config.vocab_size):
        print(
            f"  That is about ln({bert.config.vocab_size}) = "
            f"{math.log(bert.config.vocab_size):.2f}: the head is random, so that "
            "training has to learn it first."
        )


def _print_time(
    args: PlanArgs,
    sample: text_sample.TextSample,
    manifest: manifest_lib.Manifest,
    measured: Measured,
) -> int:
    """Print what epochs take, and return the steps of the chosen number."""
    records = max(1, round(manifest.counts["sequences"] / sample.share))
    print(f"Records: about {records:,} of {args.max_seq_length} tokens.")
    speed = measured.steps_per_second
    if speed is not None:
        print(
            f"Speed here: {speed * args.train_batch_size:.1f} sequences a second, "
            f"--train_batch_size={args.train_batch_size}, {args.precision}."
        )
    for epochs in _EPOCHS:
        steps = _count_steps(args, records, epochs)
        minutes = "" if speed is None else f", {_describe_time(steps / speed)}"
        print(f"  {epochs:2} epochs: {steps:,} steps{minutes}")
    return _count_steps(args, records, _CHOSEN_EPOCHS)


def _count_steps(args: PlanArgs, records: int, epochs: int) -> int:
    return max(1, math.ceil(records * epochs / args.train_batch_size))


def _describe_time(seconds: float) -> str:
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours"


def _print_commands(
    args: PlanArgs,
    bert: pretrained.PretrainedBert,
    steps: int,
    eval_share: float,
    has_words: bool,
) -> None:
    checkpoint = shlex.quote(args.init_checkpoint)
    folder = shlex.quote(args.output_dir)
    print("Next:")
    if has_words:
        print(
            "  # Only if you want the words as tokens of their own: look through the "
            "file, then\n"
            f"  #   python -m bert_cn.convert_checkpoint --input={checkpoint} \\\n"
            f"  #       --add_words={folder}/{WORDS_FILE} --output_format=pt "
            f"--output_dir={folder}/start\n"
            f"  # and name {folder}/start in the place of {checkpoint} below, and its "
            "vocab.txt."
        )
    case = "" if tokenizer_files.lower_case(bert) else "no"
    field = f" --text_field={args.text_field}" if args.text_field != "text" else ""
    held_out = f" --eval_fraction={eval_share:.2g}" if eval_share else ""
    predictions = max(1, round(0.15 * args.max_seq_length))
    print(
        "  python -m data_prep.create_pretraining_data "
        f"--input_file={shlex.quote(args.input_file)}{field} \\\n"
        f"      --output_file={folder}/domain.tfrecord "
        f"--vocab_file={shlex.quote(_find_vocabulary(args, bert))} \\\n"
        f"      --{case}do_lower_case --masking=wwm --masking_time=dynamic "
        "--packing=chunks \\\n"
        f"      --max_seq_length={args.max_seq_length} "
        f"--max_predictions_per_seq={predictions}{held_out}\n"
        f"  python -m bert_cn.run_pretraining --flagfile={RECIPE} \\\n"
        f"      --input_file={folder}/domain.tfrecord "
        f"--init_checkpoint={checkpoint} \\\n"
        f"      --output_dir={folder}/model --do_train --do_eval "
        f"--num_train_steps={steps} \\\n"
        f"      --train_batch_size={args.train_batch_size} "
        f"--max_seq_length={args.max_seq_length} "
        f"--max_predictions_per_seq={predictions} --precision={args.precision}"
    )


def _choose_eval_share(sample: text_sample.TextSample) -> float:
    """Return the share to hold out: 100 documents, 1 to 10 %; 0 of too few."""
    documents = len(set(sample.documents)) / sample.share
    if documents < _FEW_DOCUMENTS:
        return 0.0
    return min(0.1, max(0.01, 100 / documents))


def _find_vocabulary(args: PlanArgs, bert: pretrained.PretrainedBert) -> str:
    """Return the path of the checkpoint's vocab.txt, written if it has none."""
    path = os.path.join(args.init_checkpoint, run_files.VOCAB_FILE)
    if not storage.exists(path):
        path = os.path.join(args.output_dir, run_files.VOCAB_FILE)
        storage.write_whole(path, bert.vocabulary.data)
    return path
