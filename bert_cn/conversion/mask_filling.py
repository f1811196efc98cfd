"""The tokens that a pretrained model puts in place of [MASK]."""

import dataclasses

import keras
import numpy as np

from bert_cn.conversion import keras_weights, pretrained, tokenizer_files
from bert_cn.conversion.weight_map import Part
from bert_cn.model import pretraining_model
from data_prep.records import schema
from data_prep.text import vocab as vocab_lib


def check_checkpoint(bert: pretrained.PretrainedBert) -> None:
    """Raise ValueError if the checkpoint lacks what filling in needs."""
    if not bert.has(Part.MLM):
        raise ValueError(
            f"{bert.source} has no {Part.MLM}, so it cannot fill in {vocab_lib.MASK}: "
            "name a pretrained checkpoint that kept it."
        )
    check_vocabulary(bert)


def check_vocabulary(bert: pretrained.PretrainedBert) -> None:
    """Raise ValueError if the checkpoint has no vocabulary."""
    if bert.vocabulary is None:
        raise ValueError(
            f"{bert.source} has no vocabulary: name its vocab.txt by --vocab_file."
        )


def encode_text(text: str, bert: pretrained.PretrainedBert) -> np.ndarray:
    """Return the token ids of [CLS] text [SEP], int32 [tokens].

    Raises:
        ValueError: there are more tokens than the model has positions.
    """
    vocabulary = bert.vocabulary
    tokenizer = tokenizer_files.build_tokenizer(
        vocabulary, tokenizer_files.lower_case(bert)
    )
    ids = [vocabulary.cls_id]
    if vocabulary.mask_token == vocab_lib.MASK:
        pieces = text.split(vocab_lib.MASK)
        tokens = tokenizer.tokenize(pieces)
        for number in range(len(pieces)):
            if number:
                ids.append(vocabulary.mask_id)
            start, end = tokens.line_starts[number : number + 2]
            ids.extend(tokens.ids[start:end])
    else:
        # Other tokenizers know their mask, and what a space before it means.
        text = text.replace(vocab_lib.MASK, vocabulary.mask_token)
        ids.extend(tokenizer.tokenize([text]).ids)
    ids.append(vocabulary.sep_id)
    longest = bert.config.max_length
    if len(ids) > longest:
        raise ValueError(
            f"The text {text[:20]!r}... has {len(ids)} tokens with [CLS] and [SEP], "
            f"but the model has {longest} positions: shorten it."
        )
    return np.array(ids, np.int32)


def build_model(bert: pretrained.PretrainedBert) -> keras.Model:
    """Build the model without dropout and fill in the weights that a filler needs."""
    config = dataclasses.replace(
        bert.config, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    model = pretraining_model.build_pretraining_model(config)
    keras_weights.assign_to_model(model, bert.weights, bert.parts)
    return model


def fill(
    model: keras.Model,
    token_ids: np.ndarray,
    bert: pretrained.PretrainedBert,
    top_k: int,
) -> list[list[tuple[int, float]]]:
    """Return, for each [MASK] in turn, (token id, probability) of the likeliest tokens.

    Args:
        model: from `build_model`.
        token_ids: int32 [tokens] with [MASK] in it.
        bert: whose vocabulary says which id [MASK] is.
        top_k: tokens for each [MASK].
    """
    positions = np.flatnonzero(token_ids == bert.vocabulary.mask_id).astype(np.int32)
    outputs = pretraining_model.predict(
        model,
        {
            schema.INPUT_IDS: token_ids[None],
            schema.INPUT_MASK: np.ones_like(token_ids)[None],
            schema.SEGMENT_IDS: np.zeros_like(token_ids)[None],
            schema.MASKED_LM_POSITIONS: positions[None],
        },
    )
    probabilities = keras.ops.softmax(outputs[pretraining_model.MLM_LOGITS][0], axis=-1)
    probabilities, ids = keras.ops.top_k(
        probabilities, min(top_k, len(bert.vocabulary))
    )
    return [
        [(int(token), float(share)) for token, share in zip(*row, strict=True)]
        for row in zip(np.asarray(ids), np.asarray(probabilities), strict=True)
    ]


def fill_jointly(
    model: keras.Model,
    token_ids: np.ndarray,
    bert: pretrained.PretrainedBert,
    top_k: int,
) -> list[list[tuple[int, float]]]:
    """Fill one [MASK] after the other, the surest first, and return what `fill` does.

    Each is filled with those before it in place (Ghazvininejad et al., 2019, have the
    order by confidence: https://arxiv.org/abs/1904.09324).
    """
    token_ids = token_ids.copy()
    places = np.flatnonzero(token_ids == bert.vocabulary.mask_id)
    filled: dict[int, list[tuple[int, float]]] = {}
    while len(filled) < len(places):
        left = [place for place in places if place not in filled]
        candidates = fill(model, token_ids, bert, top_k)
        surest = max(range(len(left)), key=lambda number: candidates[number][0][1])
        filled[left[surest]] = candidates[surest]
        token_ids[left[surest]] = candidates[surest][0][0]
    return [filled[place] for place in places]
