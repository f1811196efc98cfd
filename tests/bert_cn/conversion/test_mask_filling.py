"""Filling in [MASK]."""

import numpy as np
import pytest

from bert_cn.conversion import mask_filling
from bert_cn.conversion.weight_map import Part


def test_masked_text_is_split_at_the_mask_first(build_bert):
    bert = build_bert()

    ids = mask_filling.encode_text("中[MASK]bert[mask]", bert)

    tokens = [bert.vocabulary.tokens[index] for index in ids]
    expected = ["[CLS]", "中", "[MASK]", "bert", "[", "mask", "]", "[SEP]"]
    assert tokens == expected
    assert ids.dtype == np.int32


def test_too_long_text_is_refused(build_bert):
    text = "中" * 13 + "[MASK]"
    assert len(mask_filling.encode_text(text, build_bert())) == 16

    with pytest.raises(ValueError, match="has 17 tokens .* the model has 16 positions"):
        mask_filling.encode_text("中" + text, build_bert())


def test_checkpoint_without_mlm_head_is_refused(build_bert):
    bert = build_bert(parts=(Part.ENCODER, Part.POOLER))

    with pytest.raises(ValueError, match="has no masked-LM head"):
        mask_filling.check_checkpoint(bert)


def test_checkpoint_without_vocabulary_is_refused(build_bert):
    bert = build_bert()
    bert.vocabulary = None

    with pytest.raises(ValueError, match="name its vocab.txt by --vocab_file"):
        mask_filling.check_checkpoint(bert)


def test_model_without_next_sentence_head_fills_alike(build_bert):
    bert = build_bert()
    short = build_bert(parts=(Part.ENCODER, Part.POOLER, Part.MLM))
    ids = mask_filling.encode_text("首都[MASK]", bert)

    fillers = mask_filling.fill(mask_filling.build_model(bert), ids, bert, 3)

    assert mask_filling.fill(mask_filling.build_model(short), ids, short, 3) == fillers
