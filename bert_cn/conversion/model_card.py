"""README.md of a written folder: what the model is, where from, how to load it."""

import os
import re

import huggingface_hub
import tensorflow as tf

from bert_cn.conversion import folders, pretrained, tokenizer_files
from bert_cn.conversion.weight_map import Part
from bert_cn.model import config as config_lib
from bert_cn.training import run_files
from data_prep import storage
from data_prep.text import vocab as vocab_lib

CARD_FILE = "README.md"
# The notes on training travel from card to card between these two lines, which also
# tell a card that was written here.
NOTES_START = "<!-- training notes -->"
NOTES_END = "<!-- end of training notes -->"

_HOW_TO_LOAD = {
    "tf1": """\
With google-research/bert (TensorFlow 1.15), give its commands

    --init_checkpoint=FOLDER/bert_model.ckpt --bert_config_file=FOLDER/bert_config.json
    --vocab_file=FOLDER/vocab.txt --do_lower_case={do_lower_case}
""",
    "tf2": """\
With transformers 4 and TensorFlow (transformers 5 has no TensorFlow models):

    from transformers import AutoTokenizer, TFAutoModel
    tokenizer = AutoTokenizer.from_pretrained("FOLDER")
    model = TFAutoModel.from_pretrained("FOLDER")
""",
    "model_garden": """\
With TF Model Garden (tf-models-official 2.20):

    import tensorflow as tf
    from official.nlp.modeling import networks
    encoder = networks.BertEncoder(...)  # the sizes of bert_config.json
    checkpoint = tf.train.Checkpoint(encoder=encoder)
    checkpoint.read("FOLDER/bert_model.ckpt").assert_existing_objects_matched()

The masked-LM head lies under "masked_lm", as BertPretrainerV2.checkpoint_items has it,
the next-sentence head under "next_sentence".
""",
    "keras": """\
With KerasHub:

    import keras_hub
    backbone = keras_hub.models.BertBackbone.from_preset("FOLDER")
    tokenizer = keras_hub.models.BertTokenizer.from_preset("FOLDER")

KerasHub's backbone has no pretraining heads; they are in heads.weights.h5, one HDF5
dataset for each variable of google-research/bert.
""",
    "pt": """\
With transformers and PyTorch:

    from transformers import AutoModel, AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained("FOLDER")
    model = AutoModel.from_pretrained("FOLDER")
""",
    "sentence_transformers": """\
With sentence-transformers (1_Pooling/config.json says how a sentence is pooled):

    from sentence_transformers import SentenceTransformer
    embeddings = SentenceTransformer("FOLDER").encode(sentences)
""",
    "onnx": """\
With ONNX Runtime, batch and length as you like (int64 arrays of one shape):

    import onnxruntime, transformers
    tokenizer = transformers.AutoTokenizer.from_pretrained("FOLDER")
    session = onnxruntime.InferenceSession("FOLDER/model.onnx")
    feed = dict(tokenizer(sentences, padding=True, return_tensors="np"))
    outputs = session.run(None, feed)
    names = [output.name for output in session.get_outputs()]
""",
}
_HOW_TO_FILL = """
A masked token, filled in:

    from transformers import pipeline
    pipeline("fill-mask", model="FOLDER")("中国的首都是{mask}京。")
"""
_FILL_MASK = "fill-mask"
# Format -> the hub's names of its library and of what the model is for.
_HUB = {
    "pt": ("transformers", _FILL_MASK),
    "tf2": ("transformers", _FILL_MASK),
    "keras": ("keras-hub", _FILL_MASK),
    "sentence_transformers": ("sentence-transformers", "sentence-similarity"),
    "onnx": ("onnx", _FILL_MASK),
}
# Figures in the notes that `describe_training` writes.
_RESULT = re.compile(
    r"^- Evaluation: (masked_lm_accuracy|next_sentence_accuracy|perplexity) = (\S+)$",
    re.MULTILINE,
)
_ACTIVATIONS = {
    config_lib.GELU_TANH: "GELU, tanh approximation (as google-research/bert)",
    config_lib.GELU_EXACT: "GELU, exact",
}


def describe_training(folder: str, step: int | None) -> str:
    """Return notes on training, Markdown, from a training output folder."""
    lines = [] if step is None else [f"- Steps: {step}"]
    if folders.exists(folder, run_files.MANIFEST_FILE):
        manifest = folders.read_json(folders.join(folder, run_files.MANIFEST_FILE))
        lines += _describe_data(manifest)
    if settings := run_files.read_fingerprint(folder):
        lines.append(f"- Recipe: {run_files.describe_settings(settings)}")
    if folders.exists(folder, run_files.EVAL_RESULTS_FILE):
        path = folders.join(folder, run_files.EVAL_RESULTS_FILE)
        results = storage.read_bytes(path).decode("utf-8").splitlines()
        lines += [f"- Evaluation: {line}" for line in results if line.strip()]
    return "\n".join(lines)


def _describe_data(manifest: dict) -> list[str]:
    counts = manifest.get("counts", {})
    figures = ", ".join(
        f"{counts[name]:,} {name}"
        for name in ("files", "documents", "sentences", "characters", "tokens")
        if name in counts
    )
    settings = ", ".join(
        f"{name}={manifest[name]}"
        for name in (
            *("masking", "mask_unit", "segmenter", "max_seq_length"),
            *("max_predictions_per_seq", "dupe_factor", "masked_lm_prob"),
            *("short_seq_prob", "sentence_task", "random_seed"),
        )
        if name in manifest
    )
    return [
        f"- Data: {figures}",
        f"- Sequences: {counts.get('sequences', 0):,} ({settings})",
        f"- Vocabulary: sha256 {manifest.get('vocab_sha256', 'unknown')}",
    ]


def read_training_notes(folder: str) -> str:
    """Return the notes in the card of a folder; "" if it has no card of ours."""
    if not folders.exists(folder, CARD_FILE):
        return ""
    with tf.io.gfile.GFile(folders.join(folder, CARD_FILE), "rb") as file:
        text = file.read().decode("utf-8", "replace")
    _, start, rest = text.partition(NOTES_START)
    notes, end, _ = rest.partition(NOTES_END)
    return notes.strip() if start and end else ""


def is_our_card(path: str) -> bool:
    """Say whether a README.md was written here."""
    with tf.io.gfile.GFile(path, "rb") as file:
        return NOTES_START.encode() in file.read()


def write(
    bert: pretrained.PretrainedBert,
    output_format: str,
    differences: list[str],
    folder: str,
) -> None:
    """Write README.md into a local folder.

    Args:
        bert: the model.
        output_format: the format of the folder.
        differences: how results differ in the format's own software.
        folder: already holds the weights.
    """
    with open(os.path.join(folder, CARD_FILE), "w", encoding="utf-8") as file:
        file.write(_build_card(bert, output_format, differences))


def _build_card(
    bert: pretrained.PretrainedBert, output_format: str, differences: list[str]
) -> str:
    config = bert.config
    lower_case = "unknown"
    if bert.vocabulary is not None:
        lower_case = str(tokenizer_files.lower_case(bert)).lower()
    how = _HOW_TO_LOAD[output_format].format(do_lower_case=lower_case)
    differences = "".join(f"- {loss}\n" for loss in differences)
    if output_format == "pt" and bert.has(Part.MLM):
        how += _HOW_TO_FILL.format(mask=_mask_token(bert))
    return f"""\
---
{_build_head(bert, output_format)}
---
# BERT, {config.num_hidden_layers} layers, hidden {config.hidden_size}

- Layers {config.num_hidden_layers}, hidden {config.hidden_size}, heads \
{config.num_attention_heads}, feed-forward {config.intermediate_size}, positions \
{config.max_position_embeddings}, vocabulary {config.vocab_size}
- Parameters: {bert.count_parameters():,} ({", ".join(bert.parts)})
- Activation: {_ACTIVATIONS[config.hidden_act]}
- do_lower_case: {lower_case}

## Training
{NOTES_START}
{bert.training_notes or "Nothing is recorded."}
{NOTES_END}

## How to load it
{how}
## What to know
- Words of more than 200 characters become [UNK], as in google-research/bert.
- transformers' tokenizers read "[MASK]" and the other special tokens in text as tokens.
{differences}"""


def _mask_token(bert: pretrained.PretrainedBert) -> str:
    return bert.vocabulary.mask_token if bert.vocabulary else vocab_lib.MASK


def _build_head(bert: pretrained.PretrainedBert, output_format: str) -> str:
    """Return the metadata that the Hugging Face hub reads, as YAML without its lines.

    https://huggingface.co/docs/hub/model-cards
    """
    library, task = _HUB.get(output_format, (None, None))
    if task == _FILL_MASK and not bert.has(Part.MLM):
        task = "feature-extraction"
    results = [
        huggingface_hub.EvalResult(
            task_type=_FILL_MASK,
            dataset_type="held-out",
            dataset_name="records that the training did not see, or its own",
            metric_type=name.rpartition("_")[2],
            metric_name=name,
            metric_value=round(float(value), 4),
        )
        for name, value in _RESULT.findall(bert.training_notes)
    ]
    data = huggingface_hub.ModelCardData(
        language=_find_language(bert),
        license=bert.license_name or "unknown",
        library_name=library,
        pipeline_tag=task,
        tags=[bert.config.model_type, "fill-mask", "whole-word-masking"],
        model_name=f"BERT-{bert.config.num_hidden_layers}L-{bert.config.hidden_size}H",
        eval_results=results or None,
    )
    return data.to_yaml()


def _find_language(bert: pretrained.PretrainedBert) -> str | None:
    """Return "zh" if a tenth of the tokens are single Han characters, else None."""
    tokens = bert.vocabulary.tokens if bert.vocabulary else ()
    han = sum(len(token) == 1 and vocab_lib.is_han(token) for token in tokens)
    return "zh" if tokens and han * 10 >= len(tokens) else None
