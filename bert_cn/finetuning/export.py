"""Fine-tuned models as transformers folders, the head's weights and settings included.

transformers' AutoModelFor... loads such a folder; so do the commands here, with
`read_head`, and convert_checkpoint with --allow_partial, which leaves the head out.
"""

import os
from collections.abc import Mapping

import numpy as np
import safetensors
import safetensors.numpy

from bert_cn.conversion import (
    folders,
    pretrained,
    sentence_transformer,
    tokenizer_files,
    transformers_config,
    transformers_pt,
)

MODEL_FOLDER = "best"
FILES = frozenset(
    {
        transformers_pt.SAFETENSORS_FILE,
        transformers_config.CONFIG_FILE,
        *tokenizer_files.FILES,
    }
)
# What stands in the folder of a fine-tuned model of any command.
REPLACEABLE = FILES | frozenset(sentence_transformer.FILES)


def write_model(
    output_dir: str,
    bert: pretrained.PretrainedBert,
    architecture: str,
    head: Mapping[str, np.ndarray],
    settings: Mapping,
) -> None:
    """Write a folder of transformers, whole or not at all; an older one is replaced.

    Args:
        output_dir: the folder to make; local or any that `tf.io.gfile` opens.
        bert: encoder and tokenizer, from `warm_start.read_back`.
        architecture: transformers' class, such as BertForSequenceClassification.
        head: name in that class -> float32 array in its layout.
        settings: what config.json says beside the encoder: id2label, problem_type, ...
    """

    def write(folder: str) -> None:
        # One file, unlike transformers_pt.write: sentence and span heads go with
        # encoders that fit.
        path = os.path.join(folder, transformers_pt.SAFETENSORS_FILE)
        state = {**transformers_pt.build_state(bert), **head}
        safetensors.numpy.save_file(state, path, metadata={"format": "pt"})
        folders.make_readable(path)  # safetensors' own are for their owner alone.
        config = transformers_config.build_config(bert)
        folders.write_json(
            os.path.join(folder, transformers_config.CONFIG_FILE),
            {**config, "architectures": [architecture], **settings},
        )
        tokenizer_files.write_transformers_files(bert, folder)

    folders.write_folder(
        output_dir,
        write,
        overwrite=True,
        may_replace=lambda path: os.path.basename(path) in REPLACEABLE,
    )


def has_model(folder: str) -> bool:
    """Say whether `write_model` made this folder, or transformers one like it."""
    return all(
        folders.exists(folder, name)
        for name in (transformers_pt.SAFETENSORS_FILE, transformers_config.CONFIG_FILE)
    )


def read_settings(folder: str) -> dict:
    """Return the config.json of a folder.

    Raises:
        ValueError: it is damaged.
    """
    return folders.read_json(folders.join(folder, transformers_config.CONFIG_FILE))


def read_architecture(folder: str) -> str:
    """Return which class of transformers a folder is for; "" if it does not say."""
    if not has_model(folder):
        return ""
    return "".join((read_settings(folder).get("architectures") or [])[:1])


def read_class_names(folder: str, num_outputs: int) -> tuple[str, ...]:
    """Return the classes of a folder's head, by id2label of its config.json.

    transformers leaves it out for the two classes of a model that was told no names:
    their ids are their names then.

    Args:
        folder: with a head.
        num_outputs: of the head.

    Raises:
        ValueError: id2label does not name each output.
    """
    names = read_settings(folder).get("id2label")
    numbers = tuple(map(str, range(num_outputs)))
    if not names:
        return numbers
    if not isinstance(names, dict) or set(names) != set(numbers):
        raise ValueError(
            f"{folders.join(folder, transformers_config.CONFIG_FILE)}: id2label must "
            f"name the {num_outputs} outputs of the classifier, from 0 to "
            f"{num_outputs - 1}: correct it."
        )
    return tuple(str(names[number]) for number in numbers)


def read_head(
    folder: str, names: tuple[str, ...], architecture: str
) -> dict[str, np.ndarray] | None:
    """Return the named weights of a folder.

    Args:
        folder: any.
        names: of weights; heads of several architectures share them.
        architecture: transformers' class.

    Returns:
        Name -> array; None if the folder lacks one of them, or is for another class.

    Raises:
        ValueError: the weights' file is damaged.
    """
    if not has_model(folder) or read_architecture(folder) not in ("", architecture):
        return None
    try:
        with (
            folders.local_copy(folder, [transformers_pt.SAFETENSORS_FILE]) as local,
            safetensors.safe_open(
                os.path.join(local, transformers_pt.SAFETENSORS_FILE), "np"
            ) as file,
        ):
            if not set(names) <= set(file.keys()):
                return None
            return {name: file.get_tensor(name) for name in names}
    except (safetensors.SafetensorError, OSError) as error:
        raise ValueError(
            f"{folders.join(folder, transformers_pt.SAFETENSORS_FILE)} cannot be read "
            f"({error}): copy it again."
        ) from error
