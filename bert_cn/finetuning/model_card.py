"""README.md of a fine-tuned model: what it was trained for, and how it did."""

import os
from collections.abc import Mapping

import huggingface_hub

from bert_cn.conversion import model_card
from data_prep import storage

# End of an architecture -> the hub's name of what it is for, and an example.
_KINDS = {
    "ForSequenceClassification": ("text-classification", '("今天天气很好。")'),
    "ForTokenClassification": ("token-classification", '("李明在北京工作。")'),
    "ForQuestionAnswering": (
        "question-answering",
        '(question="谁在北京工作？", context="李明在北京工作。")',
    ),
}
_NO_METRICS = ("global_step", "loss")


def write_card(folder: str, trained_on: str, results: Mapping[str, float]) -> None:
    """Write the card of a model into its folder of transformers.

    Args:
        folder: best/ of a run, which holds config.json; nothing is written into one of
            sentence-transformers, which has a card.
        trained_on: the task's name, or the file's.
        results: name -> value of the last measuring; may be empty.
    """
    config = storage.read_json(os.path.join(folder, "config.json"))
    architecture = (config.get("architectures") or [""])[0]
    kind = next((k for k in _KINDS if architecture.endswith(k)), None)
    if kind is None:
        return
    task, example = _KINDS[kind]
    measured = {
        name: round(float(value), 4)
        for name, value in results.items()
        if not name.endswith(_NO_METRICS)
    }
    data = huggingface_hub.ModelCardData(
        license="unknown",
        library_name="transformers",
        pipeline_tag=task,
        tags=[config.get("model_type", "bert"), task],
        model_name=f"{architecture} for {trained_on}",
        eval_results=[
            huggingface_hub.EvalResult(
                task_type=task,
                dataset_type=trained_on,
                dataset_name=trained_on,
                metric_type=name.partition("_")[2] or name,
                metric_name=name,
                metric_value=value,
            )
            for name, value in measured.items()
        ]
        or None,
    )
    rows = "".join(f"| {name} | {value} |\n" for name, value in measured.items())
    table = f"\n| | |\n|---|--:|\n{rows}" if rows else "\nNothing was measured.\n"
    text = f"""\
---
{data.to_yaml()}
---
# {architecture}, fine-tuned on {trained_on}
{model_card.NOTES_START}
{table}{model_card.NOTES_END}

## How to use it

    from transformers import pipeline
    pipeline("{task}", model="FOLDER"){example}
"""
    storage.write_whole(os.path.join(folder, model_card.CARD_FILE), text)
