"""AdamW as google-research/bert uses it, and its learning-rate schedule."""

import keras
import tensorflow as tf

# Trainable variables that are not decayed: biases and LayerNorm, as in
# google-research/bert's exclude_from_weight_decay=["LayerNorm", "layer_norm", "bias"].
_UNDECAYED_NAMES = ("bias", "output_bias", "gamma", "beta")


@keras.saving.register_keras_serializable("bert_cn")
class WarmupLinearDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up, then linear decay to 0 at num_train_steps.

    The formula of google-research/bert's optimization.py: during warm-up
    `peak * step / num_warmup_steps`, afterwards `peak * (1 - step / num_train_steps)`,
    where step counts the updates already made.
    """

    def __init__(
        self, learning_rate: float, num_train_steps: int, num_warmup_steps: int
    ):
        self.learning_rate = learning_rate
        self.num_train_steps = num_train_steps
        self.num_warmup_steps = num_warmup_steps

    def __call__(self, step) -> tf.Tensor:
        """Return the learning rate, float32 scalar, of the update after `step`."""
        step = tf.cast(step, tf.float32)
        decayed = 1.0 - tf.minimum(step / self.num_train_steps, 1.0)
        warming = step / max(self.num_warmup_steps, 1)
        return self.learning_rate * tf.where(
            step < self.num_warmup_steps, warming, decayed
        )

    def get_config(self):
        """Return the arguments of the constructor."""
        return {
            "learning_rate": self.learning_rate,
            "num_train_steps": self.num_train_steps,
            "num_warmup_steps": self.num_warmup_steps,
        }


@keras.saving.register_keras_serializable("bert_cn")
class BertAdamW(keras.optimizers.Optimizer):
    """Adam with decoupled weight decay and without bias correction.

    Loshchilov and Hutter, 2017 (https://arxiv.org/abs/1711.05101), as in
    google-research/bert's AdamWeightDecayOptimizer:

        m = beta_1 * m + (1 - beta_1) * g
        v = beta_2 * v + (1 - beta_2) * g^2
        w = w - learning_rate * (m / (sqrt(v) + epsilon) + weight_decay * w)

    Biases and LayerNorm weights are not decayed. Gradients must come in already summed
    over replicas and clipped (`clip_gradients`); call `apply` in cross-replica context.
    """

    def __init__(
        self,
        learning_rate,
        weight_decay_rate: float = 0.01,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-6,
        name: str = "bert_adamw",
        **kwargs,
    ):
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.weight_decay_rate = weight_decay_rate
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon

    def build(self, variables):
        """Create the two moments of each variable and note which are decayed."""
        if self.built:
            return
        super().build(variables)
        self._m, self._v = self.add_optimizer_variables(variables, ["adam_m", "adam_v"])
        self._decays = [v.name not in _UNDECAYED_NAMES for v in variables]

    def update_step(self, gradient, variable, learning_rate):
        """Update one variable in place."""
        index = self._get_variable_index(variable)
        m, v = self._m[index].value, self._v[index].value
        gradient = tf.cast(gradient, variable.dtype)
        learning_rate = tf.cast(learning_rate, variable.dtype)
        m_next = m.assign(self.beta_1 * m + (1.0 - self.beta_1) * gradient)
        v_next = v.assign(self.beta_2 * v + (1.0 - self.beta_2) * tf.square(gradient))
        update = m_next / (tf.sqrt(v_next) + self.epsilon)
        if self._decays[index]:
            update += self.weight_decay_rate * variable
        variable.assign_sub(learning_rate * update)

    def get_config(self):
        """Return the arguments of the constructor."""
        return super().get_config() | {
            "weight_decay_rate": self.weight_decay_rate,
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
        }


def clip_gradients(gradients, clip_norm: float = 1.0):
    """Scale gradients so that their global norm is at most clip_norm.

    Call it after the sum over replicas: clipping before it bounds something else.

    Returns:
        The dense clipped gradients and the global norm before clipping, a scalar.
    """
    gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
    return tf.clip_by_global_norm(gradients, clip_norm)
