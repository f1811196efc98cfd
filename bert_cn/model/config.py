"""The sizes of a model: a bert_config.json, read strictly."""

import dataclasses
import json

from data_prep import recipe_files, storage

# Values of `hidden_act` in a bert_config.json. google-research/bert computes "gelu" by
# the tanh approximation (its modeling.py), so "gelu" keeps that meaning here;
# transformers calls the same function "gelu_new", and the exact one "gelu".
GELU_TANH = "gelu"
GELU_EXACT = "gelu_erf"
_ACTIVATION_SYNONYMS = {"gelu_new": GELU_TANH, "gelu_pytorch_tanh": GELU_TANH}

# Keys of published bert_config.json files that change nothing for BERT: HFL's have the
# pooler's, and Google's for Chinese have `directionality`.
_IGNORED_KEYS = frozenset(
    {
        "directionality",
        "pooler_fc_size",
        "pooler_num_attention_heads",
        "pooler_num_fc_layers",
        "pooler_size_per_head",
        "pooler_type",
        "output_past",
        "architectures",
    }
)
# google-research/bert's modeling.py has this epsilon in every LayerNorm.
LAYER_NORM_EPSILON = 1e-12
# A file with larger numbers is damaged or hostile: building its model would not end.
_MOST_LAYERS, _MOST = 1_000, 10_000_000
BERT, ROBERTA, XLM_ROBERTA = "bert", "roberta", "xlm-roberta"
# Models with BERT's encoder, by transformers' names.
MODEL_TYPES = (BERT, ROBERTA, XLM_ROBERTA)


@dataclasses.dataclass(frozen=True)
class BertConfig:
    """Sizes of a BERT model, under the names of Google's bert_config.json.

    Attributes:
        vocab_size: tokens in the vocabulary.
        hidden_size: width of the encoder.
        num_hidden_layers: transformer layers.
        num_attention_heads: heads per layer; divides hidden_size.
        intermediate_size: width of the feed-forward layer.
        hidden_act: "gelu" (tanh approximation, as Google BERT) or "gelu_erf" (exact).
        hidden_dropout_prob: dropout rate on embeddings and on each sub-layer's output.
        attention_probs_dropout_prob: dropout rate on attention weights.
        max_position_embeddings: longest sequence.
        type_vocab_size: number of segments.
        initializer_range: standard deviation of the truncated normal initializer.
        model_type: one of `MODEL_TYPES`. RoBERTa (Liu et al., 2019,
            https://arxiv.org/abs/1907.11692) and XLM-R (Conneau et al., 2019,
            https://arxiv.org/abs/1911.02116) number positions from pad_token_id + 1 on.
        pad_token_id: the id of padding; it matters for that alone.
        layer_norm_eps: of every LayerNorm.
    """

    vocab_size: int
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = GELU_TANH
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    model_type: str = BERT
    pad_token_id: int = 0
    layer_norm_eps: float = LAYER_NORM_EPSILON

    def __post_init__(self):
        for field in dataclasses.fields(self):
            _check_type(field.name, field.type, getattr(self, field.name))
        if self.model_type not in MODEL_TYPES:
            raise ValueError(
                f"model_type must be one of {', '.join(MODEL_TYPES)}. Received: "
                f"{self.model_type!r}."
            )
        if self.max_length < 1:
            raise ValueError(
                "max_position_embeddings must leave positions after pad_token_id. "
                f"Received: max_position_embeddings={self.max_position_embeddings}, "
                f"pad_token_id={self.pad_token_id}."
            )
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                "hidden_size must be a multiple of num_attention_heads. Received: "
                f"hidden_size={self.hidden_size}, "
                f"num_attention_heads={self.num_attention_heads}."
            )
        if self.hidden_act not in (GELU_TANH, GELU_EXACT):
            raise ValueError(
                f"hidden_act must be {GELU_TANH!r} (tanh approximation) or "
                f"{GELU_EXACT!r}. Received: {self.hidden_act!r}."
            )

    @property
    def first_position(self) -> int:
        """The row of the position table that the first token has."""
        return 0 if self.model_type == BERT else self.pad_token_id + 1

    @property
    def max_length(self) -> int:
        """The most tokens that a sequence may have."""
        return self.max_position_embeddings - self.first_position

    def to_json(self) -> str:
        """Return the text of a bert_config.json with Google's keys.

        Keys that Google's BERT lacks stand there if another value needs them.
        """
        values = dataclasses.asdict(self)
        if self.model_type == BERT:
            values.pop("pad_token_id")
            values.pop("model_type")
        if self.layer_norm_eps == LAYER_NORM_EPSILON:
            values.pop("layer_norm_eps")
        return json.dumps(values, indent=2, sort_keys=True) + "\n"


def _check_type(name: str, kind: type, value) -> None:
    if kind is str:
        return
    number = isinstance(value, int if kind is int else (int, float))
    if not number or isinstance(value, bool):
        raise ValueError(
            f"{name} must be of type {kind.__name__}. Received: {value!r}."
        )
    least = 0 if name == "pad_token_id" else 1
    most = _MOST_LAYERS if name == "num_hidden_layers" else _MOST
    if kind is int and not least <= value <= most:
        raise ValueError(f"{name} must be from {least} to {most:,}. Received: {value}.")
    if name == "layer_norm_eps" and not 0 < value < 1:
        raise ValueError(f"{name} must be in (0, 1). Received: {value}.")
    if name.endswith("_prob") and not 0 <= value < 1:
        raise ValueError(f"{name} must be in [0, 1). Received: {value}.")


def parse_config(values: dict, path: str) -> BertConfig:
    """Build a `BertConfig` from the content of a bert_config.json.

    Args:
        values: the parsed JSON object.
        path: its file, for messages.

    Raises:
        ValueError: vocab_size is missing, a key is unknown, or a value is out of range.
    """
    known = {field.name for field in dataclasses.fields(BertConfig)}
    unknown = sorted(set(values) - known - _IGNORED_KEYS)
    if unknown:
        raise ValueError(
            f"{path}: unknown key {unknown[0]!r}; known keys are {sorted(known)}. "
            "Correct or remove it."
        )
    if "vocab_size" not in values:
        raise ValueError(f"{path}: vocab_size is missing; add it.")
    kept = {key: value for key, value in values.items() if key in known}
    activation = kept.get("hidden_act", GELU_TANH)
    kept["hidden_act"] = _ACTIVATION_SYNONYMS.get(activation, activation)
    try:
        return BertConfig(**kept)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def load_config(path: str) -> BertConfig:
    """Read a bert_config.json, local, remote, or of the program's own configs/.

    Raises:
        ValueError: the file is missing or not a JSON object, or `parse_config` raises.
    """
    if not path:
        raise ValueError(
            "--bert_config_file is empty: name a bert_config.json, such as "
            "configs/models/bert_tiny_cn.json."
        )
    path = recipe_files.find_file(path)
    try:
        values = storage.parse_json(storage.read_bytes(path).decode("utf-8"))
    except OSError as error:
        raise ValueError(
            f"Model configuration {path!r} cannot be read: check --bert_config_file."
        ) from error
    except ValueError as error:
        raise ValueError(f"{path}: not a JSON file ({error}).") from error
    if not isinstance(values, dict):
        raise ValueError(
            f"{path}: must be a JSON object, found {type(values).__name__}."
        )
    return parse_config(values, path)
