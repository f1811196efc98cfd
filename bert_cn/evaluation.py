"""Measure a model on records, on the way and at the end of a run."""

import numpy as np
import tensorflow as tf

from bert_cn import checkpoints as checkpoints_lib
from bert_cn import input_pipeline, objectives, reporting, train_step


def evaluate(
    trainer: train_step.Trainer, dataset, max_steps: int
) -> tuple[dict[str, float], int]:
    """Evaluate on at most `max_steps` batches (0: on all of them).

    Returns:
        Metrics under Google's names, and the number of records they cover.
    """
    totals = np.zeros(objectives.NUM_SUMS)
    for index, features in enumerate(dataset):
        if max_steps and index >= max_steps:
            break
        totals += trainer.eval_step(features).numpy()
    # Every record has one next-sentence label, so its count is that of the records.
    return trainer.summarize(totals), int(totals[objectives.NSP_COUNT])


class Evaluator:
    """Evaluates a run and leaves what it found in the run's folder.

    Args:
        trainer: whose model is measured.
        dataset: distributed, from `input_pipeline.build_eval_dataset`.
        max_steps: most batches; 0 for all.
        output_dir: for eval_results.txt and the weights that were best.
        log_dir: for TensorBoard.
        what: what the records are, for the terminal.
    """

    def __init__(
        self,
        trainer: train_step.Trainer,
        dataset,
        max_steps: int,
        output_dir: str,
        log_dir: str,
        what: str,
    ):
        self._trainer = trainer
        self._dataset = dataset
        self._max_steps = max_steps
        self._output_dir = output_dir
        self._writer = tf.summary.create_file_writer(log_dir)
        self._what = what

    def run(self) -> None:
        """Evaluate, report, and keep the weights if no evaluation was better."""
        step = self._trainer.step
        metrics, records = evaluate(self._trainer, self._dataset, self._max_steps)
        path = reporting.write_eval_results(self._output_dir, metrics, step)
        reporting.write_scalars(self._writer, metrics, step)
        print(f"Evaluated {records} records of {self._what} at step {step}:")
        for name, value in sorted(metrics.items()):
            print(f"  {name} = {value:.4f}")
        print(f"Results: {path}", flush=True)
        model = self._trainer.model
        if checkpoints_lib.save_best(model, self._output_dir, metrics, step):
            print(f"Best so far; weights kept in {self._output_dir}/best.", flush=True)


def distribute_eval_dataset(
    strategy: tf.distribute.Strategy,
    files: input_pipeline.RecordFiles,
    batch_size: int,
):
    """Return the records once, in file order, shared out over the replicas."""
    return strategy.experimental_distribute_dataset(
        input_pipeline.build_eval_dataset(files, batch_size)
    )
