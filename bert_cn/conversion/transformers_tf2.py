"""transformers 4's TensorFlow weights: tf_model.h5 of TFBertForPreTraining.

The file is what `TFBertForPreTraining.save_pretrained` of transformers 4.57 writes with
tf-keras 2.20: an HDF5 group for each top layer with the attribute `weight_names`, and
in it a dataset for each weight under its own name.
"""

import os
import re

import h5py
import numpy as np

from bert_cn.conversion import (
    families,
    folders,
    hdf5,
    lazy_weights,
    pretrained,
    tokenizer_files,
    transformers_config,
    weight_map,
)
from bert_cn.conversion.weight_map import Part
from bert_cn.model import config as config_lib

WEIGHTS_FILE = "tf_model.h5"
FILES = (WEIGHTS_FILE, transformers_config.CONFIG_FILE, *tokenizer_files.FILES)

_KERAS_VERSION = "2.20.1"
_ENCODER_LAYER, _NSP_LAYER, _MLM_LAYER = "bert", "nsp___cls", "mlm___cls"
# The weights of the embedding layer, which the MLM head owns as well for its output
# matrix, so that Keras lists them under both.
_SHARED = "bert/embeddings/"
# An HDF5 attribute holds 64 KiB; Keras splits longer lists into name0, name1, ...
_MAX_ATTRIBUTE_BYTES = 64512
# The first part of every name; transformers drops it when reading.
_MODEL_NAMES = {
    "BertForPreTraining": "tf_bert_for_pre_training",
    "BertForMaskedLM": "tf_bert_for_masked_lm",
    "BertForNextSentencePrediction": "tf_bert_for_next_sentence_prediction",
    "BertModel": "tf_bert_model",
}
_BEFORE_LAYER = re.compile(
    r"^.*?(?=(bert/(embeddings|encoder|pooler)|nsp___cls|mlm___cls)/)"
)


def read(path: str, options: pretrained.ReadOptions) -> pretrained.PretrainedBert:
    """Read a transformers folder with a tf_model.h5.

    Raises:
        ValueError: files are missing or damaged, the configuration is not a BERT's, or
            the weights are not exactly those of the configuration.
    """
    config = transformers_config.read_config(
        folders.join(path, transformers_config.CONFIG_FILE)
    )
    if config.model_type != config_lib.BERT:
        raise ValueError(
            f"{folders.join(path, transformers_config.CONFIG_FILE)}: model_type is "
            f"{config.model_type!r}, and a {WEIGHTS_FILE} is read of BERT alone: name "
            f"a folder with model.safetensors or pytorch_model.bin."
        )
    return pretrained.PretrainedBert(
        config=config,
        weights=weight_map.canonical_from_format(_read_datasets(path), config, "tf2"),
        source=path,
        allow_partial=options.allow_partial,
        **tokenizer_files.read_tokenizer_files(path),
    )


def _read_datasets(path: str) -> dict[str, lazy_weights.LazyWeight]:
    """Return weight name without the model's name and ":0" -> dataset."""
    shown = folders.join(path, WEIGHTS_FILE)
    arrays = {}

    def visit(name: str, item) -> None:
        if isinstance(item, h5py.Dataset):
            weight_name = _BEFORE_LAYER.sub("", name).removesuffix(":0")
            arrays[weight_name] = lazy_weights.LazyWeight(
                item.shape, lambda: _load(item, shown)
            )

    try:
        with folders.local_copy(path, [WEIGHTS_FILE]) as local:
            # The datasets keep the file open as long as they are wanted.
            file = h5py.File(os.path.join(local, WEIGHTS_FILE), "r")
            hdf5.check_self_contained(file, shown)
            for layer in file.values():
                layer.visititems(visit)
    except (OSError, RuntimeError) as error:
        raise _damaged(shown, error) from error
    return arrays


def _load(dataset: h5py.Dataset, shown: str) -> np.ndarray:
    try:
        return np.asarray(dataset)
    except (OSError, RuntimeError) as error:
        raise _damaged(shown, error) from error


def _damaged(shown: str, error: Exception) -> ValueError:
    return ValueError(f"{shown} cannot be read ({error}): copy it again.")


def write(
    bert: pretrained.PretrainedBert, folder: str, _: pretrained.WriteOptions
) -> None:
    """Write tf_model.h5, config.json and tokenizer files into a local folder."""
    table = weight_map.list_weights(bert.config, bert.parts)
    architecture = families.pretrained_class(
        bert.config.model_type, bert.has(Part.MLM), bert.has(Part.NSP)
    )
    model_name = _MODEL_NAMES[architecture]
    weights = {f"{model_name}/{weight.tf2}:0": weight for weight in table}
    shared = [name for name in weights if name.startswith(f"{model_name}/{_SHARED}")]
    layers = {_ENCODER_LAYER: [], _NSP_LAYER: [], _MLM_LAYER: []}
    for name in weights:
        layers[name.split("/")[1]].append(name)
    if bert.has(Part.MLM):
        layers[_MLM_LAYER] += shared
    layers = {layer: names for layer, names in layers.items() if names}
    with h5py.File(os.path.join(folder, WEIGHTS_FILE), "w") as file:
        file.attrs["backend"] = b"tensorflow"
        file.attrs["keras_version"] = _KERAS_VERSION.encode()
        _save_names(file, "layer_names", list(layers))
        for layer, names in layers.items():
            group = file.create_group(layer)
            _save_names(group, "weight_names", names)
            for name in names:
                if layer == _MLM_LAYER and name in shared:
                    # A hard link: the same bytes under a second name.
                    group[name] = file[_ENCODER_LAYER][name]
                else:
                    weight = weights[name]
                    array = weight_map.to_layout(
                        bert.weights[weight.name], weight.tf2_layout, weight.shape
                    )
                    group.create_dataset(name, data=array)
        _save_names(file.create_group("top_level_model_weights"), "weight_names", [])
    transformers_config.write_config(bert, folder)
    tokenizer_files.write_transformers_files(bert, folder)


def _save_names(group: h5py.Group, attribute: str, names: list[str]) -> None:
    encoded = [name.encode() for name in names]
    per_chunk = _MAX_ATTRIBUTE_BYTES // max(map(len, encoded), default=1)
    if len(encoded) <= per_chunk:
        group.attrs[attribute] = encoded
        return
    for number, start in enumerate(range(0, len(encoded), per_chunk)):
        chunk = np.array(encoded[start : start + per_chunk])
        group.attrs[f"{attribute}{number}"] = chunk
