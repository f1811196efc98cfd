"""Print the likeliest fillers for each [MASK] in a text.

    python -m bert_cn.fill_mask --checkpoint=out/tiny_pt '中国的首都是[MASK]京。'

The checkpoint is of any format that convert_checkpoint reads. Without a text, each line
of standard input is one.
"""

import dataclasses
import sys
from collections.abc import Iterator

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
_JOINT = flags.DEFINE_bool(
    "joint",
    False,
    "Fill several [MASK] one after the other, the surest first, each with those before "
    "it in place.",
)
_INTERACTIVE = flags.DEFINE_bool(
    "interactive", False, "Stay and ask for one text after the other."
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

    joint: bool
    """Fill several [MASK] one after the other, the surest first."""

    interactive: bool
    """Ask for texts in a terminal."""


def main(arguments: list[str]) -> None:
    """Read the checkpoint, fill in each text, print."""
    args = read_args(arguments[1:])
    texts = read_texts(args.texts, args.interactive)

    # This imports TensorFlow, which takes seconds: --help and wrong flags do not wait.
    from bert_cn import api

    bert = api.load(args.checkpoint, args.vocab_file, args.do_lower_case)
    if not args.interactive:
        # All are checked before the first is computed.
        texts = list(texts)
        for text in texts:
            bert.check_text(text)
    for text in texts:
        try:
            count = len(bert.check_text(text))
        except ValueError as error:
            print(f"{error}", file=sys.stderr, flush=True)
            continue
        fillers = bert.fill_mask(text, args.top_k, args.joint)
        print_fillers(text, count, fillers)


def read_texts(texts: tuple[str, ...], interactive: bool) -> Iterator[str]:
    """Yield the texts of the command line, of standard input, or of a terminal.

    Args:
        texts: of the command line; without any, each line of standard input is one.
        interactive: ask for one after the other, until the input ends.
    """
    if texts and not interactive:
        yield from texts
        return
    while True:
        try:
            line = input("> " if interactive else "").strip()
        except EOFError:
            return
        if line:
            yield line


def read_args(texts: list[str]) -> FillMaskArgs:
    """Return the values of the flags and the texts.

    Raises:
        ValueError: there is no checkpoint or no text, or a text has no [MASK].
    """
    if not _CHECKPOINT.value:
        raise ValueError("--checkpoint is empty: name the folder of a checkpoint.")
    if not texts and sys.stdin.isatty() and not _INTERACTIVE.value:
        raise ValueError(
            f"No text is given: write one with {vocab_lib.MASK} in quotes after the "
            "flags, give a line each on standard input, or pass --interactive."
        )
    return FillMaskArgs(
        tuple(texts),
        _CHECKPOINT.value,
        _TOP_K.value,
        _VOCAB_FILE.value,
        _DO_LOWER_CASE.value,
        _JOINT.value,
        _INTERACTIVE.value,
    )


def print_fillers(
    text: str,
    num_tokens: int,
    fillers: list[list[tuple[str, float]]],
) -> None:
    """Print the fillers of each [MASK] and the text with the likeliest ones.

    Args:
        text: with [MASK].
        num_tokens: of the text, with [CLS] and [SEP].
        fillers: for each [MASK], (token, probability), the likeliest first.
    """
    print(f"{text}  ({num_tokens} tokens)")
    filled, *rest = text.split(vocab_lib.MASK)
    for number, candidates in enumerate(fillers, 1):
        name = f"{vocab_lib.MASK} {number}" if len(fillers) > 1 else vocab_lib.MASK
        for rank, (token, share) in enumerate(candidates, 1):
            print(f"  {name}  {rank}. {token}  {share:.4f}")
        best = candidates[0][0].removeprefix(vocab_lib.CONTINUATION_PREFIX)
        filled += best + rest[number - 1]
    print(f"  -> {filled}")


if __name__ == "__main__":
    command_line.run_command(main)
