"""Weights out of and into a Keras model, by way of the table in `weight_map`."""

from collections.abc import Iterable, Mapping

import keras
import keras_hub
import numpy as np

from bert_cn.conversion import lazy_weights, weight_map
from bert_cn.model import config as config_lib

_ENCODER_NAME = "bert"  # In `pretraining_model.build_pretraining_model`.


def _keras_variables(model: keras.Model) -> dict[str, keras.Variable]:
    # Dropout's random states are variables of the model, but no weights.
    return {
        variable.path: variable
        for variable in model.variables
        if "seed_generator" not in variable.path
    }


def config_of(model: keras.Model) -> config_lib.BertConfig:
    """Return the configuration of a Keras model: an encoder, or one with an encoder.

    The activation cannot be told from the model and is left at the default.
    """
    backbone = keras_hub.models.BertBackbone
    encoder = model if isinstance(model, backbone) else model.get_layer(_ENCODER_NAME)
    return config_lib.BertConfig(
        vocab_size=encoder.vocabulary_size,
        hidden_size=encoder.hidden_dim,
        num_hidden_layers=encoder.num_layers,
        num_attention_heads=encoder.num_heads,
        intermediate_size=encoder.intermediate_dim,
        hidden_dropout_prob=encoder.dropout,
        attention_probs_dropout_prob=encoder.dropout,
        max_position_embeddings=encoder.max_sequence_length,
        type_vocab_size=encoder.num_segments,
    )


def canonical_from_model(
    model: keras.Model,
    parts: Iterable[weight_map.Part] = weight_map.ALL_PARTS,
) -> lazy_weights.LazyWeights:
    """Read the weights of a Keras model, each when it is asked for.

    Args:
        model: from `pretraining_model.build_pretraining_model`, or its encoder.
        parts: the parts that the model has; an encoder has ENCODER and POOLER.

    Returns:
        Canonical name -> float32 array; the model lives as long as this does.

    Raises:
        ValueError: the model's variables are not exactly those of the parts.
    """
    variables = _keras_variables(model)
    table = _matched(weight_map.list_weights(config_of(model), parts), variables)
    return lazy_weights.LazyWeights(
        {weight.name: _lazy(weight, variables[weight.keras]) for weight in table}
    )


def _lazy(
    weight: weight_map.Weight, variable: keras.Variable
) -> lazy_weights.LazyWeight:
    def load() -> np.ndarray:
        array = variable.value.numpy()
        return weight_map.from_layout(array, weight.keras_layout, weight.shape)

    return lazy_weights.LazyWeight(weight.shape, load)


def assign_to_model(
    model: keras.Model,
    weights: Mapping[str, np.ndarray],
    parts: Iterable[weight_map.Part] = weight_map.ALL_PARTS,
) -> None:
    """Put canonical weights into a Keras model.

    Args:
        model: from `pretraining_model.build_pretraining_model`, or its encoder.
        weights: canonical name -> array.
        parts: the parts to fill, with all their weights; weights of other parts are
            ignored, and the model's other variables stay as they are.

    Raises:
        ValueError: a weight or variable of the parts is missing, or shapes differ.
    """
    parts, config = tuple(parts), config_of(model)
    table = weight_map.list_weights(config, parts)
    missing = [weight.name for weight in table if weight.name not in weights]
    if missing:
        raise ValueError(
            f"The checkpoint lacks weights of the model: "
            f"{weight_map.describe_names('missing', missing)}. Use one that has the "
            f"{', '.join(parts)}."
        )
    variables = _keras_variables(model)
    others = {
        weight.keras
        for weight in weight_map.list_weights(config)
        if weight.part not in parts and weight.keras in variables
    }
    _matched(table, {k: v for k, v in variables.items() if k not in others})
    for weight in table:
        array = weights[weight.name]
        if array.shape != weight.shape:
            raise ValueError(
                f"{weight.name} has shape {list(array.shape)} in the checkpoint and "
                f"{list(weight.shape)} in the model: build the model from the "
                "configuration that belongs to the checkpoint."
            )
        variables[weight.keras].assign(
            weight_map.to_layout(array, weight.keras_layout, weight.keras_shape)
        )


def _matched(
    table: tuple[weight_map.Weight, ...], variables: dict[str, keras.Variable]
) -> tuple[weight_map.Weight, ...]:
    paths = {weight.keras for weight in table}
    missing = [weight.keras for weight in table if weight.keras not in variables]
    left_over = [path for path in variables if path not in paths]
    if missing or left_over:
        raise ValueError(
            "The Keras model's variables are not those of its configuration: "
            f"{weight_map.describe_names('missing', missing)}, "
            f"{weight_map.describe_names('left over', left_over)}."
        )
    for weight in table:
        if tuple(variables[weight.keras].shape) != weight.keras_shape:
            raise ValueError(
                f"The Keras variable {weight.keras} has shape "
                f"{list(variables[weight.keras].shape)}, not "
                f"{list(weight.keras_shape)} as the configuration says."
            )
    return table
