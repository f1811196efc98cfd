"""Print the likeliest fillers for each [MASK] in a text.

    python -m bert_cn.fill_mask --checkpoint=out/tiny_pt '中国的首都是[MASK]京。'

The checkpoint is of any format that convert_checkpoint reads.
"""

import numpy as np
from absl import flags

from bert_cn import mask_filling
from bert_cn.conversion import formats, pretrained
from data_prep import command_line
from data_prep.text import vocab as vocab_lib

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
        bert.set_vocabulary(vocab_lib.load_vocabulary(_VOCAB_FILE.value))
    if _DO_LOWER_CASE.value is not None:
        bert.do_lower_case = _DO_LOWER_CASE.value
    mask_filling.check_checkpoint(bert)
    encoded = [mask_filling.encode_text(text, bert) for text in texts]
    model = mask_filling.build_model(bert)
    for text, token_ids in zip(texts, encoded, strict=True):
        fillers = mask_filling.fill(model, token_ids, bert, _TOP_K.value)
        print_fillers(text, token_ids, fillers, bert)


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
