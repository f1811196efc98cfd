"""sentence-transformers folders: the encoder, then the mean over a sentence's tokens.

Module types and keys are those that sentence-transformers 2 to 5 write; 6 writes
others, and reads these.
"""

import dataclasses
import json
import os

import tensorflow as tf

from bert_cn.conversion import folders, pretrained, pt, transformers_config
from bert_cn.conversion.weight_map import Part

MODULES_FILE = "modules.json"
_TRANSFORMER_FILE = "sentence_bert_config.json"
_MODEL_FILE = "config_sentence_transformers.json"
_POOLING_FOLDER = "1_Pooling"
FILES = (*pt.FILES, MODULES_FILE, _TRANSFORMER_FILE, _MODEL_FILE, _POOLING_FOLDER)
_MODULES = [
    {
        "idx": 0,
        "name": "0",
        "path": "",
        "type": "sentence_transformers.models.Transformer",
    },
    {
        "idx": 1,
        "name": "1",
        "path": _POOLING_FOLDER,
        "type": "sentence_transformers.models.Pooling",
    },
]
_ENCODER_PARTS = (Part.ENCODER, Part.POOLER)


def is_sentence_transformer(path: str) -> bool:
    """Say whether a folder is one of sentence-transformers."""
    return folders.exists(path, MODULES_FILE)


def read(path: str, options: pretrained.ReadOptions) -> pretrained.PretrainedBert:
    """Read the encoder of a sentence-transformers folder, however it pools.

    Raises:
        ValueError: modules.json is damaged, or its first module is no BERT.
    """
    return pt.read(_encoder_folder(path), options)


def _encoder_folder(path: str) -> str:
    file_name = folders.join(path, MODULES_FILE)
    try:
        with tf.io.gfile.GFile(file_name, "r") as file:
            folder = folders.join(path, json.loads(file.read())[0]["path"])
    except (tf.errors.OpError, ValueError, LookupError, TypeError) as error:
        raise ValueError(
            f"{file_name} is no list of modules that sentence-transformers wrote: copy "
            "it again."
        ) from error
    if not folders.exists(folder, transformers_config.CONFIG_FILE):
        raise ValueError(
            f"{file_name} names {folder} as its first module, which has no "
            f"{transformers_config.CONFIG_FILE}: only a Transformer module can be read."
        )
    return folder


def describe_losses(bert: pretrained.PretrainedBert) -> list[str]:
    """Return what the folder will not hold."""
    heads = [part for part in bert.parts if part not in _ENCODER_PARTS]
    if not heads:
        return []
    return [f"A sentence-transformers folder has no place for the {', '.join(heads)}."]


def write(
    bert: pretrained.PretrainedBert, folder: str, options: pretrained.WriteOptions
) -> None:
    """Write the encoder with its tokenizer and mean pooling into a local folder.

    Raises:
        ValueError: there is no vocabulary, without which no sentence can be encoded.
    """
    if bert.vocabulary is None:
        raise ValueError(
            f"{bert.source} has no vocabulary, and sentence-transformers needs its "
            "tokenizer: name the vocab.txt by --vocab_file."
        )
    encoder = dataclasses.replace(bert)
    encoder.keep_parts(tuple(part for part in _ENCODER_PARTS if bert.has(part)))
    pt.write_folder(encoder, folder, options, with_bin=False)
    folders.write_json(os.path.join(folder, MODULES_FILE), _MODULES)
    folders.write_json(
        os.path.join(folder, _TRANSFORMER_FILE),
        # The tokenizer lower-cases where it must; here it would be done twice.
        {
            "do_lower_case": False,
            "max_seq_length": bert.config.max_position_embeddings,
        },
    )
    folders.write_json(
        os.path.join(folder, _MODEL_FILE),
        {
            "__version__": {},
            "default_prompt_name": None,
            "prompts": {},
            "similarity_fn_name": "cosine",
        },
    )
    pooling = os.path.join(folder, _POOLING_FOLDER)
    os.makedirs(pooling)
    folders.write_json(
        os.path.join(pooling, transformers_config.CONFIG_FILE),
        {
            "include_prompt": True,
            "pooling_mode_cls_token": False,
            "pooling_mode_max_tokens": False,
            "pooling_mode_mean_tokens": True,
            "word_embedding_dimension": bert.config.hidden_size,
        },
    )
