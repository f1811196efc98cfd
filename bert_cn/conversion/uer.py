"""One .bin file of UER-py or TencentPretrain, read only.

Names are those of TencentPretrain's script
convert_bert_from_tencentpretrain_to_huggingface.py; older files spell some of them with
an underscore (embedding.word_embedding.weight). The first of the three segments is that
of padding, which BERT does not have.
"""

import os
import re

import numpy as np

from bert_cn.conversion import (
    folders,
    lazy_weights,
    pretrained,
    tokenizer_files,
    transformers_pt,
    weight_map,
)
from bert_cn.model import config as config_lib
from data_prep import storage

# A zip, or a pickle of protocol 2, as PyTorch before 1.6 wrote.
_FIRST_BYTES = (b"PK\x03\x04", b"\x80\x02")
# TencentPretrain's models have heads of this size; no shape tells.
_HEAD_SIZE = 64
_NUM_SEGMENTS = 3

_WORDS = "bert.embeddings.word_embeddings.weight"
_POSITIONS = "bert.embeddings.position_embeddings.weight"
_SEGMENTS = "bert.embeddings.token_type_embeddings.weight"
_OUTPUT = "cls.predictions.decoder.weight"
_INTERMEDIATE = "bert.encoder.layer.0.intermediate.dense.weight"
_LAYER = "bert.encoder.layer."

# Spellings of older files, applied first.
_OLDER = (
    (r"^embedding\.word_embedding\.", "embedding.word.embedding."),
    (r"^embedding\.position_embedding\.", "embedding.pos.embedding."),
    (r"^embedding\.segment_embedding\.", "embedding.seg.embedding."),
    (r"^target\.mlm_linear_", "target.mlm.linear_"),
    (r"^target\.layer_norm\.", "target.mlm.layer_norm."),
    (r"^target\.(?:sp|nsp|sop)_linear_", "target.sp.linear_"),
)
_NAMES = (
    (r"^embedding\.word\.embedding\.weight$", _WORDS),
    (r"^embedding\.pos\.embedding\.weight$", _POSITIONS),
    (r"^embedding\.seg\.embedding\.weight$", _SEGMENTS),
    (r"^embedding\.layer_norm\.", "bert.embeddings.LayerNorm."),
    (r"^encoder\.transformer\.", _LAYER),
    (r"\.self_attn\.linear_layers\.0\.", ".attention.self.query."),
    (r"\.self_attn\.linear_layers\.1\.", ".attention.self.key."),
    (r"\.self_attn\.linear_layers\.2\.", ".attention.self.value."),
    (r"\.self_attn\.final_linear\.", ".attention.output.dense."),
    (r"\.layer_norm_1\.", ".attention.output.LayerNorm."),
    (r"\.feed_forward\.linear_1\.", ".intermediate.dense."),
    (r"\.feed_forward\.linear_2\.", ".output.dense."),
    (r"\.layer_norm_2\.", ".output.LayerNorm."),
    (r"^target\.mlm\.linear_1\.", "cls.predictions.transform.dense."),
    (r"^target\.mlm\.layer_norm\.", "cls.predictions.transform.LayerNorm."),
    (r"^target\.mlm\.linear_2\.weight$", _OUTPUT),
    (r"^target\.mlm\.linear_2\.bias$", "cls.predictions.bias"),
    (r"^target\.sp\.linear_1\.", "bert.pooler.dense."),
    (r"^target\.sp\.linear_2\.", "cls.seq_relationship."),
    (r"LayerNorm\.gamma$", "LayerNorm.weight"),
    (r"LayerNorm\.beta$", "LayerNorm.bias"),
)


def is_uer_file(path: str) -> bool:
    """Say whether a path is a single file that PyTorch saved."""
    if not folders.exists(path) or storage.isdir(path):
        return False
    try:
        with storage.open(path, "rb") as file:
            return file.read(4).startswith(_FIRST_BYTES)
    except OSError:
        return False


def read(path: str, options: pretrained.ReadOptions) -> pretrained.PretrainedBert:
    """Read a .bin file; nothing is unpickled but tensors.

    Sizes follow from the shapes, heads are 64 wide unless --bert_config_file (ours, or
    one of TencentPretrain's) says otherwise, and GELU is the exact one. The vocabulary
    is the vocab.txt beside the file, if there is one.

    Raises:
        ValueError: the file is damaged or of another kind of model, or its output
            matrix is not its embedding table.
    """
    folder, name = os.path.split(path)
    with folders.local_copy(folder, [name]) as local:
        found = transformers_pt.open_bin(os.path.join(local, name), path)
    tensors = {_rename(name): tensor for name, tensor in found.items()}
    for name in (_WORDS, _POSITIONS, _SEGMENTS, _INTERMEDIATE):
        if name not in tensors:
            raise ValueError(
                f"{path} holds no BERT of UER-py or TencentPretrain, which has the "
                "embeddings word, pos and seg and a transformer encoder: name another "
                "file, or the folder of a transformers model."
            )
    config = _find_config(tensors, path, options)
    segments = tensors[_SEGMENTS]
    if segments.shape[0] == _NUM_SEGMENTS:
        tensors[_SEGMENTS] = segments.map(
            (_NUM_SEGMENTS - 1, segments.shape[1]), lambda table: table[1:]
        )
    _drop_output_matrix(tensors, path, options.allow_partial)
    return pretrained.PretrainedBert(
        config=config,
        weights=weight_map.canonical_from_format(tensors, config, "pt"),
        source=path,
        allow_partial=options.allow_partial,
        **tokenizer_files.read_tokenizer_files(folder),
    )


def _rename(name: str) -> str:
    for pattern, new in (*_OLDER, *_NAMES):
        name = re.sub(pattern, new, name)
    return name


def _find_config(
    tensors: dict[str, lazy_weights.LazyWeight],
    path: str,
    options: pretrained.ReadOptions,
) -> config_lib.BertConfig:
    named = options.bert_config_file or options.fallback_config_file
    if named and "heads_num" not in (values := folders.read_json(named)):
        return config_lib.load_config(named)
    vocab_size, hidden_size = tensors[_WORDS].shape
    heads = values["heads_num"] if named else max(1, hidden_size // _HEAD_SIZE)
    layers = {
        int(name.removeprefix(_LAYER).split(".")[0])
        for name in tensors
        if name.startswith(_LAYER)
    }
    try:
        return config_lib.BertConfig(
            vocab_size=vocab_size,
            hidden_size=hidden_size,
            num_hidden_layers=len(layers),
            num_attention_heads=heads,
            intermediate_size=tensors[_INTERMEDIATE].shape[0],
            hidden_act=config_lib.GELU_EXACT,
            max_position_embeddings=tensors[_POSITIONS].shape[0],
            type_vocab_size=2,
        )
    except ValueError as error:
        raise ValueError(
            f"{path} does not tell its number of heads ({error}): name its "
            "configuration by --bert_config_file."
        ) from error


def _drop_output_matrix(
    tensors: dict[str, lazy_weights.LazyWeight], path: str, allow_partial: bool
) -> None:
    """Drop the output matrix if it is a copy of the embedding table."""
    if _OUTPUT not in tensors:
        return
    output = tensors.pop(_OUTPUT)
    if np.array_equal(output.load(), tensors[_WORDS].load()):
        return
    if not allow_partial:
        raise ValueError(
            f"{path}: the output matrix of its masked-LM head is not its embedding "
            "table, as it is in BERT (--tie_weights in UER-py): pass --allow_partial "
            "to leave the head out."
        )
    for name in [name for name in tensors if name.startswith("cls.predictions.")]:
        del tensors[name]
