"""How many parameters a BERT of a given size has, without building it."""

import math

from bert_cn.conversion import weight_map
from bert_cn.conversion.weight_map import Part
from bert_cn.model import config as config_lib

# What transformers' BertModel holds, which is what published tables count.
ENCODER_PARTS = (Part.ENCODER, Part.POOLER)


def count_parameters(
    config: config_lib.BertConfig, parts: tuple[Part, ...] = ENCODER_PARTS
) -> int:
    """Return the number of parameters; the tied output matrix counts once.

    Args:
        config: the model's sizes.
        parts: what to count; by default encoder and pooler, as transformers' BertModel.
    """
    return sum(
        math.prod(weight.shape) for weight in weight_map.list_weights(config, parts)
    )
