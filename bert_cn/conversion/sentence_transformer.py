"""sentence-transformers folders: the encoder, then pooling over a sentence's tokens.

Module types and keys are those that sentence-transformers 2 to 5 write; 6 writes
others, and reads these. Both are read here.
"""

import dataclasses
import json
import os

import tensorflow as tf

from bert_cn.conversion import (
    folders,
    format_names,
    pretrained,
    transformers_config,
    transformers_pt,
    weight_map,
)
from data_prep import storage

MODULES_FILE = "modules.json"
_TRANSFORMER_FILE = "sentence_bert_config.json"
_MODEL_FILE = "config_sentence_transformers.json"
_POOLING_FOLDER, _NORMALIZE_FOLDER = "1_Pooling", "2_Normalize"
FILES = (
    *transformers_pt.FILES,
    MODULES_FILE,
    _TRANSFORMER_FILE,
    _MODEL_FILE,
    _POOLING_FOLDER,
    _NORMALIZE_FOLDER,
)
_POOLING, _NORMALIZE = "Pooling", "Normalize"
# Each pooling of `format_names.POOLINGS` -> the key that switches it on.
_POOLING_KEYS = {
    "mean": "pooling_mode_mean_tokens",
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
}


@dataclasses.dataclass(frozen=True)
class Embedding:
    """How a folder makes one embedding of the states of a sentence's tokens.

    Attributes:
        pooling: one of `format_names.POOLINGS`, or the folder's own word for another
            way; several that are joined into one embedding have a "+" between them.
        normalize: whether embeddings have length 1.
    """

    pooling: str
    normalize: bool


def is_sentence_transformer(path: str) -> bool:
    """Say whether a folder is one of sentence-transformers."""
    return folders.exists(path, MODULES_FILE)


def read(path: str, options: pretrained.ReadOptions) -> pretrained.PretrainedBert:
    """Read the encoder of a sentence-transformers folder, however it pools.

    Raises:
        ValueError: modules.json is damaged, or its first module is no BERT.
    """
    return transformers_pt.read(_encoder_folder(path), options)


def read_embedding(path: str) -> Embedding:
    """Return what follows the encoder in a sentence-transformers folder.

    Raises:
        ValueError: modules.json is damaged, or something other than pooling and
            normalization follows.
    """
    pooling, normalize = format_names.POOLINGS[0], False
    for kind, folder in _list_modules(path)[1:]:
        if kind == _POOLING:
            settings = folders.read_json(
                folders.join(folder, transformers_config.CONFIG_FILE)
            )
            pooling = _find_pooling(settings)
        elif kind == _NORMALIZE:
            normalize = True
        else:
            raise ValueError(
                f"{folders.join(path, MODULES_FILE)} has a module {kind} after the "
                f"encoder, and only {_POOLING} and {_NORMALIZE} are known here: take "
                "it out of the file to start from the encoder alone."
            )
    return Embedding(pooling, normalize)


def read_max_seq_length(path: str) -> int:
    """Return how many tokens a folder cuts sentences to; 0 if it does not say.

    Raises:
        ValueError: modules.json or the file that says it is damaged.
    """
    for folder in (_encoder_folder(path), path):
        if folders.exists(folder, _TRANSFORMER_FILE):
            file_name = folders.join(folder, _TRANSFORMER_FILE)
            found = folders.read_json(file_name).get("max_seq_length") or 0
            if not isinstance(found, int) or found < 0:
                raise ValueError(
                    f"{file_name}: max_seq_length is {found!r}, and a whole number of "
                    "tokens is needed: correct it, or pass --max_seq_length."
                )
            return found
    return 0


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
    return modes if isinstance(modes, str) else "+".join(modes)


def _list_modules(path: str) -> list[tuple[str, str]]:
    """Return (class without its package, folder) of each module."""
    file_name = folders.join(path, MODULES_FILE)
    try:
        with tf.io.gfile.GFile(file_name, "r") as file:
            modules = [
                (module.get("type", "").rpartition(".")[2], module["path"])
                for module in json.loads(file.read())
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


def _encoder_folder(path: str) -> str:
    folder = _list_modules(path)[0][1]
    if not folders.exists(folder, transformers_config.CONFIG_FILE):
        raise ValueError(
            f"{folders.join(path, MODULES_FILE)} names {folder} as its first module, "
            f"which has no {transformers_config.CONFIG_FILE}: only a Transformer "
            "module can be read."
        )
    return folder


def describe_differences(bert: pretrained.PretrainedBert) -> list[str]:
    """Name the parts that the folder will not hold."""
    heads = [part for part in bert.parts if part not in weight_map.ENCODER_PARTS]
    if not heads:
        return []
    return [f"A sentence-transformers folder has no place for the {', '.join(heads)}."]


def write(
    bert: pretrained.PretrainedBert, folder: str, options: pretrained.WriteOptions
) -> None:
    """Write the encoder with its tokenizer and pooling into a local folder.

    Raises:
        ValueError: there is no vocabulary, without which no sentence can be encoded.
    """
    if bert.vocabulary is None:
        raise ValueError(
            f"{bert.source} has no vocabulary, and sentence-transformers needs its "
            "tokenizer: name the vocab.txt by --vocab_file."
        )
    encoder = dataclasses.replace(bert)
    encoder.keep_parts(
        tuple(part for part in weight_map.ENCODER_PARTS if bert.has(part))
    )
    transformers_pt.write_folder(encoder, folder, options, with_bin=False)
    _write_modules(folder, options.normalize)
    folders.write_json(
        os.path.join(folder, _TRANSFORMER_FILE),
        # The tokenizer lower-cases if it must; True would do it a second time.
        {
            "do_lower_case": False,
            "max_seq_length": options.max_seq_length
            or bert.config.max_position_embeddings,
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
            "word_embedding_dimension": bert.config.hidden_size,
            **{key: mode == options.pooling for mode, key in _POOLING_KEYS.items()},
        },
    )


def _write_modules(folder: str, normalize: bool) -> None:
    places = {"Transformer": "", _POOLING: _POOLING_FOLDER}
    if normalize:
        places[_NORMALIZE] = _NORMALIZE_FOLDER
    modules = [
        {
            "idx": index,
            "name": str(index),
            "path": place,
            "type": f"sentence_transformers.models.{kind}",
        }
        for index, (kind, place) in enumerate(places.items())
    ]
    folders.write_json(os.path.join(folder, MODULES_FILE), modules)
