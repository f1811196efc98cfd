"""One training step and one evaluation step, under any strategy."""

import dataclasses
import functools
import typing

import keras
import numpy as np
import tensorflow as tf

from bert_cn.model import config as config_lib
from bert_cn.model import fused_ops, pretraining_model
from bert_cn.pretraining import checkpoints as checkpoints_lib
from bert_cn.pretraining import eval_metrics, freezing, losses, relations
from bert_cn.pretraining import settings as settings_lib
from bert_cn.pretraining import teacher as teacher_lib
from bert_cn.training import environment, optimization, schedules
from bert_cn.training import hosts as hosts_lib
from data_prep.records import schema


class LoopResults(typing.NamedTuple):
    """The results of some updates that were made inside TensorFlow.

    Attributes:
        sums: float32 [NUM_SUMS], added up over replicas and updates.
        num_finite: updates before the first one whose loss or gradient was not finite,
            an int32 scalar; all of them if there was none.
        input_seconds: seconds of waiting for batches, a float64 scalar; NaN if they
            cannot be measured.
    """

    sums: tf.Tensor
    num_finite: tf.Tensor
    input_seconds: tf.Tensor


class Trainer:
    """Makes updates of a model under a strategy, and measures it.

    Args:
        args: the run's.
        strategy: under which model and optimizer were built.
        model: from `pretraining_model.build_pretraining_model`.
        optimizer: one of `optimization.OPTIMIZERS`, built on the model's variables.
        schedule: the optimizer's learning rate.
        time_budget: of the schedule; None if the run has a number of steps.
        sentence_task: "nsp" or "sop", which names its metrics; with "none" the loss is
            the masked-LM loss alone, see `pretraining_model.freeze_sentence_head`.
        teacher: from `teacher.build_teacher`, whose predictions are learned, too; None
            for the labels alone.

    Attributes:
        strategy: see above.
        model: see above.
        optimizer: see above.
        schedule: see above.
        time_budget: see above.
        output_ids: int [outputs], the tokens that the training softmax is over; None
            for all.
        teacher: see above.
        agree: returns whether a flag is set on any host, see `hosts.agree_any`.
        average: returns the mean of the hosts' numbers, see `hosts.average`.
    """

    def __init__(
        self,
        args: settings_lib.PretrainingArgs,
        strategy: tf.distribute.Strategy,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        schedule: schedules.WarmupSchedule,
        time_budget: schedules.TimeBudget | None = None,
        sentence_task: str = "nsp",
        output_ids: np.ndarray | None = None,
        teacher: keras.Model | None = None,
    ):
        self.strategy = strategy
        self.model = model
        self.optimizer = optimizer
        self.schedule = schedule
        self.time_budget = time_budget
        self._accumulation_steps = args.gradient_accumulation_steps
        self._clip_norm = args.clip_norm
        self._use_sentence_loss = sentence_task != "none"
        self._sentence_weight = args.next_sentence_weight
        self._sentence_task = sentence_task
        self.output_ids = output_ids
        self.teacher = teacher
        self._teacher_weight = args.teacher_weight
        self._relation_weight = args.teacher_relation_weight if teacher else 0.0
        if self._relation_weight:
            self._relation_heads = teacher_lib.count_relation_heads(model, teacher)
        self.agree = functools.partial(hosts_lib.agree_any, strategy)
        self.average = functools.partial(hosts_lib.average, strategy)
        # The update alone: XLA compiles no iterator, so the loop stays outside.
        self._update = (
            tf.function(self.update, jit_compile=True)
            if args.jit_compile
            else self.update
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
        """Turn accumulated sums [NUM_SUMS] into the metrics of the run's losses."""
        metrics = losses.summarize(
            sums, self._use_sentence_loss, self._sentence_weight, self._relation_weight
        )
        return losses.name_after_task(metrics, self._sentence_task)

    def _forward(self, features):
        """Return float32 [NUM_SUMS] of a training batch, without its logits."""
        inputs = pretraining_model.select_inputs(self.model, features)
        outputs = self.model(inputs, training=True)
        # Called as in training, for the sake of the faster operations.
        taught = None if self.teacher is None else self.teacher(inputs, training=True)
        masked_lm_sums = self.model.get_layer(pretraining_model.MLM_HEAD).sum_losses(
            outputs[pretraining_model.MLM_HIDDEN],
            features[schema.MASKED_LM_IDS],
            tf.cast(features[schema.MASKED_LM_WEIGHTS], tf.float32),
            self._read_predictions(taught),
        )
        relation_loss = 0.0
        if self._relation_weight:
            relation_loss = relations.sum_relation_losses(
                outputs[pretraining_model.SEQUENCE_OUTPUT],
                taught[pretraining_model.SEQUENCE_OUTPUT],
                features,
                self._relation_heads,
            )
        return losses.compute_sums(outputs, features, masked_lm_sums, relation_loss)

    def _read_predictions(self, taught: dict) -> pretraining_model.Teacher | None:
        """Return what the masked-LM loss needs of a teacher's outputs."""
        if taught is None or not self._teacher_weight:
            return None
        return pretraining_model.Teacher(
            self.teacher.get_layer(pretraining_model.MLM_HEAD),
            taught[pretraining_model.MLM_HIDDEN],
            self._teacher_weight,
        )

    def update(self, features):
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
            self.optimizer, gradients, self.model.trainable_variables, self._clip_norm
        )
        return sums, norm

    def _compute_gradients(self, features, counts):
        """Return dense gradients of this replica's share of the loss, and its sums.

        The micro-batches are computed one after the other, so that the activations of
        one of them are in memory at a time. Since the counts are those of the whole
        batch, so is the result.
        """
        if self._accumulation_steps == 1:
            return self._compute_micro_batch(features, counts)
        micro_batches = {
            name: tf.reshape(value, (self._accumulation_steps, -1, *value.shape[1:]))
            for name, value in features.items()
        }
        gradients = [tf.zeros(v.shape, v.dtype) for v in self.model.trainable_variables]
        sums = tf.zeros([losses.NUM_SUMS], tf.float32)
        for index in tf.range(self._accumulation_steps):
            micro_batch = {name: value[index] for name, value in micro_batches.items()}
            more, more_sums = self._compute_micro_batch(micro_batch, counts)
            gradients = [
                one + other for one, other in zip(gradients, more, strict=True)
            ]
            sums += more_sums
        return gradients, sums

    def compute_micro_batch(self, features):
        """Return gradients and sums of a micro-batch as if it were the whole batch."""
        return self._compute_micro_batch(features, losses.count_labels(features))

    def _compute_micro_batch(self, features, counts):
        with tf.GradientTape() as tape:
            sums = self._forward(features)
            loss = losses.compute_loss(
                sums,
                counts,
                self._use_sentence_loss,
                self._sentence_weight,
                self._relation_weight,
            )
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
        """Return the next batch and the seconds of waiting for it.

        Fetching a batch while the device is busy is no wait, so the clock starts when
        `totals`, the sums up to the update before, are there. A CPU has then made that
        update; a GPU has only received the order, so its figure is an upper bound.
        """
        if isinstance(self.strategy, tf.distribute.TPUStrategy):
            # The host's clock does not tell when a TPU is done.
            return next(iterator), tf.constant(float("nan"), tf.float64)
        with tf.control_dependencies([totals]):
            begin = tf.timestamp()
        with tf.control_dependencies([begin]):
            batch = next(iterator)
        with tf.control_dependencies(tf.nest.flatten(batch, expand_composites=True)):
            end = tf.timestamp()
        # The update starts after the clock was read: on one core it would come first.
        with tf.control_dependencies([end]):
            batch = tf.nest.map_structure(tf.identity, batch, expand_composites=True)
        return batch, end - begin

    @tf.function(reduce_retracing=True)
    def eval_step(self, features) -> tuple[tf.Tensor, tf.Tensor]:
        """Measure one distributed batch of evaluation records, dropout off.

        Returns:
            float32 [losses.NUM_SUMS] and [eval_metrics.NUM_SUMS].
        """

        def measure(features):
            outputs = pretraining_model.predict(self.model, features)
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
            outputs = pretraining_model.predict(self.model, features)
            return tf.argmax(outputs[pretraining_model.MLM_LOGITS], -1, tf.int32)

        return self.strategy.run(predict, args=(features,))

    def predict_batch(self, features) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Return this host's share of a batch, and its likeliest tokens."""

        def join(value):
            parts = self.strategy.experimental_local_results(value)
            return np.concatenate([part.numpy() for part in parts])

        predicted = join(self.predict_step(features))
        return {name: join(value) for name, value in features.items()}, predicted


def build_trainer(
    args: settings_lib.PretrainingArgs,
    config: config_lib.BertConfig,
    strategy: tf.distribute.Strategy,
    sentence_task: str = "nsp",
    training_ops: fused_ops.Ops = fused_ops.XLA,
    output_ids: np.ndarray | None = None,
    teacher_config: config_lib.BertConfig | None = None,
    takes_parts: bool = False,
) -> Trainer:
    """Build model, optimizer and step under a strategy.

    Sets Keras's dtype policy and random seed, which are global.

    Args:
        args: the run's.
        config: sizes of the model.
        strategy: under which the model is built.
        sentence_task: "nsp", "sop", or "none" for the masked-LM loss alone.
        training_ops: `fused_ops.CPU` or `fused_ops.XLA`, what training computes with.
        output_ids: int [seen], the tokens that the training softmax is over; None for
            all.
        teacher_config: sizes of the teacher; None for no teacher.
        takes_parts: for records that hold several sequences.
    """
    keras.utils.set_random_seed(args.random_seed)
    keras.config.set_dtype_policy(args.precision)
    with strategy.scope():
        model = pretraining_model.build_pretraining_model(
            _set_dropout(config, args.pretraining_dropout),
            args.recompute_layers,
            training_ops,
            args.shift_positions,
            takes_parts,
        )
        if sentence_task == "none":
            pretraining_model.freeze_sentence_head(model)
        freezing.freeze(model, args.freeze)
        if output_ids is not None:
            model.get_layer(pretraining_model.MLM_HEAD).limit_training(output_ids)
        time_budget = None
        if args.train_minutes:
            time_budget = schedules.TimeBudget(args.train_minutes)
        schedule = _build_schedule(args, time_budget)
        optimizer = _build_optimizer(args, schedule)
        optimizer.build(model.trainable_variables)
        # The last one, so that the model starts from the same weights with and without.
        teacher = None
        if teacher_config is not None:
            teacher = teacher_lib.build_teacher(
                teacher_config, training_ops, takes_parts
            )
    return Trainer(
        args,
        strategy,
        model,
        optimizer,
        schedule,
        time_budget,
        sentence_task,
        output_ids,
        teacher,
    )


def _set_dropout(
    config: config_lib.BertConfig, rate: float | None
) -> config_lib.BertConfig:
    if rate is None:
        return config
    return dataclasses.replace(
        config, hidden_dropout_prob=rate, attention_probs_dropout_prob=rate
    )


def _build_optimizer(
    args: settings_lib.PretrainingArgs, schedule: schedules.WarmupSchedule
) -> optimization.AdamFamily:
    kind = optimization.OPTIMIZERS[args.optimizer]
    more = {
        "beta_2": args.adam_beta2,
        "layer_decay": args.layer_decay,
        "l2_to_init": args.l2_to_init,
    }
    if kind is optimization.Muon:
        more["rate_ratio"] = args.muon_learning_rate / args.learning_rate
    return kind(schedule, args.weight_decay_rate, **more)


def _build_schedule(
    args: settings_lib.PretrainingArgs, time_budget: schedules.TimeBudget | None
) -> schedules.WarmupSchedule:
    return schedules.WarmupSchedule(
        args.learning_rate,
        args.num_train_steps,
        args.num_warmup_steps,
        args.decay_power,
        args.schedule,
        time_budget,
    )


def choose_training_ops(args: settings_lib.PretrainingArgs) -> fused_ops.Ops:
    """Return the operations of training that suit the device of a run."""
    is_on_cpu = not (args.tpu or tf.config.list_physical_devices("GPU"))
    compiles_pieces = is_on_cpu and not args.jit_compile
    if compiles_pieces and environment.has_compiler_for_cpu():
        return fused_ops.CPU
    return fused_ops.XLA
