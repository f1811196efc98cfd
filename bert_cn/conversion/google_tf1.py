"""TF1 checkpoints of google-research/bert: bert_model.ckpt.{index,data,meta}."""

import functools
import math
import os
import re

import numpy as np
import tensorflow as tf

from bert_cn.conversion import (
    folders,
    lazy_weights,
    pretrained,
    tokenizer_files,
    weight_map,
)
from bert_cn.model import config as config_lib

CHECKPOINT_NAME = "bert_model.ckpt"
CONFIG_FILE = "bert_config.json"
FILES = (
    f"{CHECKPOINT_NAME}.index",
    f"{CHECKPOINT_NAME}.data-*-of-*",
    f"{CHECKPOINT_NAME}.meta",
    CONFIG_FILE,
    tokenizer_files.VOCAB_FILE,
    tokenizer_files.TOKENIZER_CONFIG_FILE,
)
# What training leaves in a checkpoint beside the weights: the step, and the slots of
# Google's AdamWeightDecayOptimizer, of TF's Adam, of LAMB.
_TRAINING_STATE = re.compile(
    r"(^|/)(global_step|beta[12]_power|(adam|lamb)_[mv]|Adam(_1)?|LAMB(_1)?)$"
)
_FLOAT32_BYTES = 4
# TensorFlow writes one data file from tensors that are all in memory.
_MOST_BYTES_AT_ONCE = 10**9
_WORD_EMBEDDINGS = "embeddings/word_embeddings"
# A variable of a trackable (TF2) checkpoint, which is none of ours here.
OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
# TensorFlow's reader says IndexError for a file that is too short.
_READ_ERRORS = (tf.errors.OpError, ValueError, RuntimeError, IndexError)


def find_prefix(path: str) -> str | None:
    """Return the prefix of the TF1 checkpoint that a path means, or None.

    Args:
        path: a prefix, one of its files, or a folder with bert_model.ckpt.index or with
            exactly one other `*.index`, or with Estimator's `checkpoint` file.
    """
    path = re.sub(r"\.(index|meta|data-\d+-of-\d+)$", "", path)
    if folders.exists(f"{path}.index"):
        return path if is_name_based(path) else None
    names = [name for name in folders.list_folder(path) if name.endswith(".index")]
    if f"{CHECKPOINT_NAME}.index" in names:
        prefix = folders.join(path, CHECKPOINT_NAME)
    elif folders.exists(path, "checkpoint"):
        prefix = tf.train.latest_checkpoint(path)
    elif len(names) == 1:
        prefix = folders.join(path, names[0].removesuffix(".index"))
    else:
        prefix = None
    return prefix if prefix and is_name_based(prefix) else None


def is_name_based(prefix: str) -> bool:
    """Say whether a checkpoint is one of TF1, and not an object-based one of TF2.

    Raises:
        ValueError: it cannot be read.
    """
    return not open_reader(prefix).has_tensor(OBJECT_GRAPH)


def open_reader(prefix: str):
    """Return TensorFlow's reader of a checkpoint; see `load_tensor`.

    Raises:
        ValueError: it cannot be read.
    """
    try:
        return tf.compat.v1.train.NewCheckpointReader(prefix)
    except _READ_ERRORS as error:
        raise _damaged(prefix, error) from error


def _damaged(prefix: str, error: Exception) -> ValueError:
    first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
    return ValueError(
        f"Checkpoint {prefix!r} cannot be read ({first_line}): copy its .index and "
        ".data files again."
    )


def read(path: str, options: pretrained.ReadOptions) -> pretrained.PretrainedBert:
    """Read a TF1 checkpoint and the bert_config.json and vocab.txt beside it.

    Optimizer slots and the step are left out of the weights.

    Raises:
        ValueError: files are missing or damaged, or its variables are not a BERT's.
    """
    prefix = find_prefix(path)
    if prefix is None:
        raise ValueError(
            f"{path!r} is no TF1 checkpoint: name the prefix, such as "
            f"folder/{CHECKPOINT_NAME}."
        )
    folder = os.path.dirname(prefix)
    config = config_lib.load_config(find_config(folder, options))
    reader = open_reader(prefix)
    _check_size(reader, prefix)
    step = (
        int(load_tensor(reader, "global_step", prefix))
        if reader.has_tensor("global_step")
        else None
    )
    weights = {
        name: lazy_weights.LazyWeight(
            tuple(shape), functools.partial(load_tensor, reader, name, prefix)
        )
        for name, shape in sorted(reader.get_variable_to_shape_map().items())
        if not _TRAINING_STATE.search(name)
    }
    return pretrained.PretrainedBert(
        config=config,
        weights=_modern_names(weights),
        source=prefix,
        allow_partial=options.allow_partial,
        global_step=step,
        **tokenizer_files.read_tokenizer_files(folder),
    )


def _check_size(reader, prefix: str) -> None:
    """Refuse data files that are cut off, since no weight is read yet."""
    types = reader.get_variable_to_dtype_map()
    needed = sum(
        math.prod(shape) * types[name].size
        for name, shape in reader.get_variable_to_shape_map().items()
        if types[name] != tf.string
    )
    folder, name = os.path.split(prefix)
    there = sum(
        tf.io.gfile.stat(folders.join(folder, file)).length
        for file in folders.list_folder(folder or ".")
        if file.startswith(f"{name}.data-")
    )
    if there < needed:
        error = ValueError(f"its data files hold {there:,} bytes of {needed:,}")
        raise _damaged(prefix, error)


def load_tensor(reader, name: str, prefix: str) -> np.ndarray:
    """Read one tensor of a checkpoint.

    Raises:
        ValueError: it cannot be read.
    """
    try:
        return reader.get_tensor(name)
    except _READ_ERRORS as error:
        raise _damaged(prefix, error) from error


def find_config(folder: str, options: pretrained.ReadOptions) -> str:
    """Return the path of a checkpoint's bert_config.json.

    Raises:
        ValueError: there is none.
    """
    path = options.bert_config_file or folders.join(folder, CONFIG_FILE)
    if not folders.exists(path):
        raise ValueError(
            f"{path} is not there, and without it the checkpoint's sizes are unknown: "
            "put the model's bert_config.json there (convert_checkpoint also takes "
            "--bert_config_file)."
        )
    return path


def _modern_names(
    weights: dict[str, lazy_weights.LazyWeight],
) -> dict[str, lazy_weights.LazyWeight]:
    """Put a model that was built under another scope under "bert/" and "cls/".

    The scope is what stands before `embeddings/word_embeddings`: `bert` in Google's
    checkpoints, `bert/bert` or `module/bert` where somebody wrapped it, or a name of
    the model's own.
    """
    scopes = [
        name.removesuffix(_WORD_EMBEDDINGS)
        for name in weights
        if name.endswith(_WORD_EMBEDDINGS)
    ]
    if len(scopes) != 1:
        return weights
    scope = re.escape(scopes[0])
    outer = re.escape(scopes[0].removesuffix("bert/"))
    renamed = {}
    for name, array in weights.items():
        name = re.sub(rf"^{scope}(?=(embeddings|encoder|pooler)/)", "bert/", name)
        renamed[re.sub(rf"^{outer}(?=cls/)", "", name)] = array
    return renamed


def describe_losses(bert: pretrained.PretrainedBert) -> list[str]:
    """Return what google-research/bert will compute otherwise than this model."""
    if bert.config.hidden_act == config_lib.GELU_TANH:
        return []
    return [
        "google-research/bert always computes the tanh approximation of GELU, and this "
        "model was trained with the exact one: each activation moves by up to 5e-4, "
        "outputs by more (3e-3 in a real model of 6 layers). bert_config.json says "
        "gelu_erf, which its modeling.py refuses; write gelu there to accept that."
    ]


def write(
    bert: pretrained.PretrainedBert, folder: str, _: pretrained.WriteOptions
) -> None:
    """Write bert_model.ckpt.*, bert_config.json and the vocabulary into a local folder.

    The tensors go straight into a V2 bundle, and into several data files where there
    are more than 1 GB of them, which a sharded Saver writes too. The .meta holds a
    graph of the variables and a Saver but no values, so that no size limit of a graph
    applies.
    """
    names = [weight.name for weight in weight_map.list_weights(bert.config, bert.parts)]
    prefix = os.path.join(folder, CHECKPOINT_NAME)
    groups = _group(names, bert)
    if len(groups) == 1:
        _save(prefix, names, bert)
    else:
        parts = [
            os.path.join(folder, "parts", f"part-{number}")
            for number in range(len(groups))
        ]
        for part, group in zip(parts, groups, strict=True):
            _save(part, group, bert)
        tf.raw_ops.MergeV2Checkpoints(
            checkpoint_prefixes=parts, destination_prefix=prefix, delete_old_dirs=True
        )
    _write_meta_graph(prefix, bert, names)
    with open(os.path.join(folder, CONFIG_FILE), "w", encoding="utf-8") as file:
        file.write(bert.config.to_json())
    tokenizer_files.write_vocabulary(bert, folder)


def _group(names: list[str], bert: pretrained.PretrainedBert) -> list[list[str]]:
    """Split names, in their order, so that no group's weights are too many at once."""
    groups, size = [[]], 0
    for name in names:
        size += math.prod(bert.weights.shapes[name]) * _FLOAT32_BYTES
        if groups[-1] and size > _MOST_BYTES_AT_ONCE:
            groups.append([])
            size = math.prod(bert.weights.shapes[name]) * _FLOAT32_BYTES
        groups[-1].append(name)
    return groups


def _save(prefix: str, names: list[str], bert: pretrained.PretrainedBert) -> None:
    tf.raw_ops.SaveV2(
        prefix=prefix,
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[share_memory(bert.weights[name]) for name in names],
    )


def share_memory(array: np.ndarray) -> tf.Tensor:
    """Return a tensor in the array's memory; tf.constant would hold a second copy."""
    array = np.ascontiguousarray(array)
    if not array.flags.writeable:
        array = array.copy()  # DLPack knows no arrays that are read only.
    return tf.experimental.dlpack.from_dlpack(array.__dlpack__())


def _write_meta_graph(
    prefix: str, bert: pretrained.PretrainedBert, names: list[str]
) -> None:
    with tf.Graph().as_default():
        for name in names:
            # Reference variables, as TensorFlow 1.15 makes them.
            tf.compat.v1.get_variable(
                name,
                shape=bert.weights.shapes[name],
                initializer=tf.compat.v1.zeros_initializer(),
                use_resource=False,
            )
        tf.compat.v1.train.Saver().export_meta_graph(
            f"{prefix}.meta", strip_default_attrs=True
        )
