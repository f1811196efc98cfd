"""Print what `make demo` learned: held-out texts before and after training.

    python -m configs.demo.summary out/demo

The folder holds what the Makefile's demo writes: the runs `untrained` and `model`. In
sentences.txt the token to fill in stands in brackets.
"""

import os
import pathlib
import re
import sys

from bert_cn.conversion import formats, mask_filling
from bert_cn.pretraining import losses
from bert_cn.training import reporting
from data_prep.text import vocab

SENTENCES = pathlib.Path(__file__).with_name("sentences.txt")


def main(folder: str) -> None:
    """Print the accuracy by step, the comparison with guesses, and the sentences."""
    untrained, model = (os.path.join(folder, name) for name in ("untrained", "model"))
    before = reporting.read_eval_results(untrained)
    after = reporting.read_eval_results(model)
    curve = reporting.read_scalars(reporting.log_dir(model, "eval"))

    print("\nWhat the model learned, on documents that it was not trained on:\n")
    print("masked_lm_accuracy by step:", end="")
    steps = {0: before[losses.MASKED_LM_ACCURACY], **curve[losses.MASKED_LM_ACCURACY]}
    print("".join(f"  {step}: {value:.1%}" for step, value in steps.items()), "\n")
    print(f"{'':30}untrained   trained   always the same answer")
    for name in (losses.MASKED_LM_ACCURACY, losses.NEXT_SENTENCE_ACCURACY):
        guess = after[name.replace("accuracy", "majority")]
        print(f"{name:30}{before[name]:9.1%}{after[name]:10.1%}{guess:11.1%}")
    print_fillings(untrained, model)


def print_fillings(untrained: str, model: str) -> None:
    """Print what both models put in place of the token in brackets."""
    lines = SENTENCES.read_text(encoding="utf-8").splitlines()
    right = re.findall(r"\[(.+?)\]", "\n".join(lines))
    texts = [re.sub(r"\[.+?\]", vocab.MASK, line) for line in lines]
    before, after = (fill_in(checkpoint, texts) for checkpoint in (untrained, model))
    print("\nSentences that are in no document, the likeliest token for [MASK]:\n")
    for text, first, then, token in zip(texts, before, after, right, strict=True):
        verdict = "right" if then == token else f"wrong: {token}"
        print(f"  {text}  untrained: {first}  trained: {then} ({verdict})")
    count = sum(map(str.__eq__, after, right))
    print(f"\n  {count} of {len(texts)} right")


def fill_in(checkpoint: str, texts: list[str]) -> list[str]:
    """Return the likeliest token for the first [MASK] of each text."""
    bert = formats.read_checkpoint(checkpoint)
    model = mask_filling.build_model(bert)
    found = []
    for text in texts:
        token_ids = mask_filling.encode_text(text, bert)
        fillers = mask_filling.fill(model, token_ids, bert, top_k=1)
        found.append(bert.vocabulary.tokens[fillers[0][0][0]])
    return found


if __name__ == "__main__":
    main(sys.argv[1])
