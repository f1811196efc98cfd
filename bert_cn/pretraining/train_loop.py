"""The loop around the training step: cadence, signals, stop on NaN, evaluation."""

import dataclasses
import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from bert_cn.pretraining import checkpoints as checkpoints_lib
from bert_cn.pretraining import losses, train_step
from bert_cn.training import reporting, stop_request

# A line at least this often, so that nobody waits in front of a silent terminal.
_SECONDS_BETWEEN_LINES = 20.0
# A signal is answered after the updates that one call into TensorFlow makes. Who takes
# a machine away gives 30 seconds, in which the checkpoint must be saved, too.
_MOST_SECONDS_PER_CALL = 15.0


@dataclasses.dataclass(frozen=True)
class Cadence:
    """After how many steps what happens.

    Attributes:
        num_train_steps: updates in the whole run, resumptions included.
        iterations_per_loop: updates per call into TensorFlow, at most; shortened where
            a report, a checkpoint or the end comes earlier, or where they take long.
        save_checkpoints_steps: updates between checkpoints.
        log_steps: updates between step lines.
        eval_steps: updates between evaluations on the way; 0 for none.
        save_checkpoints_minutes: a checkpoint also after so many minutes; 0 for none.
    """

    num_train_steps: int
    iterations_per_loop: int
    save_checkpoints_steps: int
    log_steps: int
    eval_steps: int = 0
    save_checkpoints_minutes: float = 0.0

    def steps_until_pause(self, step: int) -> int:
        """Return how many updates may run before something else is due."""
        if step == 0:
            return 1  # The first loss is worth a line of its own.
        stops = [self.num_train_steps - step, self.iterations_per_loop]
        for every in (self.save_checkpoints_steps, self.log_steps, self.eval_steps):
            if every:
                stops.append(every - step % every)
        return min(stops)

    def is_save_due(self, step: int, last_save_time: float) -> bool:
        """Say whether a checkpoint is due; times are `time.monotonic()` seconds."""
        seconds = self.save_checkpoints_minutes * 60
        late = seconds and time.monotonic() - last_save_time >= seconds
        return step % self.save_checkpoints_steps == 0 or bool(late)

    def is_eval_due(self, step: int) -> bool:
        """Say whether an evaluation on the way is due; the last one is the caller's."""
        due = self.eval_steps and step % self.eval_steps == 0
        return bool(due) and step < self.num_train_steps


class NotFiniteError(FloatingPointError):
    """The loss of an update or its gradient is not finite.

    Args:
        step: number of the update, the first being 1.
        saved: prefix of the last good checkpoint, if there is one.
    """

    def __init__(self, step: int, saved: str | None):
        kept = f"the last good checkpoint is {saved}" if saved else "nothing was saved"
        start = (
            f" --init_checkpoint={saved} starts from those weights." if saved else ""
        )
        super().__init__(
            f"The loss or its gradient is not finite in step {step}; {kept}. Lower "
            "--learning_rate or raise --num_warmup_steps, then run the command again "
            f"with another --output_dir.{start}"
        )
        self.step = step


def train(
    trainer: train_step.Trainer,
    dataset,
    checkpoints: checkpoints_lib.TrainingCheckpoints,
    reporter: reporting.StepReporter,
    cadence: Cadence,
    stop_requested: stop_request.StopRequest,
    evaluate_model: Callable[[], object] = lambda: None,
    evaluate_first: bool = False,
) -> bool:
    """Train from the trainer's step to the last one, saving and reporting on the way.

    Args:
        trainer: makes the updates.
        dataset: distributed batches, positioned behind what was trained on already.
        checkpoints: where to save.
        reporter: whom to tell.
        cadence: when.
        stop_requested: true as soon as the run shall end.
        evaluate_model: called when an evaluation on the way is due.
        evaluate_first: whether the one that is due where the run goes on was lost.

    Returns:
        True if the last step was reached, False if the run was to end earlier; a
        checkpoint is saved either way.

    Raises:
        NotFiniteError: a loss or gradient is not finite; nothing is saved over the
            last good checkpoint.
    """
    iterator = iter(dataset)
    step, most_steps = trainer.step, 1
    pending, input_seconds = np.zeros(losses.NUM_SUMS), 0.0
    last_save_time = time.monotonic()
    if evaluate_first:
        with reporter.stop_clock():
            evaluate_model()
    while step < cadence.num_train_steps and not stop_requested:
        begin = time.monotonic()
        num_steps = min(most_steps, cadence.steps_until_pause(step))
        results = trainer.train_steps(iterator, tf.constant(num_steps))
        if results.num_finite < num_steps:
            bad_step = step + int(results.num_finite) + 1
            raise NotFiniteError(bad_step, checkpoints.latest)
        seconds_per_step = (time.monotonic() - begin) / num_steps
        most_steps = _choose_most_steps(most_steps, seconds_per_step, trainer.agree)
        step += num_steps
        pending += results.sums.numpy()
        input_seconds += float(results.input_seconds)
        if _is_line_due(step, cadence, reporter):
            reporter.report(step, trainer.summarize(pending), input_seconds)
            pending[:], input_seconds = 0, 0.0
        # Saved before it is evaluated: an evaluation can be made again.
        if trainer.agree(cadence.is_save_due(step, last_save_time)):
            checkpoints.save()
            last_save_time = time.monotonic()
        if cadence.is_eval_due(step) and not stop_requested:
            with reporter.stop_clock():
                evaluate_model()
    if checkpoints.latest_step != step:
        checkpoints.save()
    return step >= cadence.num_train_steps


def _choose_most_steps(
    most_steps: int, seconds_per_step: float, agree: Callable[[bool], bool]
) -> int:
    """Return how many updates the next call may make: so many, half or twice as many.

    Args:
        most_steps: how many the last call might have made.
        seconds_per_step: what they took here; other hosts measure otherwise.
        agree: see `hosts.agree_any`.
    """
    seconds = seconds_per_step * most_steps
    if agree(seconds > _MOST_SECONDS_PER_CALL):
        return max(1, most_steps // 2)
    if agree(2 * seconds > _MOST_SECONDS_PER_CALL):
        return most_steps
    return 2 * most_steps


def _is_line_due(step: int, cadence: Cadence, reporter: reporting.StepReporter) -> bool:
    return (
        step in (1, cadence.num_train_steps)
        or step % cadence.log_steps == 0
        or reporter.seconds_since_report > _SECONDS_BETWEEN_LINES
    )
