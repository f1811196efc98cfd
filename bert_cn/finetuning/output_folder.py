"""The folder of a fine-tuning run: its model, its results, its predictions."""

import os
from collections.abc import Mapping

from bert_cn.conversion import folders
from bert_cn.finetuning import export
from bert_cn.training import reporting
from data_prep import storage

# Of a split; the others are what google-research/bert's run_squad.py writes.
TABLE_FILE = "{}_results.tsv"
PREDICTIONS_FILE = "predictions.json"
N_BEST_FILE = "nbest_predictions.json"
NULL_ODDS_FILE = "null_odds.json"
_ANSWERS = (PREDICTIONS_FILE, N_BEST_FILE, NULL_ODDS_FILE)


def model_folder(output_dir: str) -> str:
    """Return where the model of a run is."""
    return os.path.join(output_dir, export.MODEL_FOLDER)


def check_for_training(output_dir: str, overwrite: bool) -> None:
    """Refuse a folder whose model must not be replaced, before anything is trained.

    Args:
        output_dir: the run's folder.
        overwrite: whether an earlier model may be replaced.

    Raises:
        ValueError: there is one, or files that are no part of a fine-tuned model.
    """
    folder = model_folder(output_dir)
    if export.has_model(folder) and not overwrite:
        raise ValueError(
            f"{folder!r} holds the model of an earlier run: name another "
            "--output_dir, or pass --overwrite to replace it."
        )
    for name in folders.list_folder(folder):
        if name not in export.REPLACEABLE:
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
        ValueError: the folder has a model, and it is another one.
    """
    folder = model_folder(output_dir)
    is_other = checkpoint and os.path.abspath(checkpoint) != os.path.abspath(folder)
    if is_other and export.has_model(folder):
        raise ValueError(
            f"{output_dir!r} holds a model and its results, which those of "
            f"--init_checkpoint={checkpoint} would replace: name another --output_dir, "
            "or leave --init_checkpoint out to measure the model there."
        )


def remove_results(output_dir: str) -> None:
    """Remove what was measured and predicted with a model that is replaced."""
    reporting.remove_eval_results(output_dir)
    for name in folders.list_folder(output_dir):
        if name in _ANSWERS or name.endswith(TABLE_FILE.format("")):
            storage.remove(os.path.join(output_dir, name))


def merge_results(output_dir: str, results: Mapping[str, float]) -> dict[str, float]:
    """Return results together with the folder's earlier ones of other splits.

    Args:
        output_dir: the run's folder.
        results: eval_..., test_... or predict_... -> value; all that the folder says of
            the same split is dropped, since it may be of another file.
    """
    measured = {name.partition("_")[0] for name in results}
    earlier = reporting.read_eval_results(output_dir)
    kept = {k: v for k, v in earlier.items() if k.partition("_")[0] not in measured}
    return {**kept, **results}
