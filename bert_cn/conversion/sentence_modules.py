"""What follows the encoder in a sentence-transformers folder: pooling and the rest.

Module types and keys are those that sentence-transformers 2 to 5 write; 6 writes
others, and reads these. Both are read here.
"""

import dataclasses
import os

import numpy as np
import safetensors
import safetensors.numpy
import tensorflow as tf

from bert_cn.conversion import (
    folders,
    format_names,
    pretrained,
    transformers_config,
    transformers_pt,
)
from bert_cn.model import config as config_lib
from data_prep import storage

MODULES_FILE = "modules.json"
_TRANSFORMER = "Transformer"
_LAYERS, _POOLING = "WeightedLayerPooling", "Pooling"
_DENSE, _NORMALIZE = "Dense", "Normalize"
# Each module that may follow the encoder, in their order -> its folder.
_FOLDERS = {
    _LAYERS: "1_WeightedLayerPooling",
    _POOLING: "1_Pooling",
    _DENSE: "2_Dense",
    _NORMALIZE: "2_Normalize",
}
FILES = (MODULES_FILE, *_FOLDERS.values())
# Each pooling of `format_names.POOLINGS` -> the key that switches it on.
_POOLING_KEYS = {
    "mean": "pooling_mode_mean_tokens",
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
    "weighted_mean": "pooling_mode_weightedmean_tokens",
}
# Release 6 has words of its own.
_OUR_WORDS = {"weightedmean": "weighted_mean"}
_FIRST_LAST = "first_last_mean"
_IDENTITY = "torch.nn.modules.linear.Identity"
_KERNEL, _BIAS, _LAYER_WEIGHTS = "linear.weight", "linear.bias", "layer_weights"


@dataclasses.dataclass(frozen=True)
class Embedding:
    """How a folder makes one embedding of the states of a sentence's tokens.

    Attributes:
        pooling: one of `format_names.POOLINGS`, or the folder's own word for another
            way; several that are joined into one embedding have a "+" between them.
        normalize: whether embeddings have length 1.
        projection: a dense layer between the two; None for none.
    """

    pooling: str
    normalize: bool
    projection: pretrained.Projection | None = None


def list_modules(path: str) -> list[tuple[str, str]]:
    """Return (class without its package, folder) of each module.

    Raises:
        ValueError: modules.json is damaged.
    """
    file_name = folders.join(path, MODULES_FILE)
    try:
        with tf.io.gfile.GFile(file_name, "r") as file:
            modules = [
                (module.get("type", "").rpartition(".")[2], module["path"])
                for module in storage.parse_json(file.read())
            ]
        modules[0]
    except (
        tf.errors.OpError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
    ) as error:
        raise ValueError(
            f"{file_name} is no list of modules that sentence-transformers wrote: copy "
            "it again."
        ) from error
    return [
        # The first module of new folders is the folder itself.
        (kind, storage.join_named(path, name, file_name) if name else path)
        for kind, name in modules
    ]


def read_embedding(path: str) -> Embedding:
    """Return what follows the encoder in a sentence-transformers folder.

    Raises:
        ValueError: modules.json is damaged, or something other follows than layers'
            mean, pooling, a dense layer without activation and normalization.
    """
    pooling, normalize, projection = format_names.POOLINGS[0], False, None
    has_layers = False
    for kind, folder in list_modules(path)[1:]:
        if kind == _LAYERS and not has_layers:
            _check_layers(folder)
            has_layers = True
        elif kind == _POOLING:
            settings = folders.read_json(
                folders.join(folder, transformers_config.CONFIG_FILE)
            )
            pooling = _find_pooling(settings)
        elif kind == _DENSE and projection is None and not normalize:
            projection = _read_projection(folder)
        elif kind == _NORMALIZE:
            normalize = True
        else:
            raise ValueError(
                f"{folders.join(path, MODULES_FILE)} has a module {kind} after the "
                f"encoder, and only {', '.join(_FOLDERS)}, once and in this order, are "
                "known here: take it out of the file to start from the encoder alone."
            )
    if has_layers:
        pooling = _FIRST_LAST if pooling == "mean" else f"{_LAYERS} and {pooling}"
    return Embedding(pooling, normalize, projection)


def _find_pooling(settings: dict) -> str:
    modes = settings.get("pooling_mode")  # sentence-transformers 6.
    if modes is None:
        ours = {key: mode for mode, key in _POOLING_KEYS.items()}
        prefix = "pooling_mode_"
        modes = [
            ours.get(key, key.removeprefix(prefix))
            for key, value in settings.items()
            if key.startswith(prefix) and value is True
        ]
    modes = [modes] if isinstance(modes, str) else modes
    return "+".join(_OUR_WORDS.get(mode, mode) for mode in modes)


def _read_weights(folder: str, names: tuple[str, ...]) -> list[np.ndarray]:
    path = folders.join(folder, transformers_pt.SAFETENSORS_FILE)
    try:
        weights = safetensors.numpy.load(storage.read_bytes(path))
        return [weights[name].astype(np.float32) for name in names]
    except (OSError, KeyError, safetensors.SafetensorError) as error:
        raise ValueError(
            f"{path} cannot be read as the module's weights ({', '.join(names)}): copy "
            "it again."
        ) from error


def _check_layers(folder: str) -> None:
    """Refuse another mean of layers than that of the first and the last."""
    settings = folders.read_json(folders.join(folder, transformers_config.CONFIG_FILE))
    (weights,) = _read_weights(folder, (_LAYER_WEIGHTS,))
    expected = _weigh_layers(len(weights))
    if settings.get("layer_start") != 1 or not np.array_equal(weights, expected):
        raise ValueError(
            f"{folder} weights layers in another way than the first and the last "
            "alike, which is all that is known here: take it out of modules.json to "
            "start from the encoder alone."
        )


def _weigh_layers(count: int) -> np.ndarray:
    """Return 1 for the first and the last layer and 0 for others, float32 [count]."""
    weights = np.zeros(count, np.float32)
    weights[[0, -1]] = 1
    return weights


def _read_projection(folder: str) -> pretrained.Projection:
    path = folders.join(folder, transformers_config.CONFIG_FILE)
    settings = folders.read_json(path)
    activation = settings.get("activation_function", "torch.nn.modules.activation.Tanh")
    if activation != _IDENTITY or settings.get("use_residual"):
        raise ValueError(
            f"{path} has activation_function {activation} or use_residual, and only "
            f"{_IDENTITY} without it is known here: take the module out of "
            "modules.json to start from the encoder alone."
        )
    if not settings.get("bias", True):
        (kernel,) = _read_weights(folder, (_KERNEL,))
        return pretrained.Projection(kernel.T, np.zeros(len(kernel), np.float32))
    kernel, bias = _read_weights(folder, (_KERNEL, _BIAS))
    return pretrained.Projection(kernel.T, bias)


def write(folder: str, embedding: Embedding, config: config_lib.BertConfig) -> None:
    """Write modules.json and the modules after the encoder into a local folder.

    Args:
        folder: holds the encoder already.
        embedding: what follows it.
        config: the encoder's.
    """
    kinds = [_POOLING]
    pooling = embedding.pooling
    if pooling == _FIRST_LAST:
        kinds, pooling = [_LAYERS, _POOLING], "mean"
        _write_layers(folder, config)
    _write_config(
        folder,
        _POOLING,
        {
            "include_prompt": True,
            "word_embedding_dimension": config.hidden_size,
            **{key: mode == pooling for mode, key in _POOLING_KEYS.items()},
        },
    )
    if embedding.projection is not None:
        kinds.append(_DENSE)
        _write_projection(folder, embedding.projection)
    if embedding.normalize:
        kinds.append(_NORMALIZE)
    modules = [
        {
            "idx": index,
            "name": str(index),
            "path": _FOLDERS.get(kind, ""),
            "type": f"sentence_transformers.models.{kind}",
        }
        for index, kind in enumerate([_TRANSFORMER, *kinds])
    ]
    folders.write_json(os.path.join(folder, MODULES_FILE), modules)


def _write_config(folder: str, kind: str, settings: dict) -> str:
    """Write a module's config.json, and return the module's folder."""
    module = os.path.join(folder, _FOLDERS[kind])
    os.makedirs(module)
    path = os.path.join(module, transformers_config.CONFIG_FILE)
    folders.write_json(path, settings)
    return module


def _write_weights(module: str, weights: dict[str, np.ndarray]) -> None:
    path = os.path.join(module, transformers_pt.SAFETENSORS_FILE)
    storage.write_whole(path, safetensors.numpy.save(weights, {"format": "pt"}))


def _write_layers(folder: str, config: config_lib.BertConfig) -> None:
    module = _write_config(
        folder,
        _LAYERS,
        {
            "word_embedding_dimension": config.hidden_size,
            "layer_start": 1,
            "num_hidden_layers": config.num_hidden_layers,
        },
    )
    weights = _weigh_layers(config.num_hidden_layers)
    _write_weights(module, {_LAYER_WEIGHTS: weights})
    # Without it sentence-transformers gives the module the last layer alone.
    path = os.path.join(folder, transformers_config.CONFIG_FILE)
    settings = folders.read_json(path)
    folders.write_json(path, {**settings, "output_hidden_states": True})


def _write_projection(folder: str, projection: pretrained.Projection) -> None:
    inputs, outputs = projection.kernel.shape
    module = _write_config(
        folder,
        _DENSE,
        {
            "in_features": inputs,
            "out_features": outputs,
            "bias": True,
            "activation_function": _IDENTITY,
        },
    )
    kernel = np.ascontiguousarray(projection.kernel.T, np.float32)
    _write_weights(module, {_KERNEL: kernel, _BIAS: projection.bias})
