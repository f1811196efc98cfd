"""The folder of a fine-tuning run: its model, its results, its predictions.

The model is a folder of transformers, with the weights and settings of the head. It is
loaded by transformers' AutoModelFor..., by the commands here with `read_head`, and by
convert_checkpoint with --allow_partial, which leaves the head out.
"""

import os
from collections.abc import Mapping, Sequence

import numpy as np
import safetensors
import safetensors.numpy

from bert_cn.conversion import (
    families,
    fast_tokenizer,
    folders,
    model_card,
    pretrained,
    sentence_transformer,
    tokenizer_files,
    transformers_config,
    transformers_pt,
)
from bert_cn.model import config as config_lib
from bert_cn.training import reporting
from data_prep import storage

# The predictions for a split, whose name goes before it.
TABLE_FILE = "{}_results.tsv"
# These are named as google-research/bert's run_squad.py names them.
PREDICTIONS_FILE = "predictions.json"
N_BEST_FILE = "nbest_predictions.json"
NULL_ODDS_FILE = "null_odds.json"
_ANSWERS = (PREDICTIONS_FILE, N_BEST_FILE, NULL_ODDS_FILE)
MODEL_FOLDER = "best"
# The files that the model's folder may hold, whichever command wrote it.
_MODEL_FILES = frozenset(
    {
        transformers_pt.SAFETENSORS_FILE,
        transformers_config.CONFIG_FILE,
        *tokenizer_files.FILES,
        *fast_tokenizer.FILES,
        *sentence_transformer.FILES,
    }
)


def model_folder(output_dir: str) -> str:
    """Return the folder of a run's model."""
    return os.path.join(output_dir, MODEL_FOLDER)


def check_for_training(output_dir: str, overwrite: bool) -> None:
    """Refuse a folder whose model must not be replaced, before anything is trained.

    Args:
        output_dir: the run's folder.
        overwrite: whether an earlier model may be replaced.

    Raises:
        ValueError: the folder holds an earlier model, or files that are no part of a
            fine-tuned model.
    """
    folder = model_folder(output_dir)
    if has_model(folder) and not overwrite:
        raise ValueError(
            f"{folder!r} holds the model of an earlier run: name another "
            "--output_dir, or pass --overwrite to replace it."
        )
    for name in folders.list_folder(folder):
        if not _is_of_a_model(folders.join(folder, name)):
            raise ValueError(
                f"{folder!r} holds {name}, which is no part of a fine-tuned model and "
                "would be lost: name another --output_dir, or move it away."
            )


def check_for_measuring(output_dir: str, checkpoint: str) -> None:
    """Refuse to put one model's results beside another model.

    Args:
        output_dir: the run's folder.
        checkpoint: what is measured; "" for the model in the folder.

    Raises:
        ValueError: the folder holds another model.
    """
    folder = model_folder(output_dir)
    is_other = checkpoint and os.path.abspath(checkpoint) != os.path.abspath(folder)
    if is_other and has_model(folder):
        raise ValueError(
            f"{output_dir!r} holds a model and its results, which those of "
            f"--init_checkpoint={checkpoint} would replace: name another --output_dir, "
            "or leave --init_checkpoint out to measure the model there."
        )


def remove_results(output_dir: str) -> None:
    """Remove the results and predictions of a model that is replaced."""
    reporting.remove_eval_results(output_dir)
    for name in folders.list_folder(output_dir):
        if name in _ANSWERS or name.endswith(TABLE_FILE.format("")):
            storage.remove(os.path.join(output_dir, name))


def merge_results(output_dir: str, results: Mapping[str, float]) -> dict[str, float]:
    """Return results, and with them the folder's earlier results for other splits.

    Args:
        output_dir: the run's folder.
        results: eval_..., test_... or predict_... -> value. Earlier results for the
            same split are dropped, because they may come from another file.
    """
    measured = {name.partition("_")[0] for name in results}
    earlier = reporting.read_eval_results(output_dir)
    kept = {k: v for k, v in earlier.items() if k.partition("_")[0] not in measured}
    return {**kept, **results}


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
        architecture: transformers' class of BERT, such as
            BertForSequenceClassification; another family has its own.
        head: name in that class -> float32 array in its layout.
        settings: what else config.json says: id2label, problem_type and so on.
    """

    def write(folder: str) -> None:
        # One file, unlike transformers_pt.write: an encoder that can be fine-tuned here
        # fits into one.
        path = os.path.join(folder, transformers_pt.SAFETENSORS_FILE)
        state = transformers_pt.build_state(bert, architecture=architecture)
        state |= {
            families.from_bert_name(name, bert.config.model_type, architecture): array
            for name, array in head.items()
        }
        safetensors.numpy.save_file(state, path, metadata={"format": "pt"})
        folders.make_readable(path)  # safetensors lets only the owner read it.
        config = transformers_config.build_config(bert)
        folders.write_json(
            os.path.join(folder, transformers_config.CONFIG_FILE),
            {
                **config,
                "architectures": [
                    families.class_name(architecture, bert.config.model_type)
                ],
                **settings,
            },
        )
        tokenizer_files.write_transformers_files(bert, folder)

    folders.write_folder(
        output_dir,
        write,
        overwrite=True,
        may_replace=_is_of_a_model,
    )


def _is_of_a_model(path: str) -> bool:
    """Say whether a file in a model's folder was written with the model."""
    name = os.path.basename(path)
    if name == model_card.CARD_FILE:
        return model_card.is_our_card(path)
    return name in _MODEL_FILES


def has_model(folder: str) -> bool:
    """Say whether a folder has the files of a model as `write_model` writes it."""
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
    """Return the class of transformers that a folder is for; "" if it names none."""
    if not has_model(folder):
        return ""
    return "".join((read_settings(folder).get("architectures") or [])[:1])


def no_model_error(checkpoint: str, wanted: str) -> ValueError:
    """Return the error for a checkpoint without the wanted head.

    Args:
        checkpoint: what was named.
        wanted: what it should hold.
    """
    found = read_architecture(checkpoint)
    found = f" (its config.json says {found})" if found else ""
    return ValueError(
        f"{checkpoint!r} holds no {wanted}{found}: pass --do_train, or name one that "
        "does; without --init_checkpoint the model in --output_dir is taken."
    )


def describe_classes(names: Sequence[str]) -> dict:
    """Return the entries of config.json that name the classes of a head.

    Args:
        names: the classes in the order of their ids.
    """
    return {
        "id2label": {str(index): name for index, name in enumerate(names)},
        "label2id": {name: index for index, name in enumerate(names)},
    }


def read_class_names(folder: str, num_outputs: int) -> tuple[str, ...]:
    """Return the classes of a folder's head, by id2label of its config.json.

    transformers leaves id2label out if a model has two classes without names; their ids
    are their names then.

    Args:
        folder: has a head.
        num_outputs: the outputs of the head.

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
        folder: any folder.
        names: names of weights; heads of several architectures share them.
        architecture: transformers' class.

    Returns:
        Name -> array; None if the folder lacks one of them, or is for another class.

    Raises:
        ValueError: the weights' file is damaged.
    """
    found = families.bert_class_name(read_architecture(folder))
    if not has_model(folder) or found not in ("", architecture):
        return None
    model_type = read_settings(folder).get("model_type", config_lib.BERT)
    there = {
        name: families.from_bert_name(name, str(model_type), architecture)
        for name in names
    }
    try:
        with (
            folders.local_copy(folder, [transformers_pt.SAFETENSORS_FILE]) as local,
            safetensors.safe_open(
                os.path.join(local, transformers_pt.SAFETENSORS_FILE), "np"
            ) as file,
        ):
            if not set(there.values()) <= set(file.keys()):
                return None
            return {name: file.get_tensor(there[name]) for name in names}
    except (safetensors.SafetensorError, OSError) as error:
        raise ValueError(
            f"{folders.join(folder, transformers_pt.SAFETENSORS_FILE)} cannot be read "
            f"({error}): copy it again."
        ) from error
