"""Names of weights in transformers' models that share BERT's encoder.

RoBERTa and XLM-R have BERT's weights under other names: `transformers_pt` reads and
writes BERT's names, and this turns one into the other.
"""

import re

from bert_cn.conversion.weight_map import Part
from bert_cn.model import config as config_lib

# (BERT's name, RoBERTa's) at the start of a name.
_PREFIXES = (
    ("bert.", "roberta."),
    ("cls.predictions.transform.dense.", "lm_head.dense."),
    ("cls.predictions.transform.LayerNorm.", "lm_head.layer_norm."),
    ("cls.predictions.decoder.", "lm_head.decoder."),
    ("cls.predictions.bias", "lm_head.bias"),
)
# RobertaForSequenceClassification has the pooler inside its head.
_CLASSIFIER = (
    ("bert.pooler.dense.", "classifier.dense."),
    ("classifier.", "classifier.out_proj."),
)
# transformers' prefix of class names.
_CLASSES = {
    config_lib.BERT: "Bert",
    config_lib.ROBERTA: "Roberta",
    config_lib.XLM_ROBERTA: "XLMRoberta",
}
_SEQUENCE_CLASSIFIER = "ForSequenceClassification"


def to_bert_name(name: str) -> str:
    """Return the name that BERT has for a weight of any family."""
    if re.match(r"classifier\.(dense|out_proj)\.", name):
        return _replace(name, [pair[::-1] for pair in _CLASSIFIER])
    return _replace(name, [pair[::-1] for pair in _PREFIXES])


def from_bert_name(name: str, model_type: str, architecture: str = "") -> str:
    """Return the name that a family has for a weight of BERT.

    Args:
        name: in BertForPreTraining, or of a head of fine-tuning.
        model_type: one of `config.MODEL_TYPES`.
        architecture: transformers' class, if it is one with a head of fine-tuning.
    """
    if model_type == config_lib.BERT:
        return name
    pairs = list(_PREFIXES)
    if architecture.endswith(_SEQUENCE_CLASSIFIER):
        pairs = [*_CLASSIFIER, *pairs]
    return _replace(name, pairs)


def _replace(name: str, pairs) -> str:
    for old, new in pairs:
        if name.startswith(old):
            return new + name[len(old) :]
    return name


def class_name(bert_class: str, model_type: str) -> str:
    """Return the family's class for one of BERT, such as BertModel."""
    return _CLASSES[model_type] + bert_class.removeprefix("Bert")


def bert_class_name(architecture: str) -> str:
    """Return BERT's class for one of any family."""
    for prefix in sorted(_CLASSES.values(), key=len, reverse=True):
        if architecture.startswith(prefix):
            return "Bert" + architecture.removeprefix(prefix)
    return architecture


def pretrained_class(model_type: str, has_mlm: bool, has_nsp: bool) -> str:
    """Return transformers' class with exactly these heads."""
    if has_nsp and model_type == config_lib.BERT:
        return "BertForPreTraining" if has_mlm else "BertForNextSentencePrediction"
    return class_name("BertForMaskedLM" if has_mlm else "BertModel", model_type)


def unknown_parts(model_type: str, parts) -> list[Part]:
    """Return the parts that a family has no place for."""
    if model_type == config_lib.BERT:
        return []
    return [part for part in parts if part == Part.NSP]
