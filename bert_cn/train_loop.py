"""One training step, the loop around it, and evaluation."""

import dataclasses
import functools
import math
import signal
import threading

import keras
import numpy as np
import tensorflow as tf

from bert_cn import checkpoints as checkpoints_lib
from bert_cn import objectives, optimization, reporting
from data_prep import schema

# A line at least this often, so that nobody waits in front of a silent terminal.
_SECONDS_BETWEEN_LINES = 20.0


@dataclasses.dataclass(frozen=True)
class Cadence:
    """After how many steps what happens.

    Attributes:
        num_train_steps: updates in the whole run, resumptions included.
        iterations_per_loop: updates per call into TensorFlow; shortened where a report,
            a checkpoint or the end comes earlier.
        save_checkpoints_steps: updates between checkpoints.
        log_steps: updates between step lines.
    """

    num_train_steps: int
    iterations_per_loop: int
    save_checkpoints_steps: int
    log_steps: int

    def steps_until_pause(self, step: int) -> int:
        """Return how many updates may run before something else is due."""
        if step == 0:
            return 1  # The first loss is worth a line of its own.
        stops = [self.num_train_steps - step, self.iterations_per_loop]
        for every in (self.save_checkpoints_steps, self.log_steps):
            stops.append(every - step % every)
        return min(stops)


class Trainer:
    """Runs updates of a model under a strategy.

    Args:
        strategy: under which model and optimizer were built.
        model: from `modeling.build_pretraining_model`.
        optimizer: one of `optimization.OPTIMIZERS`, built on the model's variables.
        accumulation_steps: parts that each replica's batch is worked through in.
    """

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        accumulation_steps: int = 1,
    ):
        self._strategy = strategy
        self.model = model
        self._optimizer = optimizer
        self._accumulation_steps = accumulation_steps

    @property
    def step(self) -> int:
        """How many updates were made so far."""
        return checkpoints_lib.read_step(self._optimizer)

    def _forward(self, features, training: bool):
        inputs = {
            name: features[name]
            for name in (*schema.SEQUENCE_FEATURES, schema.MASKED_LM_POSITIONS)
        }
        outputs = self.model(inputs, training=training)
        return objectives.compute_sums(outputs, features)

    def _train_step(self, features):
        """Make one update on one replica; returns its float32 [NUM_SUMS]."""
        replicas = tf.distribute.get_replica_context()
        reduce_sum = functools.partial(replicas.all_reduce, tf.distribute.ReduceOp.SUM)
        counts = reduce_sum(objectives.count_labels(features))
        gradients, sums = self._compute_gradients(features, counts)
        # Sum first, clip then: Keras's own order would clip each replica's part.
        gradients, _ = optimization.clip_gradients(reduce_sum(gradients))
        self._optimizer.apply(gradients, self.model.trainable_variables)
        return sums

    def _compute_gradients(self, features, counts):
        """Return dense gradients of this replica's share of the loss, and its sums.

        The batch is worked through in `accumulation_steps` parts, one after the other,
        so that the activations of one part are in memory at a time. Since the counts
        are those of the whole batch, the result is that of the whole batch.
        """
        if self._accumulation_steps == 1:
            return self._compute_part(features, counts)
        parts = {
            name: tf.reshape(value, (self._accumulation_steps, -1, *value.shape[1:]))
            for name, value in features.items()
        }
        gradients = [tf.zeros(v.shape, v.dtype) for v in self.model.trainable_variables]
        sums = tf.zeros([objectives.NUM_SUMS], tf.float32)
        for index in tf.range(self._accumulation_steps):
            part = {name: value[index] for name, value in parts.items()}
            more, part_sums = self._compute_part(part, counts)
            gradients = [
                one + other for one, other in zip(gradients, more, strict=True)
            ]
            sums += part_sums
        return gradients, sums

    def _compute_part(self, features, counts):
        with tf.GradientTape() as tape:
            sums = self._forward(features, training=True)
            loss = objectives.compute_loss(sums, counts)
        variables = [variable.value for variable in self.model.trainable_variables]
        gradients = tape.gradient(loss, variables)
        return [tf.convert_to_tensor(gradient) for gradient in gradients], sums

    @tf.function(reduce_retracing=True)
    def train_steps(self, iterator, num_steps: tf.Tensor) -> tf.Tensor:
        """Make `num_steps` updates inside TensorFlow.

        Args:
            iterator: over a distributed dataset of training batches.
            num_steps: int32 scalar tensor.

        Returns:
            float32 [NUM_SUMS] added up over replicas and steps.
        """
        totals = tf.zeros([objectives.NUM_SUMS], tf.float32)
        for _ in tf.range(num_steps):
            # Inside a while loop Keras layers must not open scopes of the outer graph.
            with tf.name_scope(""):
                sums = self._strategy.run(self._train_step, args=(next(iterator),))
                totals += self._strategy.reduce(
                    tf.distribute.ReduceOp.SUM, sums, axis=None
                )
        return totals

    @tf.function(reduce_retracing=True)
    def eval_step(self, features) -> tf.Tensor:
        """Return float32 [NUM_SUMS] of one distributed batch, dropout off."""
        sums = self._strategy.run(self._forward, args=(features, False))
        return self._strategy.reduce(tf.distribute.ReduceOp.SUM, sums, axis=None)


class StopRequest:
    """Notes SIGINT and SIGTERM, so that the loop can save before it ends.

    A second signal ends the program as it would without this class.
    """

    def __init__(self):
        self._event = threading.Event()
        self._previous = {}

    def __enter__(self) -> "StopRequest":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_):
        self._restore_handlers()

    def __bool__(self) -> bool:
        return self._event.is_set()

    def _note(self, number, _):
        name = signal.Signals(number).name
        print(f"{name}: saving after the current steps; once more ends at once.")
        self._event.set()
        self._restore_handlers()

    def _restore_handlers(self):
        for number, handler in self._previous.items():
            signal.signal(number, handler)


def train(
    trainer: Trainer,
    dataset,
    checkpoints: checkpoints_lib.TrainingCheckpoints,
    reporter: reporting.StepReporter,
    cadence: Cadence,
) -> bool:
    """Train from the trainer's step to the last one, saving and reporting on the way.

    Args:
        trainer: makes the updates.
        dataset: distributed batches, positioned behind what was trained on already.
        checkpoints: where to save.
        reporter: whom to tell.
        cadence: when.

    Returns:
        True if the last step was reached, False if a signal ended the run earlier; a
        checkpoint is saved either way.

    Raises:
        FloatingPointError: the loss is not finite; nothing is saved over the last good
            checkpoint.
    """
    iterator = iter(dataset)
    step = trainer.step
    pending = np.zeros(objectives.NUM_SUMS)
    with StopRequest() as stop_requested:
        while step < cadence.num_train_steps and not stop_requested:
            num_steps = cadence.steps_until_pause(step)
            totals = trainer.train_steps(iterator, tf.constant(num_steps)).numpy()
            first, step = step + 1, step + num_steps
            _check_finite(totals, first, step, checkpoints.latest)
            pending += totals
            if _is_line_due(step, cadence, reporter):
                reporter.report(step, objectives.summarize(pending))
                pending[:] = 0
            if step % cadence.save_checkpoints_steps == 0:
                checkpoints.save()
    checkpoints.save()
    return step >= cadence.num_train_steps


def _is_line_due(step: int, cadence: Cadence, reporter: reporting.StepReporter) -> bool:
    return (
        step in (1, cadence.num_train_steps)
        or step % cadence.log_steps == 0
        or reporter.seconds_since_report > _SECONDS_BETWEEN_LINES
    )


def _check_finite(totals, first: int, last: int, saved: str | None) -> None:
    if not all(math.isfinite(value) for value in totals):
        where = f"step {first}" if first == last else f"steps {first} to {last}"
        kept = f"the last good checkpoint is {saved}" if saved else "nothing was saved"
        raise FloatingPointError(
            f"The loss is not finite in {where}; {kept}. Lower --learning_rate or "
            "raise --num_warmup_steps, then run the command again."
        )


def evaluate(trainer: Trainer, dataset, max_steps: int) -> tuple[dict[str, float], int]:
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
    return objectives.summarize(totals), int(totals[objectives.NSP_COUNT])
