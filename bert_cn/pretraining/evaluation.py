"""Measure a model on records, on the way and at the end of a run."""

import numpy as np
import tensorflow as tf

from bert_cn.pretraining import checkpoints as checkpoints_lib
from bert_cn.pretraining import eval_metrics, input_pipeline, train_step
from bert_cn.pretraining import losses as losses_lib
from bert_cn.training import reporting
from data_prep.text import vocab as vocab_lib


def evaluate(
    trainer: train_step.Trainer,
    dataset,
    max_steps: int,
    stop_requested: object = False,
) -> tuple[dict[str, float], int] | None:
    """Evaluate on at most `max_steps` batches (0: on all of them).

    Returns:
        Metrics under Google's names, those of `eval_metrics`, and the number of records
        that they cover; None where `stop_requested` was true before a batch.
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
    # Every record has one next-sentence label, so its count is that of the records.
    records = int(totals[losses_lib.NSP_COUNT])
    metrics = trainer.summarize(totals)
    return metrics | eval_metrics.summarize(more, metrics, records, features), records


class Evaluator:
    """Evaluates a run and leaves what it found in the run's folder.

    Args:
        trainer: whose model is measured.
        dataset: distributed, from `input_pipeline.build_eval_dataset`.
        max_steps: most batches; 0 for all.
        output_dir: for eval_results.txt and the weights that were best.
        log_dir: for TensorBoard.
        what: what the records are, for the terminal.
        vocabulary: of the records; without it no sample fillings are shown.
        keep_best: whether weights that are the best so far are kept.
        measured_on: a digest of what is measured; losses on other data do not compare.
    """

    def __init__(
        self,
        trainer: train_step.Trainer,
        dataset,
        max_steps: int,
        output_dir: str,
        log_dir: str,
        what: str,
        vocabulary: vocab_lib.Vocabulary | None = None,
        keep_best: bool = True,
        measured_on: str = "",
    ):
        self._trainer = trainer
        self._dataset = dataset
        self._max_steps = max_steps
        self._output_dir = output_dir
        self._writer = tf.summary.create_file_writer(log_dir)
        self._what = what
        self._vocabulary = vocabulary
        self._keep_best = keep_best
        self._measured_on = measured_on

    def run(self, stop_requested: object = False) -> bool:
        """Evaluate, report, and keep the weights if no evaluation was better.

        Args:
            stop_requested: true as soon as it must end, `stop_request.StopRequest`.

        Returns:
            False if it was ended early, and then it left nothing.
        """
        step = self._trainer.step
        found = evaluate(self._trainer, self._dataset, self._max_steps, stop_requested)
        if found is None:
            return False
        metrics, records = found
        reporting.write_scalars(self._writer, metrics, step)
        print(f"Evaluated {records} records of {self._what} at step {step}:")
        for name, value in sorted(metrics.items()):
            print(f"  {name} = {value:.4f}")
        if self._vocabulary is not None:
            print(f"Sample fillings: {self._write_samples(step)}", flush=True)
        if self._keep_best and checkpoints_lib.save_best(
            self._trainer.model, self._output_dir, metrics, step, self._measured_on
        ):
            print(f"Best so far; weights kept in {self._output_dir}/best.", flush=True)
        # Last: a run that goes on takes this file for the sign that nothing is missing.
        path = reporting.write_eval_results(self._output_dir, metrics, step)
        print(f"Results: {path}", flush=True)
        return True

    def _write_samples(self, step: int) -> str:
        batch, predicted = self._trainer.predict_batch(next(iter(self._dataset)))
        table = eval_metrics.write_table(batch, predicted, self._vocabulary)
        return reporting.write_samples(self._writer, self._output_dir, table, step)


def distribute_eval_dataset(
    strategy: tf.distribute.Strategy,
    files: input_pipeline.RecordFiles,
    batch_size: int,
):
    """Return the records once, in file order, shared out over the replicas."""
    options = tf.data.Options()
    # By batches, since there may be fewer files than hosts.
    options.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.DATA
    )
    return strategy.experimental_distribute_dataset(
        input_pipeline.build_eval_dataset(files, batch_size).with_options(options)
    )
