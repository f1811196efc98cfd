"""The one table of BERT's weights: what each is called and how it lies in each format.

Canonical names and layouts are the TF1 variables of google-research/bert (`modeling.py`
and `run_pretraining.py`): a kernel is [in, out], the tied output matrix is the word
embedding table and is not stored twice, `cls/seq_relationship/output_weights` is
[2, hidden].
"""

import dataclasses
import enum
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from bert_cn.conversion import lazy_weights
from bert_cn.model import config as config_lib


class Part(enum.StrEnum):
    """A part of a model. A checkpoint has all its weights or none of them."""

    ENCODER = "encoder"
    POOLER = "pooler"
    MLM = "masked-LM head"
    NSP = "next-sentence head"


ALL_PARTS = tuple(Part)
# The parts of transformers' BertModel, which published tables count.
ENCODER_PARTS = (Part.ENCODER, Part.POOLER)


class Layout(enum.Enum):
    """How the array of a format differs from the canonical layout."""

    SAME = "same"
    TRANSPOSED = "transposed"
    # One axis of size hidden becomes two, [heads, head size]. Heads are the slower of
    # the two in the canonical layout, so that a C-order reshape does it.
    SPLIT_HEADS = "split heads"


@dataclasses.dataclass(frozen=True)
class Weight:
    """One weight of one model.

    Attributes:
        part: the part of the model it belongs to.
        name: canonical name.
        shape: canonical shape.
        pt: name in transformers' BertForPreTraining.
        pt_layout: layout there.
        tf2: name in transformers 4's TFBertForPreTraining, without ":0".
        tf2_layout: layout there.
        keras: `variable.path` in `pretraining_model.build_pretraining_model`.
        keras_layout: layout there.
        keras_shape: shape there.
    """

    part: Part
    name: str
    shape: tuple[int, ...]
    pt: str
    pt_layout: Layout
    tf2: str
    tf2_layout: Layout
    keras: str
    keras_layout: Layout
    keras_shape: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class _Row:
    """A `Weight` with `{i}` for the layer and letters for the sizes (see `_sizes`)."""

    part: Part
    name: str
    shape: str
    pt: str
    tf2: str
    keras: str
    pt_layout: Layout = Layout.SAME
    tf2_layout: Layout = Layout.SAME
    keras_layout: Layout = Layout.SAME
    keras_shape: str = ""


def _dense(part, shape, name, pt, tf2, keras, split=None) -> tuple[_Row, _Row]:
    """Rows of a dense layer; `split` has the Keras shapes of kernel and bias."""
    kernel_layout = bias_layout = Layout.SAME
    kernel_shape, bias_shape = shape, shape[-1]
    if split:
        kernel_shape, bias_shape = split
        kernel_layout = Layout.SPLIT_HEADS
        bias_layout = Layout.SPLIT_HEADS if len(bias_shape) == 2 else Layout.SAME
    return (
        _Row(
            part,
            f"{name}/kernel",
            shape,
            f"{pt}.weight",
            f"{tf2}/kernel",
            f"{keras}/kernel",
            pt_layout=Layout.TRANSPOSED,
            keras_layout=kernel_layout,
            keras_shape=kernel_shape,
        ),
        _Row(
            part,
            f"{name}/bias",
            shape[-1],
            f"{pt}.bias",
            f"{tf2}/bias",
            f"{keras}/bias",
            keras_layout=bias_layout,
            keras_shape=bias_shape,
        ),
    )


def _layer_norm(part, name, pt, tf2, keras) -> tuple[_Row, _Row]:
    rows = (("gamma", "weight"), ("beta", "bias"))
    return tuple(
        _Row(part, f"{name}/{tf}", "H", f"{pt}.{torch}", f"{tf2}/{tf}", f"{keras}/{tf}")
        for tf, torch in rows
    )


def _layer_dense(shape, name, keras, split=None) -> tuple[_Row, _Row]:
    """Rows of a dense layer inside an encoder layer, whose names differ by rule."""
    return _dense(
        Part.ENCODER,
        shape,
        f"bert/encoder/layer_{{i}}/{name}",
        f"bert.encoder.layer.{{i}}.{name.replace('/', '.')}",
        f"bert/encoder/layer_._{{i}}/{name}",
        f"transformer_layer_{{i}}/{keras}",
        split,
    )


def _layer_layer_norm(name, keras) -> tuple[_Row, _Row]:
    return _layer_norm(
        Part.ENCODER,
        f"bert/encoder/layer_{{i}}/{name}",
        f"bert.encoder.layer.{{i}}.{name.replace('/', '.')}",
        f"bert/encoder/layer_._{{i}}/{name}",
        f"transformer_layer_{{i}}/{keras}",
    )


_EMBEDDING_ROWS = (
    _Row(
        Part.ENCODER,
        "bert/embeddings/word_embeddings",
        "VH",
        "bert.embeddings.word_embeddings.weight",
        "bert/embeddings/word_embeddings/weight",
        "token_embedding/embeddings",
    ),
    _Row(
        Part.ENCODER,
        "bert/embeddings/token_type_embeddings",
        "TH",
        "bert.embeddings.token_type_embeddings.weight",
        "bert/embeddings/token_type_embeddings/embeddings",
        "segment_embedding/embeddings",
    ),
    _Row(
        Part.ENCODER,
        "bert/embeddings/position_embeddings",
        "PH",
        "bert.embeddings.position_embeddings.weight",
        "bert/embeddings/position_embeddings/embeddings",
        "position_embedding/embeddings",
    ),
    *_layer_norm(
        Part.ENCODER,
        "bert/embeddings/LayerNorm",
        "bert.embeddings.LayerNorm",
        "bert/embeddings/LayerNorm",
        "embeddings_layer_norm",
    ),
)

_LAYER_ROWS = (
    *_layer_dense(
        "HH", "attention/self/query", "self_attention_layer/query", ("HAD", "AD")
    ),
    *_layer_dense(
        "HH", "attention/self/key", "self_attention_layer/key", ("HAD", "AD")
    ),
    *_layer_dense(
        "HH", "attention/self/value", "self_attention_layer/value", ("HAD", "AD")
    ),
    *_layer_dense(
        "HH",
        "attention/output/dense",
        "self_attention_layer/attention_output",
        ("ADH", "H"),
    ),
    *_layer_layer_norm("attention/output/LayerNorm", "self_attention_layer_norm"),
    *_layer_dense("HI", "intermediate/dense", "feedforward_intermediate_dense"),
    *_layer_dense("IH", "output/dense", "feedforward_output_dense"),
    *_layer_layer_norm("output/LayerNorm", "feedforward_layer_norm"),
)

_HEAD_ROWS = (
    *_dense(
        Part.POOLER,
        "HH",
        "bert/pooler/dense",
        "bert.pooler.dense",
        "bert/pooler/dense",
        "pooled_dense",
    ),
    _Row(
        Part.MLM,
        "cls/predictions/output_bias",
        "V",
        "cls.predictions.bias",
        "mlm___cls/predictions/bias",
        "masked_lm_head/output_bias",
    ),
    *_dense(
        Part.MLM,
        "HH",
        "cls/predictions/transform/dense",
        "cls.predictions.transform.dense",
        "mlm___cls/predictions/transform/dense",
        "masked_lm_head/dense",
    ),
    *_layer_norm(
        Part.MLM,
        "cls/predictions/transform/LayerNorm",
        "cls.predictions.transform.LayerNorm",
        "mlm___cls/predictions/transform/LayerNorm",
        "masked_lm_head/layer_norm",
    ),
    _Row(
        Part.NSP,
        "cls/seq_relationship/output_weights",
        "2H",
        "cls.seq_relationship.weight",
        "nsp___cls/seq_relationship/kernel",
        "next_sentence_head/kernel",
        tf2_layout=Layout.TRANSPOSED,
        keras_layout=Layout.TRANSPOSED,
        keras_shape="H2",
    ),
    _Row(
        Part.NSP,
        "cls/seq_relationship/output_bias",
        "2",
        "cls.seq_relationship.bias",
        "nsp___cls/seq_relationship/bias",
        "next_sentence_head/bias",
    ),
)


def list_weights(
    config: config_lib.BertConfig, parts: Iterable[Part] = ALL_PARTS
) -> tuple[Weight, ...]:
    """Return every weight of a model of this size, each once."""
    rows = [(row, 0) for row in _EMBEDDING_ROWS]
    for layer in range(config.num_hidden_layers):
        rows += [(row, layer) for row in _LAYER_ROWS]
    rows += [(row, 0) for row in _HEAD_ROWS]
    sizes, parts = _sizes(config), set(parts)
    return tuple(_weight(row, layer, sizes) for row, layer in rows if row.part in parts)


def count_parameters(
    config: config_lib.BertConfig, parts: Iterable[Part] = ENCODER_PARTS
) -> int:
    """Return how many parameters a model has; the tied output matrix counts once."""
    return sum(math.prod(weight.shape) for weight in list_weights(config, parts))


def _sizes(config: config_lib.BertConfig) -> dict[str, int]:
    return {
        "V": config.vocab_size,
        "P": config.max_position_embeddings,
        "T": config.type_vocab_size,
        "H": config.hidden_size,
        "I": config.intermediate_size,
        "A": config.num_attention_heads,
        "D": config.hidden_size // config.num_attention_heads,
        "2": 2,
    }


def _weight(row: _Row, layer: int, sizes: dict[str, int]) -> Weight:
    return Weight(
        part=row.part,
        name=row.name.format(i=layer),
        shape=tuple(sizes[letter] for letter in row.shape),
        pt=row.pt.format(i=layer),
        pt_layout=row.pt_layout,
        tf2=row.tf2.format(i=layer),
        tf2_layout=row.tf2_layout,
        keras=row.keras.format(i=layer),
        keras_layout=row.keras_layout,
        keras_shape=tuple(sizes[letter] for letter in row.keras_shape or row.shape),
    )


def from_layout(array: np.ndarray, layout: Layout, shape: Sequence[int]) -> np.ndarray:
    """Bring an array of a format into the canonical layout (a view if possible)."""
    if layout is Layout.TRANSPOSED:
        return array.T
    return array.reshape(shape) if layout is Layout.SPLIT_HEADS else array


def lazy_from_layout(
    weight: lazy_weights.LazyWeight, layout: Layout, shape: tuple[int, ...]
) -> lazy_weights.LazyWeight:
    """Bring a weight of a format into the canonical layout when it is read.

    The new shape is computed from the weight's own, so that `check_weights` notices a
    wrong one.
    """
    there = weight.shape
    if layout is Layout.TRANSPOSED:
        there = there[::-1]
    elif layout is Layout.SPLIT_HEADS:
        there = shape if math.prod(there) == math.prod(shape) else there
    return weight.map(there, lambda array: from_layout(array, layout, shape))


def canonical_from_format(
    found: Mapping[str, lazy_weights.LazyWeight],
    config: config_lib.BertConfig,
    column: str,
) -> dict[str, lazy_weights.LazyWeight]:
    """Give the weights of a format their canonical names and layouts.

    Args:
        found: name in the format -> weight.
        config: of the model.
        column: the format's field in `Weight`: "pt" or "tf2".

    Returns:
        Canonical name -> weight. A weight that no BERT has keeps its name, so that
        `check_weights` lists it as left over.
    """
    table = {getattr(weight, column): weight for weight in list_weights(config)}
    weights = {}
    for name, tensor in found.items():
        if name in table:
            weight = table[name]
            layout = getattr(weight, f"{column}_layout")
            weights[weight.name] = lazy_from_layout(tensor, layout, weight.shape)
        else:
            weights[name] = tensor
    return weights


def to_layout(array: np.ndarray, layout: Layout, shape: Sequence[int]) -> np.ndarray:
    """Bring a canonical array into a format's layout and shape (a view if possible)."""
    return from_layout(array, layout, shape)


def check_weights(
    shapes: Mapping[str, tuple[int, ...]],
    config: config_lib.BertConfig,
    source: str,
) -> tuple[Part, ...]:
    """Check canonical weights against a configuration.

    Args:
        shapes: canonical name -> shape.
        config: the sizes they must have.
        source: where they come from, for messages.

    Returns:
        The parts that are there; the encoder always is.

    Raises:
        ValueError: a part lacks some of its weights, a weight belongs to no part, or a
            shape is wrong.
    """
    table = {weight.name: weight for weight in list_weights(config)}
    left_over = [name for name in shapes if name not in table]
    parts = {table[name].part for name in shapes if name in table} | {Part.ENCODER}
    missing = [
        name
        for name, weight in table.items()
        if weight.part in parts and name not in shapes
    ]
    if missing or left_over:
        raise ValueError(
            f"{source} is no BERT of {config.num_hidden_layers} layers: "
            f"{describe_names('missing', missing)}, "
            f"{describe_names('left over', left_over)}. Name the checkpoint's own "
            "configuration, or convert the parts that fit by --allow_partial."
        )
    for name, shape in shapes.items():
        if tuple(shape) != table[name].shape:
            raise ValueError(
                f"{source}: {name} has shape {list(shape)}, but the "
                f"configuration beside it asks for {list(table[name].shape)}: they "
                "belong to different models, so put the right configuration there."
            )
    return tuple(part for part in ALL_PARTS if part in parts)


def select_whole_parts(
    names: Iterable[str], config: config_lib.BertConfig
) -> tuple[list[str], list[str]]:
    """Return the names that make up whole parts, and the others.

    The encoder is always selected, so that `check_weights` says what it lacks.
    """
    names = list(names)
    selected = set()
    for part in ALL_PARTS:
        of_part = {weight.name for weight in list_weights(config, (part,))}
        if part is Part.ENCODER or of_part <= set(names):
            selected |= of_part
    kept = [name for name in names if name in selected]
    return kept, [name for name in names if name not in selected]


def describe_names(what: str, names: Sequence[str], most: int = 3) -> str:
    """Say how many names there are and which: "missing 2 (a, b)"."""
    if not names:
        return f"{what} 0"
    more = ", ..." if len(names) > most else ""
    return f"{what} {len(names)} ({', '.join(names[:most])}{more})"
