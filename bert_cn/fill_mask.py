"""Print the likeliest fillers for each [MASK] in a text.

    python -m bert_cn.fill_mask --checkpoint=out/tiny_pt '中国的首都是[MASK]京。'

The checkpoint is of any format that convert_checkpoint reads.
"""

import dataclasses
from collections.abc import Callable

from absl import flags

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
    "vocab_file", "", "The vocab.txt, if the checkpoint has none."
)
_DO_LOWER_CASE = flags.DEFINE_bool(
    "do_lower_case",
    None,
    "Whether to lower-case; without the flag, as the checkpoint says.",
)


@dataclasses.dataclass(frozen=True)
class FillMaskArgs:
    """Which texts to fill in, and by which checkpoint."""

    texts: tuple[str, ...]
    """With one [MASK] or more each."""

    checkpoint: str
    """Anything that convert_checkpoint reads."""

    top_k: int
    """Fillers for each [MASK]."""

    vocab_file: str
    """For a checkpoint without a vocabulary; "" for its own."""

    do_lower_case: bool | None
    """None for what the checkpoint says."""


def main(arguments: list[str]) -> None:
    """Read the checkpoint, fill in each text, print."""
    args = read_args(arguments[1:])

    # These import TensorFlow, which takes seconds: --help and wrong flags do not wait.
    from bert_cn.conversion import formats, mask_filling

    bert = formats.read_checkpoint(args.checkpoint)
    if args.vocab_file:
        bert.set_vocabulary(vocab_lib.load_vocabulary(args.vocab_file))
    if args.do_lower_case is not None:
        bert.do_lower_case = args.do_lower_case
    mask_filling.check_checkpoint(bert)
    encoded = [mask_filling.encode_text(text, bert) for text in args.texts]

    model = mask_filling.build_model(bert)
    for text, token_ids in zip(args.texts, encoded, strict=True):
        fillers = mask_filling.fill(model, token_ids, bert, args.top_k)
        print_fillers(text, len(token_ids), fillers, bert.vocabulary.show)


def read_args(texts: list[str]) -> FillMaskArgs:
    """Return the values of the flags and the texts.

    Raises:
        ValueError: there is no checkpoint or no text, or a text has no [MASK].
    """
    if not _CHECKPOINT.value:
        raise ValueError("--checkpoint is empty: name the folder of a checkpoint.")
    if not texts:
        raise ValueError(
            f"No text is given: write one with {vocab_lib.MASK} in quotes after the "
            "flags."
        )
    for text in texts:
        if vocab_lib.MASK not in text:
            raise ValueError(
                f"No {vocab_lib.MASK} in {text!r}: write {vocab_lib.MASK} for each "
                "token to be filled in."
            )
    return FillMaskArgs(
        tuple(texts),
        _CHECKPOINT.value,
        _TOP_K.value,
        _VOCAB_FILE.value,
        _DO_LOWER_CASE.value,
    )


def print_fillers(
    text: str,
    num_tokens: int,
    fillers: list[list[tuple[int, float]]],
    show: Callable[[int], str],
) -> None:
    """Print the fillers of each [MASK] and the text with the likeliest ones.

    Args:
        text: with [MASK].
        num_tokens: of the text, with [CLS] and [SEP].
        fillers: for each [MASK], (token id, probability), the likeliest first.
        show: token id -> token.
    """
    print(f"{text}  ({num_tokens} tokens)")
    filled, *rest = text.split(vocab_lib.MASK)
    for number, candidates in enumerate(fillers, 1):
        name = f"{vocab_lib.MASK} {number}" if len(fillers) > 1 else vocab_lib.MASK
        for rank, (token, share) in enumerate(candidates, 1):
            print(f"  {name}  {rank}. {show(token)}  {share:.4f}")
        best = show(candidates[0][0]).removeprefix(vocab_lib.CONTINUATION_PREFIX)
        filled += best + rest[number - 1]
    print(f"  -> {filled}")


if __name__ == "__main__":
    command_line.run_command(main)
