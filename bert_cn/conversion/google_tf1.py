"""TF1 checkpoints of google-research/bert: bert_model.ckpt.{index,data,meta}."""

import math
import os
import re

import tensorflow as tf

from bert_cn.conversion import (
    folders,
    lazy_weights,
    pretrained,
    tf_checkpoint,
    tokenizer_files,
    weight_map,
)
from bert_cn.model import config as config_lib
from bert_cn.training import run_files
from data_prep import storage

CHECKPOINT_NAME = "bert_model.ckpt"
FILES = (
    f"{CHECKPOINT_NAME}.index",
    f"{CHECKPOINT_NAME}.data-*-of-*",
    f"{CHECKPOINT_NAME}.meta",
    run_files.CONFIG_FILE,
    run_files.VOCAB_FILE,
    run_files.TOKENIZER_CONFIG_FILE,
)
# Training saves more than weights: the step, and the optimizer's slots (Google's
# AdamWeightDecayOptimizer, TF's Adam, LAMB).
_TRAINING_STATE = re.compile(
    r"(^|/)(global_step|beta[12]_power|(adam|lamb)_[mv]|Adam(_1)?|LAMB(_1)?)$"
)
_FLOAT32_BYTES = 4
# TensorFlow writes one data file from tensors that are all in memory.
_MOST_BYTES_AT_ONCE = 10**9
_WORD_EMBEDDINGS = "embeddings/word_embeddings"


def find_prefix(path: str) -> str | None:
    """Return the prefix of the TF1 checkpoint that a path names, or None.

    Args:
        path: a prefix, one of its files, or a folder with bert_model.ckpt.index, with
            Estimator's file `checkpoint`, or with exactly one `*.index`.
    """
    prefix = tf_checkpoint.strip_suffix(path)
    if not tf_checkpoint.exists(prefix):
        prefix = _find_in_folder(prefix)
    if not prefix or tf_checkpoint.CheckpointReader(prefix).is_object_based:
        return None
    return prefix


def _find_in_folder(folder: str) -> str | None:
    names = [name for name in folders.list_folder(folder) if name.endswith(".index")]
    if f"{CHECKPOINT_NAME}.index" in names:
        return folders.join(folder, CHECKPOINT_NAME)
    if folders.exists(folder, "checkpoint"):
        return folders.latest_checkpoint(folder)
    if len(names) == 1:
        return folders.join(folder, tf_checkpoint.strip_suffix(names[0]))
    return None


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
    reader = tf_checkpoint.CheckpointReader(prefix)
    reader.check_size()
    step = int(reader.load("global_step")) if "global_step" in reader.shapes else None
    weights = {
        name: reader.lazy(name)
        for name in sorted(reader.shapes)
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


def find_config(folder: str, options: pretrained.ReadOptions) -> str:
    """Return the path of a checkpoint's bert_config.json.

    Raises:
        ValueError: there is none.
    """
    path = options.bert_config_file or folders.join(folder, run_files.CONFIG_FILE)
    if not options.bert_config_file and not folders.exists(path):
        path = options.fallback_config_file or path
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
    """Rename the weights of a model with another scope to "bert/..." and "cls/...".

    The scope precedes `embeddings/word_embeddings`: it is `bert` in Google's
    checkpoints, `bert/bert` or `module/bert` if somebody wrapped the model, or a name
    that somebody gave it.
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


def describe_differences(bert: pretrained.PretrainedBert) -> list[str]:
    """Say how google-research/bert's results will differ from this model's."""
    lost = tokenizer_files.describe_lost_words(bert, "google-research/bert")
    if bert.config.hidden_act == config_lib.GELU_TANH:
        return lost
    return [
        *lost,
        "google-research/bert always computes the tanh approximation of GELU, and this "
        "model was trained with the exact one: each activation moves by up to 5e-4, "
        "outputs by more (3e-3 in a real model of 6 layers). bert_config.json says "
        "gelu_erf, which its modeling.py refuses; write gelu there to accept that.",
    ]


def write(
    bert: pretrained.PretrainedBert, folder: str, _: pretrained.WriteOptions
) -> None:
    """Write bert_model.ckpt.*, bert_config.json and the vocabulary into a local folder.

    The tensors go straight into a V2 bundle; more than 1 GB of them go into several
    data files, as those of a sharded Saver. The .meta holds a graph of the variables
    and a Saver but no values, so that no size limit of a graph applies.
    """
    names = [weight.name for weight in weight_map.list_weights(bert.config, bert.parts)]
    prefix = os.path.join(folder, CHECKPOINT_NAME)
    portions = _split(names, bert)
    if len(portions) == 1:
        _save(prefix, names, bert)
    else:
        parts = [
            os.path.join(folder, "parts", f"part-{number}")
            for number in range(len(portions))
        ]
        for part, portion in zip(parts, portions, strict=True):
            _save(part, portion, bert)
        tf.raw_ops.MergeV2Checkpoints(
            checkpoint_prefixes=parts, destination_prefix=prefix, delete_old_dirs=True
        )
    _write_meta_graph(prefix, bert, names)
    storage.write_whole(
        os.path.join(folder, run_files.CONFIG_FILE), bert.config.to_json()
    )
    tokenizer_files.write_vocabulary(bert, folder)


def _split(names: list[str], bert: pretrained.PretrainedBert) -> list[list[str]]:
    """Split names, in their order, into portions whose weights fit into memory."""
    portions, size = [[]], 0
    for name in names:
        weight_bytes = math.prod(bert.weights.shapes[name]) * _FLOAT32_BYTES
        size += weight_bytes
        if portions[-1] and size > _MOST_BYTES_AT_ONCE:
            portions.append([])
            size = weight_bytes
        portions[-1].append(name)
    return portions


def _save(prefix: str, names: list[str], bert: pretrained.PretrainedBert) -> None:
    tf.raw_ops.SaveV2(
        prefix=prefix,
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[tf_checkpoint.share_memory(bert.weights[name]) for name in names],
    )


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
