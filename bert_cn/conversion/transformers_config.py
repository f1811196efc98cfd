"""The config.json of transformers, to and from `BertConfig`."""

import dataclasses
import os

from bert_cn.conversion import families, folders, pretrained
from bert_cn.conversion.weight_map import Part
from bert_cn.model import config as config_lib

CONFIG_FILE = "config.json"

# google-research/bert's "gelu" is the tanh approximation, transformers' "gelu" the
# exact function: one word for two functions that differ by up to 5e-4.
_TO_TRANSFORMERS = {
    config_lib.GELU_TANH: "gelu_new",
    config_lib.GELU_EXACT: "gelu",
}
_FROM_TRANSFORMERS = {
    "gelu_new": config_lib.GELU_TANH,
    "gelu_pytorch_tanh": config_lib.GELU_TANH,
    "gelu": config_lib.GELU_EXACT,
}
# With another value, the same weights would be another model.
_REQUIRED_VALUES = {
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
    "tie_word_embeddings": True,
}


def read_config(path: str) -> config_lib.BertConfig:
    """Read a config.json of transformers.

    Raises:
        ValueError: it is unreadable, of another architecture, or asks for something
            that our model does not compute.
    """
    values = folders.read_json(path)
    model_type = values.get("model_type", config_lib.BERT)
    if model_type not in config_lib.MODEL_TYPES:
        raise ValueError(
            f"{path}: model_type is {model_type!r}, and only "
            f"{', '.join(config_lib.MODEL_TYPES)} can be converted: name another "
            "checkpoint."
        )
    for key, required in _REQUIRED_VALUES.items():
        if values.get(key, required) != required:
            raise ValueError(
                f"{path}: {key} is {values[key]!r}, and only models with "
                f"{required!r} can be converted: name another checkpoint."
            )
    # transformers leaves out defaults; all but vocab_size are those of `BertConfig`.
    activation = values.get("hidden_act", "gelu")
    if activation not in _FROM_TRANSFORMERS:
        raise ValueError(
            f"{path}: hidden_act is {activation!r}, and only "
            f"{', '.join(_FROM_TRANSFORMERS)} can be converted: name another "
            "checkpoint."
        )
    names = {field.name for field in dataclasses.fields(config_lib.BertConfig)}
    kept = {key: value for key, value in values.items() if key in names}
    kept["hidden_act"] = _FROM_TRANSFORMERS[activation]
    if kept.get("pad_token_id") is None:
        kept["pad_token_id"] = 0 if model_type == config_lib.BERT else 1
    return config_lib.parse_config(kept, path)


def build_config(bert: pretrained.PretrainedBert) -> dict:
    """Return the content of a config.json for the model."""
    xla_device = {} if bert.xla_device is None else {"xla_device": bert.xla_device}
    return {
        **dataclasses.asdict(bert.config),
        **xla_device,
        "architectures": [
            families.pretrained_class(
                bert.config.model_type, bert.has(Part.MLM), bert.has(Part.NSP)
            )
        ],
        "dtype": "float32",
        "hidden_act": _TO_TRANSFORMERS[bert.config.hidden_act],
        "pad_token_id": _pad_id(bert),
        "position_embedding_type": "absolute",
        # transformers 4 calls `dtype` by this name.
        "torch_dtype": "float32",
        "use_cache": True,
    }


def write_config(bert: pretrained.PretrainedBert, folder: str) -> None:
    """Write config.json into a local folder."""
    folders.write_json(os.path.join(folder, CONFIG_FILE), build_config(bert))


def _pad_id(bert: pretrained.PretrainedBert) -> int:
    if bert.vocabulary is None or bert.config.model_type != config_lib.BERT:
        return bert.config.pad_token_id
    return bert.vocabulary.pad_id
