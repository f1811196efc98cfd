"""One step and the loop of fine-tuning, the same for every task.

A task brings a Keras model and two functions of a batch: `compute_losses` for training
and `compute_outputs` for evaluation (see `Learner`). Batches are made on the host with
NumPy, each replica takes its share, and the filling of a batch has no weight.
"""

import dataclasses
import functools
import itertools
import time
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
import tqdm

from bert_cn.finetuning import batches as batches_lib
from bert_cn.finetuning import best_weights
from bert_cn.finetuning import curves as curves_lib
from bert_cn.finetuning import features as features_lib
from bert_cn.training import hosts as hosts_lib
from bert_cn.training import optimization, schedules, stop_request

Arrays = dict[str, tf.Tensor]
# Updates between two looks at the loss: fetching it from the device costs a wait.
_STEPS_BETWEEN_CHECKS = 20
# Without a progress bar, a line is printed at least this often.
_SECONDS_BETWEEN_LINES = 20.0


@dataclasses.dataclass(frozen=True)
class Learner:
    """A model and what a task does with it.

    Attributes:
        model: its variables are trained and kept; it contains the encoder of
            `pretraining_model.build_encoder`. Build it under the strategy's scope.
        compute_losses: batch (see `batches.Batch`) -> float32 [batch], the loss of each
            example, dropout on.
        compute_outputs: batch -> name -> [batch, ...], dropout off.
        unused: `variable.path` of variables that the loss does not use, such as the
            pooler in a task that predicts from `sequence_output`. They are not trained:
            weight decay without a gradient would wipe them out.
        token_outputs: the names of outputs that are [batch, width, ...].
        differentiate: (batch, float32 [batch], variables) -> the sum of the losses
            times those numbers, and its gradients; for a learner that takes them in a
            way of its own. None to differentiate `compute_losses`.
    """

    model: keras.Model
    compute_losses: Callable[[Arrays], tf.Tensor]
    compute_outputs: Callable[[Arrays], Arrays]
    unused: frozenset[str] = frozenset()
    token_outputs: frozenset[str] = frozenset()
    differentiate: Callable[..., tuple[tf.Tensor, list[tf.Tensor]]] | None = None

    @property
    def trained(self) -> list[keras.Variable]:
        """The variables that are trained."""
        return [v for v in self.model.trainable_variables if v.path not in self.unused]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The settings of training.

    Attributes:
        learning_rate: the peak learning rate.
        num_train_epochs: passes over the data; may be a fraction.
        warmup_proportion: share of the updates with linear warm-up; linear decay
            follows (google-research/bert's run_classifier.py).
        optimizer: one of `optimization.OPTIMIZERS`.
        weight_decay_rate: decoupled, not of biases and LayerNorm.
        seed: decides the order of examples; initial weights and dropout use Keras's.
    """

    learning_rate: float
    num_train_epochs: float
    warmup_proportion: float
    optimizer: str
    weight_decay_rate: float
    seed: int

    def count_steps(self, steps_per_epoch: int) -> int:
        """Return the updates of the whole run, at least 1."""
        return max(1, round(self.num_train_epochs * steps_per_epoch))


class Trainer:
    """Runs updates and forward passes of a learner under a strategy.

    Args:
        strategy: the learner's model was built under it.
        learner: what is trained.
        jit_compile: compile the steps with XLA, once for each shape of a batch; a TPU
            always does.

    Attributes:
        strategy: as given.
        agree: returns whether a flag is set on any host, see `hosts.agree_any`.
    """

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        learner: Learner,
        jit_compile: bool = False,
    ):
        self.strategy = strategy
        self._jit_compile = jit_compile
        self.agree = functools.partial(hosts_lib.agree_any, strategy)
        self.learner = learner
        self._optimizer = None
        self._schedule = None
        self._steps = {}

    @property
    def num_replicas(self) -> int:
        """How many devices share each batch."""
        return self.strategy.num_replicas_in_sync

    def start(self, recipe: Recipe, num_train_steps: int) -> None:
        """Make a new optimizer with the recipe's schedule."""
        schedule = schedules.WarmupSchedule(
            recipe.learning_rate,
            num_train_steps,
            int(num_train_steps * recipe.warmup_proportion),
        )
        self._schedule = schedule
        with self.strategy.scope():
            self._optimizer = optimization.OPTIMIZERS[recipe.optimizer](
                schedule, recipe.weight_decay_rate
            )
            self._optimizer.build(self.learner.trained)
        self._steps.clear()  # They use the previous optimizer.

    def retrace(self) -> None:
        """Trace again at the next call, because the learner computes something else."""
        self._steps.clear()

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of an update, counted from 1 on."""
        return float(self._schedule(step - 1))

    def train_step(self, batch: batches_lib.Batch) -> tf.Tensor:
        """Make one update; return float32 [2]: loss and norm of the gradient."""
        return self._run(self._update, batch)

    def compute_outputs(self, batch: batches_lib.Batch) -> dict[str, np.ndarray]:
        """Return the outputs of the real examples of a batch, in its order."""
        outputs = self._run(self._compute_outputs, batch)
        count = len(batch.examples)
        return {name: np.asarray(value)[:count] for name, value in outputs.items()}

    def _run(self, function: Callable, batch: batches_lib.Batch):
        """Call a compiled function; each replica gets its rows of the batch."""
        # One trace for all widths: tracing a large model takes longer than a step.
        specs = {
            name: tf.TensorSpec(
                (len(array), None) if name in batch.per_token else array.shape,
                array.dtype,
            )
            for name, array in batch.arrays.items()
        }
        key = (function, *specs.items())
        if key not in self._steps:
            self._steps[key] = self._compile(function, specs)
        return self._steps[key](self._distribute(batch.arrays))

    def _compile(self, function: Callable, specs: dict) -> Callable:
        if self.num_replicas > 1:
            return tf.function(function, reduce_retracing=True)
        if self._jit_compile:
            return tf.function(function, jit_compile=True)
        return tf.function(function, input_signature=[specs])

    def _distribute(self, arrays: dict[str, np.ndarray]):
        """Give each replica its rows; every host makes the same batches."""
        if self.num_replicas == 1:
            return {name: tf.convert_to_tensor(a) for name, a in arrays.items()}

        def take(context):
            index = context.replica_id_in_sync_group
            return {
                name: tf.convert_to_tensor(np.split(array, self.num_replicas)[index])
                for name, array in arrays.items()
            }

        return self.strategy.experimental_distribute_values_from_function(take)

    def _update(self, arrays) -> tf.Tensor:
        results = self.strategy.run(self._update_replica, args=(arrays,))
        return self.strategy.reduce(tf.distribute.ReduceOp.SUM, results, axis=None)

    def _update_replica(self, arrays: Arrays) -> tf.Tensor:
        replicas = tf.distribute.get_replica_context()
        weights = arrays[features_lib.WEIGHT]
        count = replicas.all_reduce(tf.distribute.ReduceOp.SUM, tf.reduce_sum(weights))
        variables = self.learner.trained
        # This replica's share: the shares add up to the mean over the batch.
        differentiate = self.learner.differentiate or self._differentiate
        loss, gradients = differentiate(arrays, weights / count, variables)
        norm = optimization.apply_gradients(self._optimizer, gradients, variables)
        return tf.stack([loss, norm / self.num_replicas])

    def _differentiate(self, arrays: Arrays, shares: tf.Tensor, variables):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(self.learner.compute_losses(arrays) * shares)
        return loss, tape.gradient(loss, [variable.value for variable in variables])

    def _compute_outputs(self, arrays):
        outputs = self.strategy.run(self.learner.compute_outputs, args=(arrays,))
        if self.num_replicas == 1:
            return outputs
        return {k: self.strategy.gather(v, axis=0) for k, v in outputs.items()}


def predict(
    trainer: Trainer,
    features: features_lib.Features,
    shape: batches_lib.Shape,
    description: str = "",
) -> dict[str, np.ndarray | list[np.ndarray]]:
    """Return the outputs of all examples, in the examples' order.

    Args:
        trainer: its learner computes the outputs.
        features: the examples.
        shape: of the batches.
        description: for the progress bar.

    Returns:
        Name -> [examples, ...]. The learner's `token_outputs`, which are as wide as
        their batch, become lists of [tokens, ...], cut to the tokens of each example.
    """
    rows: dict[str, list] = {}
    lengths = features.lengths
    token_outputs = trainer.learner.token_outputs
    with _Progress(shape.count_batches(len(features)), description) as progress:
        for batch in batches_lib.iterate_eval_batches(features, shape):
            for name, array in trainer.compute_outputs(batch).items():
                into = rows.setdefault(name, [None] * len(features))
                for example, row in zip(batch.examples, array, strict=True):
                    cut = name in token_outputs
                    into[example] = row[: lengths[example]] if cut else row
            progress.update(1)
    return {
        name: each if name in token_outputs else np.stack(each)
        for name, each in rows.items()
    }


def train(
    trainer: Trainer,
    features: features_lib.Features,
    shape: batches_lib.Shape,
    recipe: Recipe,
    keeper: best_weights.BestKeeper,
    curves: curves_lib.Curves | None = None,
) -> None:
    """Train, measure after each epoch and at the end, and restore the best weights.

    Args:
        trainer: starts a new optimizer.
        features: of the training examples.
        shape: of the batches.
        recipe: how to train.
        keeper: measures the model and keeps its best weights.
        curves: gets the loss and the metrics.

    Raises:
        FloatingPointError: a loss or gradient is not finite; the weights that the
            keeper has saved stay.
        KeyboardInterrupt: a signal ended training after the current update; the keeper
            has saved weights.
    """
    steps_per_epoch = shape.count_batches(len(features))
    num_steps = recipe.count_steps(steps_per_epoch)
    trainer.start(recipe, num_steps)
    results = []
    with (
        stop_request.StopRequest(trainer.agree) as stop_requested,
        _Progress(num_steps, "Training") as progress,
    ):
        for step, batch in _count_batches(features, shape, recipe, num_steps):
            results.append(trainer.train_step(batch))
            is_epoch_over = step % steps_per_epoch == 0 or step == num_steps
            must_stop = bool(stop_requested)
            if is_epoch_over or must_stop or len(results) == _STEPS_BETWEEN_CHECKS:
                loss = _check_results(results, step, keeper.kept)
                progress.update(len(results), loss)
                results.clear()
                if curves:
                    rate = trainer.learning_rate(step)
                    scalars = {"loss": loss, "learning_rate": rate}
                    curves.write(curves_lib.TRAIN, scalars, step)
            if must_stop:
                keeper.keep_unless_kept(step)
                raise KeyboardInterrupt
            if is_epoch_over:
                epoch = step / steps_per_epoch
                line = f"epoch {epoch:g}, step {step}, loss {loss:.4f}"
                metrics = keeper.measure(step, line)
                if curves:
                    curves.write(curves_lib.DEV, metrics, step)
    keeper.restore_best()


def _count_batches(features, shape, recipe, num_steps):
    """Yield (update from 1 on, batch), epoch after epoch."""
    step = 0
    for epoch in itertools.count():
        # The order depends only on the seed and the epoch.
        rng = np.random.default_rng([recipe.seed, epoch])
        for batch in batches_lib.iterate_train_batches(features, shape, rng):
            step += 1
            yield step, batch
            if step == num_steps:
                return


def _check_results(results: list[tf.Tensor], step: int, kept: str) -> float:
    """Return the mean loss of the last updates, which must be finite."""
    values = np.stack([result.numpy() for result in results])
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        raise FloatingPointError(
            "The loss or its gradient is not finite in step "
            f"{step - len(results) + 1 + bad[0]}; {kept or 'nothing was saved'}. Lower "
            "--learning_rate, or raise --warmup_proportion."
        )
    return float(values[:, 0].mean())


class _Progress:
    """A bar on a terminal; a line now and then in a log.

    Args:
        total: the number of steps.
        description: names them.
    """

    def __init__(self, total: int, description: str):
        # None: no bar where standard error is a file.
        self._bar = tqdm.tqdm(total=total, desc=description, disable=None, leave=False)
        self._description = description
        self._total = total
        self._done = 0
        self._last_line = time.monotonic()

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *_):
        self._bar.close()

    def update(self, steps: int, loss: float | None = None) -> None:
        """Add steps that are done."""
        self._done += steps
        shown = "" if loss is None else f"loss {loss:.4f}"
        if not self._bar.disable:
            self._bar.set_postfix_str(shown, refresh=False)
            self._bar.update(steps)
        elif time.monotonic() - self._last_line > _SECONDS_BETWEEN_LINES:
            print(
                f"{self._description} {self._done}/{self._total} {shown}".rstrip(),
                flush=True,
            )
            self._last_line = time.monotonic()
