"""ONNX: model.onnx with dynamic batch and length, exported by PyTorch.

PyTorch exports transformers' modules.

Inputs are transformers' input_ids, attention_mask and token_type_ids, int64
[batch, sequence]. Outputs, float32: last_hidden_state [batch, sequence, hidden] and, if
the model has the part, pooler_output [batch, hidden], prediction_logits
[batch, sequence, vocabulary] and seq_relationship_logits [batch, 2].
"""

import contextlib
import importlib.util
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator

from bert_cn.conversion import (
    pretrained,
    tokenizer_files,
    transformers_config,
    transformers_pt,
)
from bert_cn.conversion.weight_map import Part
from bert_cn.model import config as config_lib

MODEL_FILE = "model.onnx"
# Holds the weights of a large model, since a protobuf holds 2 GiB at most.
_DATA_FILE = f"{MODEL_FILE}.data"
_MOST_BYTES_INSIDE = 10**9
FILES = (
    MODEL_FILE,
    _DATA_FILE,
    transformers_config.CONFIG_FILE,
    *tokenizer_files.FILES,
)
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_MODULES = ("torch", "transformers", "onnx", "onnxscript")
_FLOAT32_BYTES = 4


def check_installed() -> None:
    """Raise ValueError if packages of the exporter are missing, and name them."""
    missing = [name for name in _MODULES if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(
            f"--output_format=onnx needs {', '.join(missing)}: pip install "
            "'bert_cn[onnx]'."
        )


def write(
    bert: pretrained.PretrainedBert, folder: str, options: pretrained.WriteOptions
) -> None:
    """Write model.onnx, config.json and tokenizer files into a local folder.

    Raises:
        ValueError: see `check_installed`.
    """
    check_installed()
    with _quiet(), tempfile.TemporaryDirectory(prefix="bert_cn_") as pt_folder:
        transformers_pt.write_folder(bert, pt_folder, options, with_bin=False)
        _export(_load_model(pt_folder, bert), bert, os.path.join(folder, MODEL_FILE))
    transformers_config.write_config(bert, folder)
    tokenizer_files.write_transformers_files(bert, folder)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's and transformers' warnings: no user can act on them."""
    import transformers

    level = transformers.logging.get_verbosity()
    torch_logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    torch_level = torch_logger.level
    torch_logger.setLevel(logging.ERROR)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch_logger.setLevel(torch_level)
        transformers.logging.set_verbosity(level)
        transformers.logging.enable_progress_bar()


def _load_model(folder: str, bert: pretrained.PretrainedBert):
    """Return a torch module that gives the outputs of `_output_names`."""
    import torch
    import transformers

    if bert.config.model_type != config_lib.BERT:
        return _load_other(folder, bert)

    class Outputs(torch.nn.Module):
        def __init__(self):
            super().__init__()
            # Heads that the model lacks are made at random and never called.
            self.model = transformers.BertForPreTraining.from_pretrained(folder)

        def forward(self, input_ids, attention_mask, token_type_ids):
            encoded = self.model.bert(
                input_ids=input_ids,
                attention_mask=attention_mask,
                token_type_ids=token_type_ids,
            )
            outputs = [encoded.last_hidden_state]
            if bert.has(Part.POOLER):
                outputs.append(encoded.pooler_output)
            if bert.has(Part.MLM):
                outputs.append(self.model.cls.predictions(encoded.last_hidden_state))
            if bert.has(Part.NSP):
                outputs.append(self.model.cls.seq_relationship(encoded.pooler_output))
            return tuple(outputs)

    return Outputs().eval()


def _load_other(folder: str, bert: pretrained.PretrainedBert):
    """Return the module of a model without BERT's class for all heads."""
    import torch
    import transformers

    class Outputs(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = transformers.AutoModel.from_pretrained(
                folder, add_pooling_layer=bert.has(Part.POOLER)
            )
            self.head = None
            if bert.has(Part.MLM):
                whole = transformers.AutoModelForMaskedLM.from_pretrained(folder)
                self.head = whole.lm_head

        def forward(self, input_ids, attention_mask, token_type_ids):
            encoded = self.encoder(
                input_ids=input_ids,
                attention_mask=attention_mask,
                token_type_ids=token_type_ids,
            )
            outputs = [encoded.last_hidden_state]
            if bert.has(Part.POOLER):
                outputs.append(encoded.pooler_output)
            if self.head is not None:
                outputs.append(self.head(encoded.last_hidden_state))
            return tuple(outputs)

    return Outputs().eval()


def _output_names(bert: pretrained.PretrainedBert) -> list[str]:
    names = {
        Part.ENCODER: "last_hidden_state",
        Part.POOLER: "pooler_output",
        Part.MLM: "prediction_logits",
        Part.NSP: "seq_relationship_logits",
    }
    return [name for part, name in names.items() if bert.has(part)]


def _export(model, bert: pretrained.PretrainedBert, path: str) -> None:
    import torch

    length = bert.config.max_length
    # Three tensors, because torch.export takes one that is passed twice for one input.
    example = [torch.full((2, min(8, length)), value) for value in (0, 1, 0)]
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("sequence", max=length)}
    torch.onnx.export(
        model,
        tuple(example),
        path,
        input_names=list(_INPUTS),
        output_names=_output_names(bert),
        dynamic_shapes=dict.fromkeys(_INPUTS, axes),
        dynamo=True,
        external_data=bert.count_parameters() * _FLOAT32_BYTES > _MOST_BYTES_INSIDE,
        verbose=False,
    )
