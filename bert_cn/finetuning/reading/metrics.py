"""Exact match and F1 of answers, as the script of each data set defines them.

- SQuAD 1.1 and 2.0 (Rajpurkar et al., 2016 and 2018: evaluate-v1.1.py and
  evaluate-v2.0.py): lower case, without ASCII punctuation and English articles; F1 on
  words, whatever their order.
- CMRC 2018 (Cui et al., 2019: cmrc2018_evaluate.py): lower case, without a list of
  punctuation; F1 on characters of Chinese and words of the rest ("mixed segmentation"),
  by their longest common run. DRCD has no script of its own, and the authors of CMRC
  2018 measure it by theirs.

One thing differs: CMRC 2018's script splits what is not Chinese into sentences before
words, with data that nltk fetches from the network. Here such a piece is one sentence,
so that a full stop before a space stays with its word.
"""

import collections
import dataclasses
import functools
import re
import string
from collections.abc import Callable, Sequence

from data_prep.text import vocab

EXACT = "exact"
F1 = "f1"
_CMRC_PUNCTUATION = frozenset("-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
_CMRC_HAN = re.compile("[\u4e00-\u9fa5]")
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_ASCII_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclasses.dataclass(frozen=True)
class Definition:
    """How one script compares two answers.

    Attributes:
        name: of `DEFINITIONS`.
        normalize: answers that are equal after it match exactly.
        split: answer -> units of F1.
        count_common: how many units two answers share.
        drops_empty_answers: whether right answers with nothing left by `normalize` do
            not count.
    """

    name: str
    normalize: Callable[[str], str]
    split: Callable[[str], list[str]]
    count_common: Callable[[list[str], list[str]], int]
    drops_empty_answers: bool


def _normalize_english(text: str) -> str:
    text = text.lower().translate(_ASCII_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", text).split())


def _split_english(text: str) -> list[str]:
    return _normalize_english(text).split()


def _count_shared(left: list[str], right: list[str]) -> int:
    return (collections.Counter(left) & collections.Counter(right)).total()


def _normalize_chinese(text: str) -> str:
    return "".join(c for c in text.lower().strip() if c not in _CMRC_PUNCTUATION)


def _split_chinese(text: str) -> list[str]:
    units, piece = [], ""
    for char in _normalize_chinese(text):
        if not _CMRC_HAN.match(char):
            piece += char
            continue
        units += _split_words(piece)
        units.append(char)
        piece = ""
    return units + _split_words(piece)


def _split_words(text: str) -> list[str]:
    return _word_tokenizer().tokenize(text) if text else []


@functools.cache
def _word_tokenizer():
    # Importing nltk takes a second or two, which English sets need not wait for.
    from nltk.tokenize import NLTKWordTokenizer

    return NLTKWordTokenizer()


def _count_longest_run(left: list[str], right: list[str]) -> int:
    """Return the length of the longest sequence that both hold without a gap."""
    longest, runs = 0, [0] * (len(right) + 1)
    for unit in left:
        # runs[i + 1]: the run that ends here and in right[i].
        runs = [0] + [
            runs[index] + 1 if unit == other else 0 for index, other in enumerate(right)
        ]
        longest = max(longest, *runs)
    return longest


SQUAD_1 = Definition(
    "squad1.1", _normalize_english, _split_english, _count_shared, False
)
SQUAD_2 = Definition(
    "squad2.0", _normalize_english, _split_english, _count_shared, True
)
CMRC = Definition(
    "cmrc2018", _normalize_chinese, _split_chinese, _count_longest_run, False
)
DEFINITIONS = {each.name: each for each in (SQUAD_1, SQUAD_2, CMRC)}


def choose_definition(contexts: Sequence[str], with_negative: bool) -> Definition:
    """Return the definition that fits some contexts.

    Args:
        contexts: CMRC 2018's if at least half of the letters of the first hundred are
            Chinese.
        with_negative: whether questions may have no answer.
    """
    letters = [char for text in contexts[:100] for char in text if char.isalpha()]
    if 2 * sum(map(vocab.is_han, letters)) >= max(1, len(letters)):
        return CMRC
    return SQUAD_2 if with_negative else SQUAD_1


def score(
    definition: Definition, answers: Sequence[str], prediction: str
) -> tuple[float, float]:
    """Compare a prediction with all right answers and keep the best.

    Args:
        definition: how.
        answers: empty for a question without an answer, where "" is right.
        prediction: what is measured.

    Returns:
        Exact match (0 or 1) and F1 (0 to 1).
    """
    normalize = definition.normalize
    if definition.drops_empty_answers:
        answers = [answer for answer in answers if normalize(answer)]
    if not answers:
        right = float(not normalize(prediction))
        return right, right
    normalized = normalize(prediction)
    exact = any(normalize(answer) == normalized for answer in answers)
    units = definition.split(prediction)
    return float(exact), max(
        _compute_f1(definition, definition.split(answer), units) for answer in answers
    )


def _compute_f1(definition: Definition, answer: list[str], units: list[str]) -> float:
    common = definition.count_common(answer, units)
    # 2 * precision * recall / (precision + recall)
    return 2 * common / (len(answer) + len(units)) if common else 0.0


def measure(
    definition: Definition, answers: Sequence[Sequence[str]], texts: Sequence[str]
) -> dict[str, float]:
    """Measure predictions as a data set's script does.

    Args:
        definition: how.
        answers: of each question, the right ones.
        texts: predictions, "" for no answer.

    Returns:
        "exact" and "f1" in percent; where some questions have no answer, the same for
        those with ("has_ans_...") and without ("no_ans_..."), and what always saying
        "no answer" reaches ("always_no_answer").
    """
    scores = [
        score(definition, right, text)
        for right, text in zip(answers, texts, strict=True)
    ]
    groups = {"": scores}
    has_answer = [bool(right) for right in answers]
    if not all(has_answer):
        for prefix, wanted in (("has_ans_", True), ("no_ans_", False)):
            groups[prefix] = [
                each
                for each, has in zip(scores, has_answer, strict=True)
                if has == wanted
            ]
    values = {
        prefix + name: 100 * sum(each[index] for each in group) / len(group)
        for prefix, group in groups.items()
        for index, name in enumerate((EXACT, F1))
        if group
    }
    if not all(has_answer):
        values["always_no_answer"] = 100 * has_answer.count(False) / len(has_answer)
    return values


def find_threshold(
    definition: Definition,
    answers: Sequence[Sequence[str]],
    best_texts: Sequence[str],
    null_diffs: Sequence[float],
) -> float:
    """Find the threshold of "no answer" with the highest F1.

    A question is answered if its null_diff is not above the threshold.
    evaluate-v2.0.py names the null_diff of the last question that is answered; here it
    is the middle between that and the next one, so that rounding decides nothing, and
    one below the lowest if it is best to answer none.

    Args:
        definition: of F1.
        answers: of each question, the right ones.
        best_texts: the best answer to each, whatever speaks for none.
        null_diffs: how much more speaks for none, in logits.
    """
    gains = []
    for right, text in zip(answers, best_texts, strict=True):
        answered = score(definition, right, text)[1]
        gains.append(answered - score(definition, right, "")[1])
    order = sorted(range(len(gains)), key=lambda index: null_diffs[index])
    gain, best_gain, threshold = 0.0, 0.0, null_diffs[order[0]] - 1
    for place, index in enumerate(order):
        gain += gains[index]
        here = null_diffs[index]
        is_last = place + 1 == len(order)
        following = here + 2 if is_last else null_diffs[order[place + 1]]
        # No threshold lies between two that are equal.
        if gain > best_gain and following > here:
            best_gain, threshold = gain, (here + following) / 2
    return float(threshold)
