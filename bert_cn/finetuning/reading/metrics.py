"""Exact match and F1 of answers, as the script of each data set defines them.

- SQuAD 1.1 and 2.0 (Rajpurkar et al., 2016 and 2018: evaluate-v1.1.py and
  evaluate-v2.0.py): lower case, without ASCII punctuation and English articles; F1 on
  words in any order.
- CMRC 2018 (Cui et al., 2019: cmrc2018_evaluate.py): lower case, without a list of
  punctuation; F1 on Chinese characters and other words ("mixed segmentation"), by their
  longest common run. DRCD has no script of its own, and the authors of CMRC 2018
  measure it with theirs.

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
        name: its name in `DEFINITIONS`.
        normalize: answers that are equal after it match exactly.
        split: answer -> pieces (characters or words) that F1 compares.
        count_common: returns how many pieces two answers share.
        drops_empty_answers: whether right answers do not count if `normalize` leaves
            nothing of them.
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
    pieces, rest = [], ""
    for char in _normalize_chinese(text):
        if not _CMRC_HAN.match(char):
            rest += char
            continue
        pieces += _split_words(rest)
        pieces.append(char)
        rest = ""
    return pieces + _split_words(rest)


def _split_words(text: str) -> list[str]:
    return _word_tokenizer().tokenize(text) if text else []


@functools.cache
def _word_tokenizer():
    # Importing nltk takes a second or two; English sets do not wait for it.
    from nltk.tokenize import NLTKWordTokenizer

    return NLTKWordTokenizer()


def _count_longest_run(left: list[str], right: list[str]) -> int:
    """Return the length of the longest run of pieces that both have."""
    longest, runs = 0, [0] * (len(right) + 1)
    for piece in left:
        # runs[i + 1]: the length of the common run that ends here and at right[i].
        runs = [0] + [
            runs[index] + 1 if piece == other else 0
            for index, other in enumerate(right)
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
    """Compare a prediction with all right answers and return the best score.

    Args:
        definition: how answers are compared.
        answers: the right ones; none for a question without an answer, where "" is
            right.
        prediction: the answer that is measured.

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
    pieces = definition.split(prediction)
    return float(exact), max(
        _compute_f1(definition, definition.split(answer), pieces) for answer in answers
    )


def _compute_f1(definition: Definition, left: list[str], right: list[str]) -> float:
    common = definition.count_common(left, right)
    # 2 * precision * recall / (precision + recall)
    return 2 * common / (len(left) + len(right)) if common else 0.0


def measure(
    definition: Definition, answers: Sequence[Sequence[str]], texts: Sequence[str]
) -> dict[str, float]:
    """Measure predictions as a data set's script does.

    Args:
        definition: how answers are compared.
        answers: the right answers to each question.
        texts: predictions, "" for no answer.

    Returns:
        "exact" and "f1" in percent. If some questions have no answer, also the same for
        questions with ("has_ans_...") and without one ("no_ans_..."), and the result of
        always saying "no answer" ("always_no_answer").
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
    evaluate-v2.0.py takes the null_diff of the last question that is answered; here the
    threshold is halfway between that and the next one, so that rounding decides
    nothing. If it is best to answer no question, it is one below the lowest.

    Args:
        definition: of F1.
        answers: the right answers to each question.
        best_texts: the best answer to each question, even if "no answer" scores higher.
        null_diffs: the score of "no answer" minus that of the best answer, in logits.
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
        # No threshold separates two questions with equal values.
        if gain > best_gain and following > here:
            best_gain, threshold = gain, (here + following) / 2
    return float(threshold)
