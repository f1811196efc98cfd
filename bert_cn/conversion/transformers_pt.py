"""transformers folders with PyTorch weights: model.safetensors, pytorch_model.bin."""

import functools
import importlib.util
import math
import os
import re
import zipfile
from collections.abc import Iterable

import huggingface_hub
import numpy as np
import safetensors
import safetensors.numpy

from bert_cn.conversion import (
    families,
    fast_tokenizer,
    folders,
    lazy_weights,
    pretrained,
    tokenizer_files,
    transformers_config,
    weight_map,
)
from bert_cn.conversion.weight_map import Part
from data_prep import command_line, storage

SAFETENSORS_FILE = "model.safetensors"
SAFETENSORS_INDEX_FILE = "model.safetensors.index.json"
BIN_FILE = "pytorch_model.bin"
BIN_INDEX_FILE = "pytorch_model.bin.index.json"
WEIGHT_FILES = (SAFETENSORS_FILE, SAFETENSORS_INDEX_FILE, BIN_FILE, BIN_INDEX_FILE)
FILES = (
    *WEIGHT_FILES,
    "model-*-of-*.safetensors",
    "pytorch_model-*-of-*.bin",
    transformers_config.CONFIG_FILE,
    *tokenizer_files.FILES,
    *fast_tokenizer.FILES,
)
# (copy, original): the output matrix is the embedding table; its bias has two names.
_TIED = (
    ("cls.predictions.decoder.weight", "bert.embeddings.word_embeddings.weight"),
    ("cls.predictions.decoder.bias", "cls.predictions.bias"),
)
# A constant 0, 1, 2, ... that transformers before 4.31 kept among the weights.
_POSITION_IDS = "bert.embeddings.position_ids"
_FLOAT32_BYTES = 4
_SAFETENSORS_ERRORS = (safetensors.SafetensorError, OSError)


def has_torch() -> bool:
    """Say whether PyTorch is installed, without importing it."""
    return importlib.util.find_spec("torch") is not None


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
    return pretrained.PretrainedBert(
        config=config,
        weights=weight_map.canonical_from_format(tensors, config, "pt"),
        source=path,
        allow_partial=options.allow_partial,
        **tokenizer_files.read_tokenizer_files(path, config.model_type),
    )


def _modern_name(name: str) -> str:
    """Spell a name as BertForPreTraining does now."""
    name = families.to_bert_name(name)
    name = re.sub(r"\bLayerNorm\.gamma$", "LayerNorm.weight", name)
    name = re.sub(r"\bLayerNorm\.beta$", "LayerNorm.bias", name)
    # BertModel.save_pretrained leaves the prefix out.
    return re.sub(r"^(embeddings|encoder|pooler)\.", r"bert.\1.", name)


def _drop_tied(tensors: dict[str, lazy_weights.LazyWeight], path: str) -> None:
    """Drop the second copies of tied tensors, having checked that they are copies."""
    for copy, original in _TIED:
        if copy not in tensors:
            continue
        if original not in tensors:
            tensors[original] = tensors.pop(copy)
        elif np.array_equal(tensors[copy].load(), tensors[original].load()):
            del tensors[copy]
        else:
            raise ValueError(
                f"{path}: {copy} differs from {original}, and only models that share "
                "the two can be converted: name another checkpoint."
            )


def _read_tensors(path: str) -> dict[str, lazy_weights.LazyWeight]:
    for index_file, whole_file, open_file in (
        (SAFETENSORS_INDEX_FILE, SAFETENSORS_FILE, _open_safetensors),
        (BIN_INDEX_FILE, BIN_FILE, open_bin),
    ):
        if folders.exists(path, index_file):
            names = _read_index(folders.join(path, index_file))
        elif folders.exists(path, whole_file):
            names = [whole_file]
        else:
            continue
        tensors = {}
        with folders.local_copy(path, names) as local:
            for name in names:
                shown = folders.join(path, name)
                tensors |= open_file(os.path.join(local, name), shown)
        return tensors
    raise ValueError(
        f"{path} has neither {SAFETENSORS_FILE} nor {BIN_FILE}: put the weights there."
    )


def _read_index(path: str) -> list[str]:
    """Return the names of the shards that an index names."""
    shards = folders.read_json(path).get("weight_map")
    if not isinstance(shards, dict) or not shards:
        raise ValueError(f"{path} names no shards in its weight_map: copy it again.")
    names = set(map(str, shards.values()))
    for name in names:
        storage.join_named("", name, path)
    return sorted(names)


def _open_safetensors(file: str, shown: str) -> dict[str, lazy_weights.LazyWeight]:
    def load(name: str) -> np.ndarray:
        try:
            return tensors.get_tensor(name)
        except _SAFETENSORS_ERRORS as error:
            raise _damaged(shown, error) from error

    try:
        # Not by mmap: pages that were read would stay in memory beside their copies.
        tensors = safetensors.safe_open(file, "np", backend="pread")
        return {
            name: lazy_weights.LazyWeight(
                tuple(tensors.get_slice(name).get_shape()),
                functools.partial(load, name),
            )
            for name in tensors.keys()
        }
    except _SAFETENSORS_ERRORS as error:
        raise _damaged(shown, error) from error


def _damaged(shown: str, error: Exception) -> ValueError:
    return ValueError(f"{shown} cannot be read ({error}): copy it again.")


def open_bin(file: str, shown: str) -> dict[str, lazy_weights.LazyWeight]:
    """Open a file that PyTorch saved, and build tensors alone.

    Args:
        file: a local path.
        shown: what messages call it.

    Raises:
        ValueError: PyTorch is not installed, or the file is no plain state dict.
    """
    if not has_torch():
        raise ValueError(
            f"PyTorch is not installed, and {shown} needs it: pip install "
            "'bert_cn[torch]'."
        )
    import torch

    try:
        tensors = torch.load(
            file,
            map_location="cpu",
            weights_only=True,
            mmap=zipfile.is_zipfile(file),  # PyTorch before 1.6 wrote no zip.
        )
        return {
            name: lazy_weights.LazyWeight(
                tuple(tensor.shape), lambda tensor=tensor: tensor.float().numpy()
            )
            for name, tensor in tensors.items()
        }
    except Exception as error:  # torch raises many kinds for a bad file.
        raise ValueError(
            f"{shown} is no plain PyTorch state dict "
            f"({command_line.first_line(error)}): save it as {SAFETENSORS_FILE}, or "
            "copy it again."
        ) from error


def describe_differences(_: pretrained.PretrainedBert) -> list[str]:
    """Say which file the folder will lack, whichever the model."""
    if has_torch():
        return []
    return [
        f"{BIN_FILE} is left out, because PyTorch is not installed; {SAFETENSORS_FILE} "
        "holds the same weights (pip install 'bert_cn[torch]' and convert again to "
        "have both)."
    ]


def check_shard_size(max_shard_size: str) -> None:
    """Raise ValueError if it is not a number of KB, MB, GB or TB above 0."""
    if not re.fullmatch(r"0*[1-9]\d*\s*[KMGT]B", max_shard_size, re.IGNORECASE):
        raise ValueError(
            "--max_shard_size must be a whole number of KB, MB, GB or TB, such as 5GB. "
            f"Received: {max_shard_size!r}."
        )


def write(
    bert: pretrained.PretrainedBert,
    folder: str,
    options: pretrained.WriteOptions,
) -> None:
    """Write safetensors, a .bin, config.json and tokenizer files into a local folder.

    The tied decoder stands in the .bin (sharing storage) and not in the safetensors, as
    transformers writes them. Without PyTorch there is no .bin.

    Raises:
        ValueError: see `check_shard_size`.
    """
    write_folder(bert, folder, options, with_bin=has_torch())


def write_folder(
    bert: pretrained.PretrainedBert,
    folder: str,
    options: pretrained.WriteOptions,
    with_bin: bool,
) -> None:
    """Do what `write` does, with a .bin or without.

    Weights of more than `options.max_shard_size` are split among files, and an index
    says which weight is where. One file's weights are in memory at a time.
    """
    check_shard_size(options.max_shard_size)
    weights = weight_map.list_weights(bert.config, bert.parts)
    plan = huggingface_hub.split_state_dict_into_shards_factory(
        {_name(bert, weight): weight for weight in weights},
        get_storage_size=lambda weight: _FLOAT32_BYTES * math.prod(weight.shape),
        filename_pattern="model{suffix}.safetensors",
        max_shard_size=options.max_shard_size,
    )
    bin_names = {}
    for name, tensors in plan.filename_to_tensors.items():
        state = build_state(bert, tensors)
        _save_safetensors(state, os.path.join(folder, name))
        if with_bin:
            bin_name = f"pytorch_{name.removesuffix('.safetensors')}.bin"
            bin_path = os.path.join(folder, bin_name)
            saved = _save_bin(bert, state, bin_path)
            bin_names |= dict.fromkeys(saved, bin_name)
        del state
    if plan.is_sharded:
        for file, names in (
            (SAFETENSORS_INDEX_FILE, plan.tensor_to_filename),
            (BIN_INDEX_FILE, bin_names),
        ):
            if names:
                index = {"metadata": plan.metadata, "weight_map": names}
                folders.write_json(os.path.join(folder, file), index)
    transformers_config.write_config(bert, folder)
    tokenizer_files.write_transformers_files(bert, folder)


def _name(
    bert: pretrained.PretrainedBert,
    weight: weight_map.Weight,
    architecture: str = "",
) -> str:
    return families.from_bert_name(weight.pt, bert.config.model_type, architecture)


def build_state(
    bert: pretrained.PretrainedBert,
    names: Iterable[str] | None = None,
    architecture: str = "",
) -> dict[str, np.ndarray]:
    """Return transformers' name -> array, contiguous, tied tensors once.

    Args:
        bert: the model, of any family.
        names: transformers' names of the wanted weights; None for all.
        architecture: transformers' class, if it is one with a head of fine-tuning.
    """
    wanted = None if names is None else set(names)
    state = {}
    for weight in weight_map.list_weights(bert.config, bert.parts):
        name = _name(bert, weight, architecture)
        if wanted is None or name in wanted:
            array = weight_map.to_layout(
                bert.weights[weight.name], weight.pt_layout, weight.shape
            )
            state[name] = np.ascontiguousarray(array)
    return state


def _save_safetensors(state: dict[str, np.ndarray], path: str) -> None:
    safetensors.numpy.save_file(state, path, metadata={"format": "pt"})
    # safetensors makes files that only their owner may read.
    folders.make_readable(path)


def _save_bin(
    bert: pretrained.PretrainedBert, state: dict[str, np.ndarray], path: str
) -> list[str]:
    """Save with PyTorch, tied tensors under both names; returns the names."""
    import torch

    tensors = {name: torch.from_numpy(array) for name, array in state.items()}
    if bert.has(Part.MLM):
        for names in _TIED:
            copy, original = (
                families.from_bert_name(name, bert.config.model_type) for name in names
            )
            if original in tensors:
                tensors[copy] = tensors[original]
    torch.save(tensors, path)
    return list(tensors)
