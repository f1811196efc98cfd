"""Print the likeliest fillers for each [MASK] in a text.

    python -m bert_cn.fill_mask --checkpoint=out/tiny_pt '中国的首都是[MASK]京。'

The checkpoint is of any format that convert_checkpoint reads.
"""

import dataclasses

import keras
import numpy as np
from absl import flags

from bert_cn import modeling
from bert_cn.conversion import formats, keras_weights, pretrained, tokenizer_files
from bert_cn.conversion.weight_map import Part
from data_prep import command_line, schema, tokenization
from data_prep import vocab as vocab_lib

_CHECKPOINT = flags.DEFINE_string(
    "checkpoint",
    "",
    "A training output folder, a TF1 checkpoint prefix, a transformers folder or a "
    "KerasHub preset.",
)
_TOP_K = flags.DEFINE_integer("top_k", 5, "Fillers for each [MASK].", lower_bound=1)
_VOCAB_FILE = flags.DEFINE_string(
    "vocab_file", "", "The vocab.txt, where the checkpoint has none."
)
_DO_LOWER_CASE = flags.DEFINE_bool(
    "do_lower_case",
    None,
    "Whether to lower-case; without the flag, what the checkpoint says.",
)


def main(arguments: list[str]) -> None:
    """Read the checkpoint, fill in each text, print."""
    texts = arguments[1:]
    _check_flags(texts)
    bert = formats.read_checkpoint(_CHECKPOINT.value)
    if _VOCAB_FILE.value:
        bert.set_vocabulary(**tokenizer_files.read_vocabulary(_VOCAB_FILE.value))
    if _DO_LOWER_CASE.value is not None:
        bert.do_lower_case = _DO_LOWER_CASE.value
    _check_checkpoint(bert)
    encoded = [encode_text(text, bert) for text in texts]
    model = build_model(bert)
    for text, token_ids in zip(texts, encoded, strict=True):
        print_fillers(text, token_ids, fill(model, token_ids, bert, _TOP_K.value), bert)


def _check_flags(texts: list[str]) -> None:
    if not _CHECKPOINT.value:
        raise ValueError("--checkpoint is empty: name the folder of a checkpoint.")
    if not texts:
        raise ValueError(
            f"No text is given: write one with {vocab_lib.MASK} in quotes behind the "
            "flags."
        )
    for text in texts:
        if vocab_lib.MASK not in text:
            raise ValueError(
                f"No {vocab_lib.MASK} in {text!r}: write {vocab_lib.MASK} for each "
                "token to be filled in."
            )


def _check_checkpoint(bert: pretrained.PretrainedBert) -> None:
    if not bert.has(Part.MLM):
        raise ValueError(
            f"{bert.source} has no {Part.MLM}, so it cannot fill in {vocab_lib.MASK}: "
            "name a pretrained checkpoint that kept it."
        )
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
    tokenizer = tokenization.Tokenizer(vocabulary, tokenizer_files.lower_case(bert))
    pieces = text.split(vocab_lib.MASK)
    tokens = tokenizer.tokenize(pieces)
    ids = [vocabulary.cls_id]
    for number in range(len(pieces)):
        if number:
            ids.append(vocabulary.mask_id)
        start, end = tokens.line_starts[number : number + 2]
        ids.extend(tokens.ids[start:end])
    ids.append(vocabulary.sep_id)
    longest = bert.config.max_position_embeddings
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
    model = modeling.build_pretraining_model(config)
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
    outputs = model(
        {
            schema.INPUT_IDS: token_ids[None],
            schema.INPUT_MASK: np.ones_like(token_ids)[None],
            schema.SEGMENT_IDS: np.zeros_like(token_ids)[None],
            schema.MASKED_LM_POSITIONS: positions[None],
        },
        training=False,
    )
    probabilities = keras.ops.softmax(outputs[modeling.MLM_LOGITS][0], axis=-1)
    probabilities, ids = keras.ops.top_k(
        probabilities, min(top_k, len(bert.vocabulary))
    )
    return [
        [(int(token), float(share)) for token, share in zip(*row, strict=True)]
        for row in zip(np.asarray(ids), np.asarray(probabilities), strict=True)
    ]


def print_fillers(
    text: str,
    token_ids: np.ndarray,
    fillers: list[list[tuple[int, float]]],
    bert: pretrained.PretrainedBert,
) -> None:
    """Print the fillers of each [MASK] and the text with the likeliest ones."""
    tokens = bert.vocabulary.tokens
    print(f"{text}  ({len(token_ids)} tokens)")
    filled, *rest = text.split(vocab_lib.MASK)
    for number, candidates in enumerate(fillers, 1):
        name = f"{vocab_lib.MASK} {number}" if len(fillers) > 1 else vocab_lib.MASK
        for rank, (token, share) in enumerate(candidates, 1):
            print(f"  {name}  {rank}. {tokens[token]}  {share:.4f}")
        best = tokens[candidates[0][0]].removeprefix(vocab_lib.CONTINUATION_PREFIX)
        filled += best + rest[number - 1]
    print(f"  -> {filled}")


if __name__ == "__main__":
    command_line.run_command(main)
