"""Measure a model on records, during a run and at its end."""

import math

import numpy as np
import tensorflow as tf

from bert_cn.model import pretraining_model
from bert_cn.pretraining import checkpoints as checkpoints_lib
from bert_cn.pretraining import (
    eval_metrics,
    fingerprint,
    input_pipeline,
    record_files,
    token_frequencies,
    train_step,
)
from bert_cn.pretraining import losses as losses_lib
from bert_cn.pretraining import records as records_lib
from bert_cn.pretraining import settings as settings_lib
from bert_cn.training import batch_checks, reporting

# A masked-LM loss above this share of ln(vocabulary) is that of a random head: a
# trained one is far below even on text of another domain.
_RANDOM_HEAD_SHARE = 0.9


def evaluate(
    trainer: train_step.Trainer,
    dataset,
    max_steps: int,
    stop_requested: object = False,
) -> tuple[dict[str, float], int] | None:
    """Evaluate on at most `max_steps` batches (0: on all of them).

    Returns:
        Metrics under Google's names with those of `eval_metrics`, and the number of
        sequences measured; None if `stop_requested` was true before a batch.
    """
    totals = np.zeros(losses_lib.NUM_SUMS)
    more = np.zeros(eval_metrics.NUM_SUMS)
    for index, features in enumerate(dataset):
        if max_steps and index >= max_steps:
            break
        if stop_requested:
            return None
        sums, more_sums = trainer.eval_step(features)
        totals += sums.numpy()
        more += more_sums.numpy()
    # Every sequence has one next-sentence label, so its count is that of the sequences.
    sequences = int(totals[losses_lib.NSP_COUNT])
    metrics = trainer.summarize(totals)
    added = eval_metrics.summarize(more, metrics, sequences, features)
    return metrics | added, sequences


class Evaluator:
    """Evaluates a run and leaves the results in the run's folder.

    Weights that are the best so far are kept too, unless the run does not train: then
    it may be measured on anything.

    Args:
        args: the run's.
        trainer: whose model is measured.
        records: those of `records.eval` are measured on. Without a vocabulary no sample
            fillings are shown.
        output_dir: the folder that this host writes to.
    """

    def __init__(
        self,
        args: settings_lib.PretrainingArgs,
        trainer: train_step.Trainer,
        records: records_lib.Records,
        output_dir: str,
    ):
        self._args = args
        self._trainer = trainer
        self._records = records
        self._dataset = distribute_eval_dataset(
            trainer.strategy, records.eval, args.eval_batch_size
        )
        self._habits = token_frequencies.find_habits(records.eval, records.vocabulary)
        self._output_dir = output_dir
        self._writer = tf.summary.create_file_writer(
            reporting.log_dir(output_dir, "eval")
        )
        # Losses on other data do not compare.
        self._measured_on = fingerprint.describe_evaluation(
            records.eval, args.eval_batch_size, args.max_eval_steps
        )

    def run(self, stop_requested: object = False) -> bool:
        """Evaluate, report, and keep the weights if no evaluation was better.

        Args:
            stop_requested: true as soon as it must end, `stop_request.StopRequest`.

        Returns:
            False if it was stopped early; then it has written nothing.

        Raises:
            ValueError: out of memory; the message names the batch.
        """
        args, step = self._args, self._trainer.step
        with batch_checks.explain_memory(
            "eval_batch_size",
            args.eval_batch_size,
            self._records.eval.max_seq_length,
            "lower the first. The checkpoints are as they were.",
        ):
            found = evaluate(
                self._trainer, self._dataset, args.max_eval_steps, stop_requested
            )
            if found is None:
                return False
            metrics, count = found
            if self._habits is not None:
                metrics[losses_lib.MASKED_LM_MAJORITY] = self._habits.share
            self._print_metrics(metrics, count, step)
            if step == 0 and args.init_checkpoint:
                self._note_random_head(metrics[losses_lib.MASKED_LM_LOSS])
            if self._records.vocabulary is not None:
                print(f"Sample fillings: {self._write_samples(step)}", flush=True)
            if args.do_train and checkpoints_lib.save_best(
                self._trainer.model, self._output_dir, metrics, step, self._measured_on
            ):
                print(
                    f"Best so far; weights kept in {self._output_dir}/best.", flush=True
                )
            # Last, because a resumed run takes this file as the sign that nothing of
            # the evaluation is missing.
            path = reporting.write_eval_results(self._output_dir, metrics, step)
            print(f"Results: {path}", flush=True)
        return True

    def _print_metrics(self, metrics: dict[str, float], count: int, step: int) -> None:
        reporting.write_scalars(self._writer, metrics, step)
        source = "the training records"
        if self._args.eval_input_file:
            source = "--eval_input_file"
        elif any(m.settings.split == "eval" for m in self._records.eval.manifests):
            source = "the text that is held out"
        print(f"Evaluated {count} sequences of {source} at step {step}:")
        for name, value in sorted(metrics.items()):
            print(f"  {name} = {value:.4f}")

    def _note_random_head(self, loss: float) -> None:
        """Say so if a checkpoint's masked-LM head knows nothing."""
        head = self._trainer.model.get_layer(pretraining_model.MLM_HEAD)
        guessing = math.log(head.vocab_size)
        if is_random_loss(loss, head.vocab_size):
            print(
                f"note: masked_lm_loss {loss:.2f} is about ln({head.vocab_size}) = "
                f"{guessing:.2f}: the masked-LM head of {self._args.init_checkpoint} "
                "is random, so that training has to learn it first.",
                flush=True,
            )

    def _write_samples(self, step: int) -> str:
        batch, predicted = self._trainer.predict_batch(next(iter(self._dataset)))
        table = eval_metrics.write_table(batch, predicted, self._records.vocabulary)
        return reporting.write_samples(self._writer, self._output_dir, table, step)


def is_random_loss(loss: float, vocab_size: int) -> bool:
    """Say whether a masked-LM loss, in nats, is that of a head that knows nothing."""
    return loss > _RANDOM_HEAD_SHARE * math.log(vocab_size)


def distribute_eval_dataset(
    strategy: tf.distribute.Strategy,
    files: record_files.RecordFiles,
    batch_size: int,
):
    """Return the records once, in file order, distributed over the replicas."""
    options = tf.data.Options()
    # By batches, because there may be fewer files than hosts.
    options.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.DATA
    )
    return strategy.experimental_distribute_dataset(
        input_pipeline.build_eval_dataset(files, batch_size).with_options(options)
    )
