"""Learning rates over a run that has a number of steps, or a number of minutes."""

import math
import time

import keras
import tensorflow as tf

from bert_cn.training import choices

# The triangle begins at this share of the peak, and reaches the peak after this share
# of the run: the best of Geiping and Goldstein, 2022 ("Cramming",
# https://arxiv.org/abs/2212.14034).
_TRIANGLE_BASE, _TRIANGLE_RISE = 0.25, 0.25
# Share of the run in which "wsd" decays: Hägele et al., 2024, section 4
# (https://arxiv.org/abs/2405.18392).
_DECAY_SHARE = 0.2


class TimeBudget(tf.Module):
    """How much of a run's time is used, as variables that the training step reads.

    Between two calls of the host the share grows with each update by what an update
    took last. Checkpoints hold the variables, so that a resumed run starts from
    the share used at its checkpoint.

    Args:
        minutes: of the whole run, from the first update on: updates, checkpoints and
            evaluations count, starting a process does not.
    """

    def __init__(self, minutes: float):
        super().__init__()
        self._seconds = 60.0 * minutes
        self._used = tf.Variable(0.0, trainable=False, name="used")
        self._step = tf.Variable(0, trainable=False, name="step", dtype=tf.int64)
        self._per_step = tf.Variable(0.0, trainable=False, name="per_step")
        self._begin, self._used_before = time.monotonic(), 0.0

    def start(self) -> None:
        """Start the clock, after a checkpoint was restored."""
        self._begin = time.monotonic()
        self._used_before = float(self._used.numpy())

    def read(self) -> float:
        """Return the share of the time that is used, from this host's clock."""
        return self._used_before + (time.monotonic() - self._begin) / self._seconds

    def note(self, step: int, used: float, seconds_per_step: float) -> None:
        """Set the variables before the next updates; all hosts must say the same.

        Args:
            step: updates made so far.
            used: share of the time.
            seconds_per_step: of the last updates.
        """
        self._step.assign(step)
        self._used.assign(used)
        self._per_step.assign(seconds_per_step / self._seconds)

    def share(self, step: tf.Tensor) -> tf.Tensor:
        """Return the share used, float32 scalar, when `step` updates are made."""
        since = tf.cast(tf.cast(step, tf.int64) - self._step, tf.float32)
        return tf.minimum(self._used + since * self._per_step, 1.0)

    def share_of(self, num_steps: int) -> tf.Tensor:
        """Return the share that some updates take."""
        return num_steps * self._per_step

    def count_steps_left(self) -> int:
        """Return how many updates fit into what is left; 0 at the end."""
        left, each = 1.0 - float(self._used.numpy()), float(self._per_step.numpy())
        return round(left / each) if each else int(left > 0)


class WarmupSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up, then one of several curves down to 0 at the end of the run.

    During warm-up the rate is `learning_rate * step / num_warmup_steps`, where step
    counts the updates already made. After it, with p the share of the run that is over
    and w the warm-up's share, `learning_rate` is multiplied by

        polynomial  (1 - p) ** power, google-research/bert's optimization.py
        linear      (1 - p) / (1 - w), transformers' default
        cosine      (1 + cos(pi * (p - w) / (1 - w))) / 2 (Loshchilov and Hutter, 2016)
        triangle    0.25 + 3 * p up to p = 0.25, then (1 - p) / 0.75
        wsd         1 up to p = 0.8, then 1 - sqrt((p - 0.8) / 0.2)

    Args:
        learning_rate: the peak.
        num_train_steps: updates of the whole run, warm-up included.
        num_warmup_steps: updates of the warm-up; 0 starts with the curve.
        power: of the polynomial; 1 is linear decay.
        kind: one of `choices.SCHEDULES`.
        time_budget: if given, p is the share of its time, and `num_train_steps` is not
            used.
    """

    def __init__(
        self,
        learning_rate: float,
        num_train_steps: int,
        num_warmup_steps: int,
        power: float = 1.0,
        kind: str = choices.SCHEDULES[0],
        time_budget: TimeBudget | None = None,
    ):
        self.learning_rate = learning_rate
        self.num_warmup_steps = num_warmup_steps
        self._num_train_steps = num_train_steps
        self._power = power
        self._kind = kind
        self._time_budget = time_budget

    def __call__(self, step) -> tf.Tensor:
        """Return the learning rate, float32 scalar, of the update after `step`."""
        warmup = self.num_warmup_steps
        if self._time_budget is not None:
            progress = self._time_budget.share(step)
            warmup_share = tf.minimum(self._time_budget.share_of(warmup), 0.99)
        step = tf.cast(step, tf.float32)
        if self._time_budget is None:
            progress = tf.minimum(step / self._num_train_steps, 1.0)
            warmup_share = min(warmup / self._num_train_steps, 0.99)
        factor = self._curve(progress, warmup_share)
        warming = step / max(warmup, 1)
        return self.learning_rate * tf.where(step < warmup, warming, factor)

    def last_step(self, step: int) -> int:
        """Return the run's last update, as far as it is known after `step` of them."""
        if self._time_budget is None:
            return self._num_train_steps
        return step + self._time_budget.count_steps_left()

    @property
    def is_estimate(self) -> bool:
        """Whether the last update depends on the time that updates take."""
        return self._time_budget is not None

    def _curve(self, progress, warmup_share) -> tf.Tensor:
        """Return the rate as a share of the peak; p and w of the class's formulas."""
        left = 1.0 - progress
        if self._kind == "linear":
            return left / (1.0 - warmup_share)
        if self._kind == "cosine":
            share = (progress - warmup_share) / (1.0 - warmup_share)
            return 0.5 * (1.0 + tf.cos(math.pi * share))
        if self._kind == "triangle":
            rise = (1.0 - _TRIANGLE_BASE) / _TRIANGLE_RISE
            rising = _TRIANGLE_BASE + rise * progress
            return tf.minimum(rising, left / (1.0 - _TRIANGLE_RISE))
        if self._kind == "wsd":
            decayed = tf.maximum(1.0 - left / _DECAY_SHARE, 0.0)
            return 1.0 - tf.sqrt(decayed)
        return left**self._power
