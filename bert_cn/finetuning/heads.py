"""Layers for heads on the encoder, and their weights as transformers stores them."""

from collections.abc import Mapping

import keras
import numpy as np

from bert_cn.model import config as config_lib
from bert_cn.model import dropout, fused_ops


class Dropout(keras.layers.Layer):
    """Dropout (Srivastava et al., 2014) whose mask differs between replicas.

    The mask of Keras's own layer is the same on all replicas, because the states of its
    generators are mirrored.

    Args:
        rate: share of the entries that is dropped.
        **kwargs: see `keras.layers.Layer`.
    """

    def __init__(self, rate: float, **kwargs):
        super().__init__(**kwargs)
        self.rate = rate
        self._seeds = keras.random.SeedGenerator()

    def call(self, x, training=None):
        """Return x, of any shape, with entries dropped if training."""
        if not training:
            return x
        seed = dropout.next_seed(self._seeds)
        return fused_ops.XLA.dropout(x, seed, self.rate)

    def compute_output_spec(self, x, training=None):
        """Return the symbolic output; `call` wants tensors."""
        return keras.KerasTensor(x.shape, self.compute_dtype)


def build_dense(
    outputs: int, config: config_lib.BertConfig, name: str
) -> keras.layers.Dense:
    """Build the last layer of a head, float32 under any dtype policy.

    Args:
        outputs: width of the logits.
        config: says how weights are drawn.
        name: the name of the layer in transformers.
    """
    return keras.layers.Dense(
        outputs,
        kernel_initializer=keras.initializers.TruncatedNormal(
            stddev=config.initializer_range
        ),
        dtype="float32",
        name=name,
    )


def read_dense(layer: keras.layers.Dense) -> dict[str, np.ndarray]:
    """Return a layer as transformers stores it, under its names.

    Returns:
        NAME.weight float32 [outputs, inputs] and NAME.bias float32 [outputs].
    """
    return {
        f"{layer.name}.weight": np.ascontiguousarray(layer.kernel.numpy().T),
        f"{layer.name}.bias": layer.bias.numpy(),
    }


def assign_dense(layer: keras.layers.Dense, weights: Mapping[str, np.ndarray]) -> None:
    """Put what `read_dense` returned back into a layer."""
    layer.kernel.assign(weights[f"{layer.name}.weight"].T)
    layer.bias.assign(weights[f"{layer.name}.bias"])
