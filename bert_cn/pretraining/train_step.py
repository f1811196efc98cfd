"""One training step and one evaluation step, under any strategy."""

import functools
import typing

import keras
import numpy as np
import tensorflow as tf

from bert_cn.model import pretraining_model
from bert_cn.pretraining import checkpoints as checkpoints_lib
from bert_cn.pretraining import eval_metrics, losses
from bert_cn.training import hosts as hosts_lib
from bert_cn.training import optimization
from data_prep.records import schema


class LoopResults(typing.NamedTuple):
    """What some updates inside TensorFlow gave.

    Attributes:
        sums: float32 [NUM_SUMS], added up over replicas and updates.
        num_finite: updates before the first one whose loss or gradient was not finite,
            an int32 scalar; all of them if there was none.
        input_seconds: time that was spent waiting for batches, a float64 scalar; not a
            number where it cannot be measured.
    """

    sums: tf.Tensor
    num_finite: tf.Tensor
    input_seconds: tf.Tensor


class Trainer:
    """Runs updates of a model under a strategy.

    Args:
        strategy: under which model and optimizer were built.
        model: from `pretraining_model.build_pretraining_model`.
        optimizer: one of `optimization.OPTIMIZERS`, built on the model's variables.
        accumulation_steps: parts that each replica's batch is worked through in.
        use_sentence_loss: whether the second loss (NSP or SOP) is part of the loss; if
            not, see `pretraining_model.freeze_sentence_head`.
        sentence_task: which task that is, for the names of its figures.
        jit_compile: whether XLA compiles the update as a whole; not under a strategy.

    Attributes:
        strategy: see above.
        agree: returns whether a flag is set on any host, see `hosts.agree_any`.
    """

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        accumulation_steps: int = 1,
        use_sentence_loss: bool = True,
        sentence_task: str = "nsp",
        jit_compile: bool = False,
    ):
        self.strategy = strategy
        self.model = model
        self.optimizer = optimizer
        self._accumulation_steps = accumulation_steps
        self._use_sentence_loss = use_sentence_loss
        self._sentence_task = sentence_task
        self.agree = functools.partial(hosts_lib.agree_any, strategy)
        # The update alone: XLA compiles no iterator, so the loop stays outside.
        self._update = (
            tf.function(self._train_step, jit_compile=True)
            if jit_compile
            else self._train_step
        )

    @property
    def num_replicas(self) -> int:
        """How many devices share each batch."""
        return self.strategy.num_replicas_in_sync

    @property
    def step(self) -> int:
        """How many updates were made so far."""
        return checkpoints_lib.read_step(self.optimizer)

    def summarize(self, sums) -> dict[str, float]:
        """Turn accumulated sums [NUM_SUMS] into the metrics of this objective."""
        metrics = losses.summarize(sums, self._use_sentence_loss)
        return losses.name_after_task(metrics, self._sentence_task)

    def _forward(self, features):
        """Return float32 [NUM_SUMS] of a training batch, without its logits."""
        outputs = self.model(self._select_inputs(features), training=True)
        masked_lm_sums = self.model.get_layer(pretraining_model.MLM_HEAD).sum_losses(
            outputs[pretraining_model.MLM_HIDDEN],
            features[schema.MASKED_LM_IDS],
            tf.cast(features[schema.MASKED_LM_WEIGHTS], tf.float32),
        )
        return losses.compute_sums(outputs, features, masked_lm_sums)

    def _train_step(self, features):
        """Make one update on one replica.

        Returns:
            float32 [NUM_SUMS] of this replica, and the global norm of the summed
            gradients before clipping, a float32 scalar equal on all replicas.
        """
        replicas = tf.distribute.get_replica_context()
        counts = replicas.all_reduce(
            tf.distribute.ReduceOp.SUM, losses.count_labels(features)
        )
        gradients, sums = self._compute_gradients(features, counts)
        norm = optimization.apply_gradients(
            self.optimizer, gradients, self.model.trainable_variables
        )
        return sums, norm

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
        sums = tf.zeros([losses.NUM_SUMS], tf.float32)
        for index in tf.range(self._accumulation_steps):
            part = {name: value[index] for name, value in parts.items()}
            more, part_sums = self._compute_part(part, counts)
            gradients = [
                one + other for one, other in zip(gradients, more, strict=True)
            ]
            sums += part_sums
        return gradients, sums

    def compute_part(self, features):
        """Return gradients and sums of one part of a batch as if it were all of it."""
        return self._compute_part(features, losses.count_labels(features))

    def _compute_part(self, features, counts):
        with tf.GradientTape() as tape:
            sums = self._forward(features)
            loss = losses.compute_loss(sums, counts, self._use_sentence_loss)
        variables = [variable.value for variable in self.model.trainable_variables]
        gradients = tape.gradient(loss, variables)
        return [tf.convert_to_tensor(gradient) for gradient in gradients], sums

    @tf.function(reduce_retracing=True)
    def train_steps(self, iterator, num_steps: tf.Tensor) -> LoopResults:
        """Make `num_steps` updates inside TensorFlow.

        Args:
            iterator: over a distributed dataset of training batches.
            num_steps: int32 scalar tensor.
        """
        totals = tf.zeros([losses.NUM_SUMS], tf.float32)
        input_seconds = tf.zeros((), tf.float64)
        num_finite = num_steps
        for index in tf.range(num_steps):
            # Inside a while loop Keras layers must not open scopes of the outer graph.
            with tf.name_scope(""):
                batch, seconds = self._take_batch(iterator, totals)
                results = self.strategy.run(self._update, args=(batch,))
                sums, norm = (
                    self.strategy.reduce(tf.distribute.ReduceOp.SUM, result, axis=None)
                    for result in results
                )
                finite = tf.math.is_finite(tf.reduce_sum(sums) + norm)
                first_bad = tf.where(finite, num_steps, index)
                num_finite = tf.minimum(num_finite, first_bad)
                totals += sums
                input_seconds += seconds
        return LoopResults(totals, num_finite, input_seconds)

    def _take_batch(self, iterator, totals):
        """Return the next batch and the seconds that it had to be waited for.

        To fetch a batch while the device is busy is no wait, so the clock starts with
        `totals`, which hold the update before. A CPU has then made that update; a GPU
        has only been told to, so that what is measured there is an upper bound.
        """
        if isinstance(self.strategy, tf.distribute.TPUStrategy):
            # The host's clock knows nothing of when a TPU is done.
            return next(iterator), tf.constant(float("nan"), tf.float64)
        with tf.control_dependencies([totals]):
            begin = tf.timestamp()
        with tf.control_dependencies([begin]):
            batch = next(iterator)
        with tf.control_dependencies(tf.nest.flatten(batch, expand_composites=True)):
            return batch, tf.timestamp() - begin

    @tf.function(reduce_retracing=True)
    def eval_step(self, features) -> tuple[tf.Tensor, tf.Tensor]:
        """Measure one distributed batch of evaluation records, dropout off.

        Returns:
            float32 [losses.NUM_SUMS] and [eval_metrics.NUM_SUMS].
        """

        def measure(features):
            outputs = pretraining_model.predict(
                self.model, self._select_inputs(features)
            )
            return (
                losses.compute_sums(outputs, features),
                eval_metrics.compute_sums(outputs, features),
            )

        return tuple(
            self.strategy.reduce(tf.distribute.ReduceOp.SUM, sums, axis=None)
            for sums in self.strategy.run(measure, args=(features,))
        )

    @tf.function(reduce_retracing=True)
    def predict_step(self, features) -> tf.Tensor:
        """Return the likeliest tokens, int32 [batch of a replica, predictions] each."""

        def predict(features):
            outputs = pretraining_model.predict(
                self.model, self._select_inputs(features)
            )
            return tf.argmax(outputs[pretraining_model.MLM_LOGITS], -1, tf.int32)

        return self.strategy.run(predict, args=(features,))

    def predict_batch(self, features) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Return this host's part of a batch, and its likeliest tokens."""

        def join(value):
            parts = self.strategy.experimental_local_results(value)
            return np.concatenate([part.numpy() for part in parts])

        predicted = join(self.predict_step(features))
        return {name: join(value) for name, value in features.items()}, predicted

    @staticmethod
    def _select_inputs(features) -> dict[str, tf.Tensor]:
        names = (*schema.SEQUENCE_FEATURES, schema.MASKED_LM_POSITIONS)
        return {name: features[name] for name in names}
