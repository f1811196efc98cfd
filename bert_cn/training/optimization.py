"""Optimizers, and the update that a training step makes.

Every optimizer here takes gradients that are already summed over replicas and clipped,
as `apply_gradients` gives them. Keras's own order (clip on each replica, then sum)
bounds something else.
"""

import math
import re

import keras
import tensorflow as tf

from bert_cn.training import choices

# Trainable variables that are not decayed: biases and LayerNorm, as in
# google-research/bert's exclude_from_weight_decay=["LayerNorm", "layer_norm", "bias"].
_UNDECAYED_NAMES = ("bias", "output_bias", "gamma", "beta")
# Places of variables in the encoder, see `AdamFamily`.
_LAYER = re.compile(r"(?:^|/)transformer_layer_(\d+)/")
_EMBEDDINGS = re.compile(r"(?:^|/)(?:\w+_embedding|embeddings_layer_norm)/")
# Root mean square of the entries of Muon's update, about that of AdamW's.
_UPDATE_RMS = 0.2
# google-research/bert's optimization.py clips to this global norm.
MAX_GRADIENT_NORM = 1.0


class AdamFamily(keras.optimizers.Optimizer):
    """The optimizers with two moments per variable and decoupled weight decay.

        m = beta_1 * m + (1 - beta_1) * g
        v = beta_2 * v + (1 - beta_2) * g^2
        update = m' / (sqrt(v') + epsilon) + weight_decay_rate * w

        w = w - learning_rate * update

    where m' and v' are m and v, divided by 1 - beta^t if `bias_correction` (t counts
    the updates from 1). Biases and LayerNorm weights are not decayed.

    With `layer_decay` d < 1 the learning rate of the i-th of L layers, counted from 0,
    is multiplied by d^(L - i), and that of the embeddings by d^(L + 1) (Howard and
    Ruder, 2018, section 3.2, https://arxiv.org/abs/1801.06146; Clark et al., 2020,
    https://arxiv.org/abs/2003.10555).

    With `l2_to_init` a > 0 each update also takes learning_rate * a * (w - w_0) from w,
    where w_0 is what `remember_start` found (L2-SP, Li et al., 2018,
    https://arxiv.org/abs/1802.01483), for the variables that are decayed.
    """

    bias_correction = False

    def __init__(
        self,
        learning_rate,
        weight_decay_rate: float = 0.01,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-6,
        layer_decay: float = 1.0,
        l2_to_init: float = 0.0,
        **kwargs,
    ):
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.layer_decay = layer_decay
        self.l2_to_init = l2_to_init
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
        self._factors = [self.layer_decay**depth for depth in _count_depths(variables)]
        if self.l2_to_init:
            # Saved with the moments, so that a resumed run is drawn to the same place.
            self._start = self.add_optimizer_variables(variables, "start")

    def remember_start(self, variables):
        """Take the values of the variables for those that `l2_to_init` draws to."""
        if self.l2_to_init:
            for variable in variables:
                start = self._start[self._get_variable_index(variable)]
                start.assign(variable)

    def update_step(self, gradient, variable, learning_rate):
        """Update one variable and its moments in place."""
        index = self._get_variable_index(variable)
        rate = tf.cast(learning_rate, variable.dtype)
        if self.layer_decay != 1:
            rate *= self._factors[index]
        if self.l2_to_init and self._decays[index]:
            distance = variable - self._start[index]
            variable.assign_sub(rate * self.l2_to_init * distance)
        self._update(index, gradient, variable, rate)

    def _update(self, index: int, gradient, variable, rate):
        """Update a variable by its own learning rate, a scalar tensor.

        TensorFlow's own Adam kernel makes one pass over memory; the formula written out
        makes a dozen. The kernel corrects the bias of the whole update, not of m and v
        (Kingma and Ba, 2014, end of section 2, https://arxiv.org/abs/1412.6980), so it
        gets a learning rate and an epsilon that turn this into the formula above.
        """
        if self._decays[index]:
            variable.assign(variable * (1.0 - rate * self.weight_decay_rate))
        first, second = self._bias_corrections(variable.dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._m[index].value.handle,
            v=self._v[index].value.handle,
            beta1_power=0.0,  # The kernel's own correction is off.
            beta2_power=0.0,
            lr=rate * tf.sqrt(second) / first,
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon * tf.sqrt(second),
            grad=gradient,
        )

    def _bias_corrections(self, dtype):
        """Return the divisors of m and v in this update: two scalars."""
        if not self.bias_correction:
            return tf.ones([], dtype), tf.ones([], dtype)
        step = tf.cast(self.iterations.value + 1, dtype)
        return 1.0 - tf.pow(self.beta_1, step), 1.0 - tf.pow(self.beta_2, step)

    def _all_reduce_sum_gradients(self, grads_and_vars):
        # Keras would sum over replicas here, after the clipping.
        return grads_and_vars


class BertAdamW(AdamFamily):
    """AdamW without bias correction: google-research/bert's AdamWeightDecayOptimizer.

    Loshchilov and Hutter, 2017 (https://arxiv.org/abs/1711.05101).
    """


class AdamW(AdamFamily):
    """AdamW with bias correction, as in the paper, torch and transformers."""

    bias_correction = True


class Lamb(AdamFamily):
    """LAMB, for batches of thousands: AdamW's update, scaled variable by variable.

    You et al., 2019, algorithm 2 (https://arxiv.org/abs/1904.00962): each variable's
    update is multiplied by |w| / |update|, or by 1 where either norm is 0. Variables
    that are not decayed are not scaled either, as in the authors' released optimizer.
    """

    bias_correction = True

    def _update(self, index: int, gradient, variable, rate):
        m, v = self._m[index].value, self._v[index].value
        m_next = m.assign(self.beta_1 * m + (1.0 - self.beta_1) * gradient)
        v_next = v.assign(self.beta_2 * v + (1.0 - self.beta_2) * tf.square(gradient))
        first, second = self._bias_corrections(variable.dtype)
        update = (m_next / first) / (tf.sqrt(v_next / second) + self.epsilon)
        if self._decays[index]:
            update += self.weight_decay_rate * variable
            rate *= _trust_ratio(variable, update)
        variable.assign_sub(rate * update)


class Muon(AdamW):
    """Muon for the kernels of encoder and masked-LM head, AdamW for the rest.

    Jordan et al., 2024 (https://kellerjordan.github.io/posts/muon/):

        m = momentum * m + g
        w = w - learning_rate * (update + weight_decay_rate * w)

    where the update is g + momentum * m with its singular values brought to about 1,
    times 0.2 * sqrt(max(rows, columns)): its entries then are about as large as AdamW's
    (Liu et al., 2025, section 2.2, https://arxiv.org/abs/2502.16982). Attention kernels
    are taken as [hidden, hidden]. Embeddings, biases, LayerNorm, the pooler and the
    next-sentence classifier are AdamW's.

    Args:
        learning_rate: of AdamW, a number or a schedule.
        weight_decay_rate: of both.
        rate_ratio: Muon's learning rate over AdamW's.
        momentum: of Muon.
        **kwargs: of `AdamFamily`.
    """

    def __init__(
        self,
        learning_rate,
        weight_decay_rate: float = 0.01,
        rate_ratio: float = 1.0,
        momentum: float = 0.95,
        **kwargs,
    ):
        super().__init__(learning_rate, weight_decay_rate, **kwargs)
        self.rate_ratio = rate_ratio
        self.momentum = momentum

    def build(self, variables):
        """Create the moments and note which variables are Muon's."""
        super().build(variables)
        self._matrix_shapes = [_matrix_shape(variable) for variable in variables]

    def _update(self, index: int, gradient, variable, rate):
        shape = self._matrix_shapes[index]
        if shape is None:
            super()._update(index, gradient, variable, rate)
            return
        m = self._m[index].value
        rate *= self.rate_ratio
        m_next = m.assign(self.momentum * m + gradient)
        update = _orthogonalize(tf.reshape(gradient + self.momentum * m_next, shape))
        update *= _UPDATE_RMS * math.sqrt(max(update.shape))
        variable.assign(
            variable * (1.0 - rate * self.weight_decay_rate)
            - rate * tf.reshape(update, variable.shape)
        )


def _count_depths(variables) -> list[int]:
    """Return how many layers lie above each variable, as `AdamFamily` counts them."""
    matches = [_LAYER.search(variable.path) for variable in variables]
    layers = [match and int(match[1]) for match in matches]
    top = max((layer for layer in layers if layer is not None), default=-1) + 1
    depths = []
    for variable, layer in zip(variables, layers, strict=True):
        if layer is not None:
            depths.append(top - layer)
        else:
            depths.append(top + 1 if _EMBEDDINGS.search(variable.path) else 0)
    return depths


def _matrix_shape(variable: keras.Variable) -> tuple[int, int] | None:
    """Return a kernel's [in, out] if it is Muon's, else None."""
    place = variable.path.split("/")
    inside = any(part.startswith("transformer_layer") for part in place)
    if place[-1] != "kernel" or not (inside or "masked_lm_head" in place):
        return None
    size = math.prod(variable.shape)
    if "attention_output" in place:  # [heads, size, hidden]
        return size // variable.shape[-1], variable.shape[-1]
    return variable.shape[0], size // variable.shape[0]  # [hidden, ...]


def _orthogonalize(matrix: tf.Tensor) -> tf.Tensor:
    """Return a matrix of the same singular vectors, whose singular values are about 1.

    Five Newton-Schulz rounds bring every singular value to between 0.7 and 1.2. They
    are computed in bfloat16, as by the authors.
    """
    first, third, fifth = 3.4445, -4.7750, 2.0315
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = tf.transpose(matrix) if is_tall else matrix
    x = tf.cast(x / (tf.norm(x) + 1e-7), tf.bfloat16)
    for _ in range(5):
        square = tf.matmul(x, x, transpose_b=True)
        mixed = third * square + fifth * tf.matmul(square, square)
        x = first * x + tf.matmul(mixed, x)
    x = tf.cast(x, matrix.dtype)
    return tf.transpose(x) if is_tall else x


def _trust_ratio(variable, update):
    """Return |variable| / |update|, or 1 where either is 0."""
    weight_norm, update_norm = tf.norm(variable), tf.norm(update)
    safe = tf.logical_and(weight_norm > 0, update_norm > 0)
    return tf.where(safe, weight_norm / tf.where(safe, update_norm, 1.0), 1.0)


# The optimizers by the value of --optimizer.
OPTIMIZERS = dict(zip(choices.OPTIMIZERS, (BertAdamW, AdamW, Lamb, Muon), strict=True))


def apply_gradients(
    optimizer, gradients, variables, clip_norm: float = MAX_GRADIENT_NORM
) -> tf.Tensor:
    """Sum gradients over replicas, clip their global norm, and make one update.

    Call it in a replica context. The order is sum, then clip: Keras's own order would
    clip each replica's share.

    Args:
        optimizer: one of `OPTIMIZERS`, built on the variables.
        gradients: this replica's share of each variable's gradient, dense or sparse.
        variables: the variables, in the gradients' order.
        clip_norm: the largest global norm.

    Returns:
        The global norm of the summed gradients before clipping, a float32 scalar that
        is equal on all replicas.
    """
    replicas = tf.distribute.get_replica_context()
    gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
    gradients = replicas.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
    gradients, norm = tf.clip_by_global_norm(gradients, clip_norm)
    optimizer.apply(gradients, variables)
    return norm
