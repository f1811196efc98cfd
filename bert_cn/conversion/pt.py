"""transformers folders with PyTorch weights: model.safetensors, pytorch_model.bin."""

import os
import re

import numpy as np
import safetensors
import safetensors.numpy

from bert_cn.conversion import (
    folders,
    pretrained,
    tokenizer_files,
    transformers_config,
    weight_map,
)
from bert_cn.conversion.weight_map import Layout, Part

SAFETENSORS_FILE = "model.safetensors"
SAFETENSORS_INDEX_FILE = "model.safetensors.index.json"
BIN_FILE = "pytorch_model.bin"
BIN_INDEX_FILE = "pytorch_model.bin.index.json"
WEIGHT_FILES = (SAFETENSORS_FILE, SAFETENSORS_INDEX_FILE, BIN_FILE, BIN_INDEX_FILE)
FILES = (
    SAFETENSORS_FILE,
    BIN_FILE,
    transformers_config.CONFIG_FILE,
    *tokenizer_files.FILES,
)
_WORD_EMBEDDINGS = "bert.embeddings.word_embeddings.weight"
_DECODER_WEIGHT = "cls.predictions.decoder.weight"
_DECODER_BIAS = "cls.predictions.decoder.bias"
_OUTPUT_BIAS = "cls.predictions.bias"
# A constant 0, 1, 2, ... that transformers before 4.31 kept among the weights.
_POSITION_IDS = "bert.embeddings.position_ids"


def _import_torch():
    try:
        import torch
    except ImportError as error:
        raise ValueError(
            f"PyTorch is not installed, and {BIN_FILE} needs it: "
            "pip install 'bert_cn[torch]'."
        ) from error
    return torch


def read(path: str, options: pretrained.ReadOptions) -> pretrained.PretrainedBert:
    """Read a transformers folder; safetensors are preferred, nothing is unpickled.

    A `pytorch_model.bin` is read by torch with weights_only=True, which builds tensors
    and nothing else.

    Raises:
        ValueError: files are missing or damaged, the configuration is not a BERT's, or
            the weights are not exactly those of the configuration.
    """
    config = transformers_config.read_config(
        folders.join(path, transformers_config.CONFIG_FILE)
    )
    tensors = {_modern_name(k): v for k, v in _read_tensors(path).items()}
    tensors.pop(_POSITION_IDS, None)
    _drop_tied(tensors, path)
    table = {weight.pt: weight for weight in weight_map.list_weights(config)}
    weights = {}
    for name, array in tensors.items():
        weight = table.get(name)
        if weight is None:
            weights[name] = array  # `PretrainedBert` lists it as left over.
        else:
            weights[weight.name] = np.ascontiguousarray(
                weight_map.from_layout(array, weight.pt_layout, weight.shape)
            )
    return pretrained.PretrainedBert(
        config=config,
        weights=weights,
        source=path,
        allow_partial=options.allow_partial,
        **tokenizer_files.read_tokenizer_files(path),
    )


def _modern_name(name: str) -> str:
    """Spell a name as BertForPreTraining does now."""
    name = re.sub(r"\bLayerNorm\.gamma$", "LayerNorm.weight", name)
    name = re.sub(r"\bLayerNorm\.beta$", "LayerNorm.bias", name)
    # BertModel.save_pretrained leaves the prefix out.
    return re.sub(r"^(embeddings|encoder|pooler)\.", r"bert.\1.", name)


def _drop_tied(tensors: dict[str, np.ndarray], path: str) -> None:
    """Drop the second copies of tied tensors, having checked that they are copies."""
    for copy, original in (
        (_DECODER_WEIGHT, _WORD_EMBEDDINGS),
        (_DECODER_BIAS, _OUTPUT_BIAS),
    ):
        if copy not in tensors:
            continue
        if original not in tensors:
            tensors[original] = tensors.pop(copy)
        elif np.array_equal(tensors[copy], tensors[original]):
            del tensors[copy]
        else:
            raise ValueError(
                f"{path}: {copy} differs from {original}, and only models that share "
                "the two can be converted: name another checkpoint."
            )


def _read_tensors(path: str) -> dict[str, np.ndarray]:
    for index_file, whole_file, load in (
        (SAFETENSORS_INDEX_FILE, SAFETENSORS_FILE, _load_safetensors),
        (BIN_INDEX_FILE, BIN_FILE, _load_bin),
    ):
        names = [whole_file]
        if folders.exists(path, index_file):
            index = folders.read_json(folders.join(path, index_file))
            names = sorted(set(index.get("weight_map", {}).values()))
        elif not folders.exists(path, whole_file):
            continue
        tensors = {}
        with folders.local_copy(path, names) as local:
            for name in names:
                tensors |= load(os.path.join(local, name), folders.join(path, name))
        return tensors
    raise ValueError(
        f"{path} has neither {SAFETENSORS_FILE} nor {BIN_FILE}: put the weights there."
    )


def _load_safetensors(file: str, shown: str) -> dict[str, np.ndarray]:
    try:
        tensors = safetensors.numpy.load_file(file)
    except (safetensors.SafetensorError, OSError) as error:
        raise ValueError(f"{shown} cannot be read ({error}): copy it again.") from error
    return {
        name: array.astype(np.float32, copy=False) for name, array in tensors.items()
    }


def _load_bin(file: str, shown: str) -> dict[str, np.ndarray]:
    torch = _import_torch()
    try:
        tensors = torch.load(file, map_location="cpu", weights_only=True)
        return {name: tensor.float().numpy() for name, tensor in tensors.items()}
    except Exception as error:  # torch raises many kinds for a bad file.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"{shown} is no plain PyTorch state dict ({reason}): save it as "
            f"{SAFETENSORS_FILE}, or copy it again."
        ) from error


def write(bert: pretrained.PretrainedBert, folder: str) -> None:
    """Write safetensors, a .bin, config.json and tokenizer files into a local folder.

    The tied decoder stands in the .bin (sharing storage) and not in the safetensors, as
    transformers writes them.

    Raises:
        ValueError: PyTorch is not installed.
    """
    torch = _import_torch()
    tensors = write_safetensors(bert, folder)
    state = {name: torch.from_numpy(array) for name, array in tensors.items()}
    if bert.has(Part.MLM):
        state[_DECODER_WEIGHT] = state[_WORD_EMBEDDINGS]
        state[_DECODER_BIAS] = state[_OUTPUT_BIAS]
    torch.save(state, os.path.join(folder, BIN_FILE))


def write_safetensors(
    bert: pretrained.PretrainedBert, folder: str
) -> dict[str, np.ndarray]:
    """Write what `write` writes but the .bin; returns the tensors."""
    tensors = build_state(bert)
    path = os.path.join(folder, SAFETENSORS_FILE)
    safetensors.numpy.save_file(tensors, path, metadata={"format": "pt"})
    # safetensors makes files that only their owner may read.
    folders.make_readable(path)
    folders.write_json(
        os.path.join(folder, transformers_config.CONFIG_FILE),
        transformers_config.build_config(bert),
    )
    tokenizer_files.write_transformers_files(bert, folder)
    return tensors


def build_state(bert: pretrained.PretrainedBert) -> dict[str, np.ndarray]:
    """Return transformers' name -> array, contiguous, tied tensors once."""
    state = {}
    for weight in weight_map.list_weights(bert.config, bert.parts):
        array = weight_map.to_layout(
            bert.weights[weight.name], weight.pt_layout, weight.shape
        )
        if weight.pt_layout is Layout.TRANSPOSED or not array.flags.c_contiguous:
            array = np.ascontiguousarray(array)
        state[weight.pt] = array
    return state
