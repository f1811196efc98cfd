"""The loop around the training step: reports, checkpoints, evaluations, signals."""

import dataclasses
import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from bert_cn.pretraining import checkpoints as checkpoints_lib
from bert_cn.pretraining import (
    failure_report,
    input_pipeline,
    losses,
    token_frequencies,
    train_step,
)
from bert_cn.pretraining import records as records_lib
from bert_cn.pretraining import settings as settings_lib
from bert_cn.training import batch_checks, reporting, stop_request

# A line at least this often, so that nobody waits at a silent terminal.
_SECONDS_BETWEEN_LINES = 20.0
# A signal is answered after the updates that one call into TensorFlow makes. A machine
# that is taken away gets 30 seconds, and the checkpoint must be saved in them too.
_MOST_SECONDS_PER_CALL = 15.0
# Before this many updates nobody expects a model to have learned context.
_STEPS_BEFORE_NOTE = 500
_ITERATIONS_PER_LOOP, _ITERATIONS_PER_LOOP_ON_TPU = 10, 1000


@dataclasses.dataclass(frozen=True)
class Run:
    """The parts of a run that the loop works with.

    Attributes:
        args: the flags.
        trainer: makes the updates.
        batches: the training batches.
        checkpoints: of the run.
        reporter: prints the step lines.
        evaluate: evaluates; called when an evaluation is due.
        output_dir: the folder that this host writes to.
        habits: what the records reward without any learning; None if unknown.
    """

    args: settings_lib.PretrainingArgs
    trainer: train_step.Trainer
    batches: input_pipeline.TrainInput
    checkpoints: checkpoints_lib.TrainingCheckpoints
    reporter: reporting.StepReporter
    evaluate: Callable[[], object]
    output_dir: str
    habits: token_frequencies.Habits | None = None


def build_run(
    args: settings_lib.PretrainingArgs,
    trainer: train_step.Trainer,
    records: records_lib.Records,
    checkpoints: checkpoints_lib.TrainingCheckpoints,
    evaluate: Callable[[], object],
    output_dir: str,
) -> Run:
    """Return the parts of a run; the arguments are those of `Run`, and the records."""
    batches = input_pipeline.TrainInput(
        trainer.strategy, records.train, args.train_batch_size, args.random_seed
    )
    reporter = reporting.StepReporter(
        reporting.log_dir(output_dir, "train"),
        trainer.schedule,
        args.train_batch_size,
        trainer.step,
        losses.describe_metrics,
    )
    habits = token_frequencies.find_habits(records.train, records.vocabulary)
    return Run(
        args, trainer, batches, checkpoints, reporter, evaluate, output_dir, habits
    )


def train(run: Run, stop_requested: stop_request.StopRequest) -> bool:
    """Train from the trainer's step to the last one, then write the weights alone.

    Args:
        run: see `Run`.
        stop_requested: true as soon as the run is to end.

    Returns:
        True if the last step was reached, False if the run was stopped before it.

    Raises:
        FloatingPointError: a loss or gradient is not finite; the message names the step
            and the records.
        ValueError: out of memory; the message names the batch.
    """
    args, trainer = run.args, run.trainer
    finished = True
    with batch_checks.explain_memory(
        "train_batch_size",
        args.train_batch_size,
        run.batches.files.max_seq_length,
        "raise --gradient_accumulation_steps (the result stays the same), or lower one "
        "of the two. The checkpoints are as they were.",
    ):
        if is_finished(trainer):
            length = f"--num_train_steps={args.num_train_steps}"
            if args.train_minutes:
                length = f"--train_minutes={args.train_minutes:g} are used"
            print(
                f"Nothing to train: the checkpoint is at step {trainer.step} and "
                f"{length}."
            )
        else:
            print(
                f"Training {trainer.model.count_params():,} parameters on "
                f"{trainer.num_replicas} replica(s) from step {trainer.step} on; the "
                "first step takes longer.",
                flush=True,
            )
            _describe_epochs(run)
            finished = run_updates(run, stop_requested)
        weights = checkpoints_lib.save_weights(
            trainer.model, run.output_dir, trainer.step
        )
    print(f"Weights alone: {weights}", flush=True)
    return finished


def _describe_epochs(run: Run) -> None:
    """Print how much of the records the run sees, where an epoch has a number."""
    count = run.batches.files.count_records()
    if not count:
        return
    batch = run.args.train_batch_size
    last_step = run.trainer.schedule.last_step(run.trainer.step)
    run_says = ""
    if not run.args.train_minutes:
        epochs = last_step * batch / count
        run_says = f"; {last_step:,} steps are {epochs:.3g} epochs"
    print(
        f"{count:,} records, {count / batch:,.4g} steps an epoch{run_says}.",
        flush=True,
    )


def is_finished(trainer: train_step.Trainer) -> bool:
    """Say whether a trainer, newly restored or not, has made its last update."""
    return trainer.step >= trainer.schedule.last_step(trainer.step)


def run_updates(run: Run, stop_requested: stop_request.StopRequest) -> bool:
    """Make the updates that are left, saving, reporting and evaluating in between.

    Returns:
        True if the last step was reached, False if the run was stopped before it; a
        checkpoint is saved either way.

    Raises:
        FloatingPointError: a loss or gradient is not finite; nothing is saved over the
            last good checkpoint.
    """
    args, trainer, reporter = run.args, run.trainer, run.reporter
    checkpoints = run.checkpoints
    step, most_steps = trainer.step, 1
    clock = _Clock(trainer)
    iterator = iter(run.batches.distribute(step))
    pending, input_seconds = np.zeros(losses.NUM_SUMS), 0.0
    last_save_time = time.monotonic()
    if _is_eval_first(args, step, clock.last_step):
        with reporter.stop_clock():
            run.evaluate()
    while step < clock.last_step and not stop_requested:
        begin = time.monotonic()
        num_steps = min(
            most_steps, count_steps_until_pause(args, step, clock.last_step)
        )
        results = trainer.train_steps(iterator, tf.constant(num_steps))
        if results.num_finite < num_steps:
            bad_step = step + int(results.num_finite) + 1
            records = run.batches.locate(bad_step)
            raise FloatingPointError(
                failure_report.describe_not_finite(
                    bad_step, checkpoints.latest, records, run.output_dir
                )
            )
        seconds_per_step = (time.monotonic() - begin) / num_steps
        most_steps = _choose_most_steps(most_steps, seconds_per_step, trainer.agree)
        step += num_steps
        clock.note(step, seconds_per_step)
        pending += results.sums.numpy()
        input_seconds += float(results.input_seconds)
        if _is_line_due(args, step, clock.last_step, reporter):
            _report(run, step, trainer.summarize(pending), input_seconds)
            pending[:], input_seconds = 0, 0.0
        # Saved before it is evaluated: an evaluation can be made again.
        if trainer.agree(_is_save_due(args, step, last_save_time)):
            checkpoints.save()
            last_save_time = time.monotonic()
        if _is_eval_due(args, step, clock.last_step) and not stop_requested:
            with reporter.stop_clock():
                run.evaluate()
            clock.note(step, seconds_per_step)
    if checkpoints.latest_step != step:
        checkpoints.save()
    return step >= clock.last_step


def _report(
    run: Run, step: int, metrics: dict[str, float], input_seconds: float
) -> None:
    """Print the step line, and once a note if the model has learned no context."""
    if run.habits is not None:
        metrics[losses.MASKED_LM_MAJORITY] = run.habits.share
    run.reporter.report(step, metrics, input_seconds)
    due = step >= max(_STEPS_BEFORE_NOTE, run.args.num_warmup_steps)
    if due and run.habits is not None and not run.reporter.has_noted:
        note = run.habits.explain(metrics[losses.MASKED_LM_ACCURACY])
        run.reporter.note(note)


class _Clock:
    """Knows the last update of a run; that of a run by time changes as it proceeds."""

    def __init__(self, trainer: train_step.Trainer):
        self._trainer = trainer
        self._budget = trainer.time_budget
        if self._budget is not None:
            self._budget.start()
        self.last_step = trainer.schedule.last_step(trainer.step)

    def note(self, step: int, seconds_per_step: float) -> None:
        """Take in that some updates, or an evaluation, are over."""
        if self._budget is None:
            return
        average = self._trainer.average
        self._budget.note(step, average(self._budget.read()), average(seconds_per_step))
        self.last_step = self._trainer.schedule.last_step(step)


def count_steps_until_pause(
    args: settings_lib.PretrainingArgs, step: int, last_step: int
) -> int:
    """Return how many updates may run before a report, checkpoint or the end is due."""
    if step == 0:
        return 1  # The first loss is worth a line of its own.
    longest = _ITERATIONS_PER_LOOP_ON_TPU if args.tpu else _ITERATIONS_PER_LOOP
    stops = [last_step - step, args.iterations_per_loop or longest]
    intervals = [args.save_checkpoints_steps, args.log_steps]
    if args.do_eval and args.eval_every_steps:
        intervals.append(args.eval_every_steps)
    stops += [interval - step % interval for interval in intervals]
    return min(stops)


def _is_eval_first(
    args: settings_lib.PretrainingArgs, step: int, last_step: int
) -> bool:
    """Say whether an evaluation is due before the first update.

    One shows what a run starts from that does not begin with random weights. Another
    may be missing: a run was killed after a step's checkpoint, before its evaluation.
    All hosts must take part in an evaluation, so all of them look into the chief's
    folder.
    """
    if step == 0:
        return bool(args.do_eval and args.init_checkpoint)
    if not _is_eval_due(args, step, last_step):
        return False
    return step > (reporting.read_evaluated_step(args.output_dir) or 0)


def _is_eval_due(args: settings_lib.PretrainingArgs, step: int, last_step: int) -> bool:
    """Say whether an evaluation is due before the last one, which is the caller's."""
    if not (args.do_eval and args.eval_every_steps):
        return False
    return step % args.eval_every_steps == 0 and step < last_step


def _is_save_due(
    args: settings_lib.PretrainingArgs, step: int, last_save_time: float
) -> bool:
    """Say whether a checkpoint is due; times are `time.monotonic()` seconds."""
    seconds = args.save_checkpoints_minutes * 60
    late = bool(seconds) and time.monotonic() - last_save_time >= seconds
    return step % args.save_checkpoints_steps == 0 or late


def _is_line_due(
    args: settings_lib.PretrainingArgs,
    step: int,
    last_step: int,
    reporter: reporting.StepReporter,
) -> bool:
    return (
        step in (1, last_step)
        or step % args.log_steps == 0
        or reporter.seconds_since_report > _SECONDS_BETWEEN_LINES
    )


def _choose_most_steps(
    most_steps: int, seconds_per_step: float, agree: Callable[[bool], bool]
) -> int:
    """Return how many updates the next call may make: half, as many or twice as many.

    Args:
        most_steps: how many the last call might have made.
        seconds_per_step: measured by this host; other hosts measure otherwise.
        agree: see `hosts.agree_any`.
    """
    seconds = seconds_per_step * most_steps
    if agree(seconds > _MOST_SECONDS_PER_CALL):
        return max(1, most_steps // 2)
    if agree(2 * seconds > _MOST_SECONDS_PER_CALL):
        return most_steps
    return 2 * most_steps
