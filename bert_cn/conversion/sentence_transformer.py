"""sentence-transformers folders: the encoder, then what `sentence_modules` writes."""

import dataclasses
import os

from bert_cn.conversion import (
    folders,
    pretrained,
    sentence_modules,
    transformers_config,
    transformers_pt,
    weight_map,
)

_TRANSFORMER_FILE = "sentence_bert_config.json"
_MODEL_FILE = "config_sentence_transformers.json"
FILES = (
    *transformers_pt.FILES,
    *sentence_modules.FILES,
    _TRANSFORMER_FILE,
    _MODEL_FILE,
)


def is_sentence_transformer(path: str) -> bool:
    """Say whether a folder is one of sentence-transformers."""
    return folders.exists(path, sentence_modules.MODULES_FILE)


def read(path: str, options: pretrained.ReadOptions) -> pretrained.PretrainedBert:
    """Read the encoder of a sentence-transformers folder, however it pools.

    Raises:
        ValueError: modules.json is damaged, or its first module is no BERT.
    """
    return transformers_pt.read(_encoder_folder(path), options)


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


def _encoder_folder(path: str) -> str:
    folder = sentence_modules.list_modules(path)[0][1]
    if not folders.exists(folder, transformers_config.CONFIG_FILE):
        raise ValueError(
            f"{folders.join(path, sentence_modules.MODULES_FILE)} names {folder} as "
            f"its first module, which has no {transformers_config.CONFIG_FILE}: only a "
            "Transformer module can be read."
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
    sentence_modules.write(
        folder,
        sentence_modules.Embedding(
            options.pooling, options.normalize, options.projection
        ),
        bert.config,
    )
    folders.write_json(
        os.path.join(folder, _TRANSFORMER_FILE),
        # The tokenizer lower-cases if it must; True would do it a second time.
        {
            "do_lower_case": False,
            "max_seq_length": options.max_seq_length or bert.config.max_length,
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
