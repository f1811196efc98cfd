import math

import pytest

from bert_cn.finetuning.reading import metrics
from bert_cn.finetuning.reading.metrics import CMRC, SQUAD_1, SQUAD_2


@pytest.mark.parametrize(
    ("definition", "answers", "prediction", "exact", "f1"),
    [
        (SQUAD_1, ["The Cat, sat!"], "cat sat", 1, 1),
        # cat sat | sat down cat: both words are shared, 2 * 2 / (2 + 3).
        (SQUAD_1, ["the cat sat"], "sat down a cat", 0, 4 / 5),
        # The best of several answers; a word counts as often as both have it.
        (SQUAD_1, ["x", "no no yes"], "no no no", 0, 4 / 6),
        # Without the article nothing is left: equal, but 1.1 finds no shared word,
        (SQUAD_1, ["the"], "The", 1, 0),
        # and 2.0 takes it for a question without an answer.
        (SQUAD_2, ["the"], "The", 1, 1),
        (SQUAD_2, [], "", 1, 1),
        (SQUAD_2, [], "cat", 0, 0),
        (SQUAD_2, ["cat"], "", 0, 0),
        # As `\b` sees it, "a" in "a_b" is no word of its own.
        (SQUAD_2, ["a-b"], "ab", 1, 1),
        (CMRC, ["光荣和ω-force"], "光荣和Ω－Force。", 1, 1),
        # 北京 is the longest run of 4 and 6 characters: 2 * 2 / 10.
        (CMRC, ["北京大学"], "在北京的大学", 0, 4 / 10),
        # 1963 年 | 1963 年 12 月: words outside Chinese are one unit, 2 * 2 / (2 + 4).
        (CMRC, ["1963年"], "1963年12月", 0, 4 / 6),
        # "1963 / 64" loses the stroke and its halves are joined, as the script does.
        (CMRC, ["1963/64年"], "196364年", 1, 1),
        # new york . | york: nltk sets the last full stop apart. 2 * 1 / (3 + 1).
        (CMRC, ["New York."], "York", 0, 2 / 4),
        # "…" is not in the list of punctuation; the script means to have it there.
        (CMRC, ["北京"], "北京…", 0, 4 / 5),
        (CMRC, [], "", 1, 1),
        (CMRC, [], "北", 0, 0),
    ],
)
def test_scores_are_those_of_the_scripts(definition, answers, prediction, exact, f1):
    found = metrics.score(definition, answers, prediction)
    assert found == (exact, pytest.approx(f1))


def test_measure_sets_questions_without_an_answer_apart():
    answers = [["a b c"], ["x"], [], [], []]
    texts = ["b c", "", "", "y", ""]

    values = metrics.measure(SQUAD_2, answers, texts)

    # "a" is an article: b c is right. Right without an answer: two of three.
    assert values == {
        "exact": pytest.approx(100 * 3 / 5),
        "f1": pytest.approx(100 * 3 / 5),
        "has_ans_exact": 50,
        "has_ans_f1": 50,
        "no_ans_exact": pytest.approx(200 / 3),
        "no_ans_f1": pytest.approx(200 / 3),
        "always_no_answer": 60,
    }
    assert metrics.measure(SQUAD_1, [["x"], ["y"]], ["x", "z y"]) == {
        "exact": 50,
        "f1": pytest.approx(100 * (1 + 2 / 3) / 2),
    }


def test_threshold_is_where_the_best_f1_on_dev_is():
    # By null_diff: -2 right (+1), 0 there is none (-1), 1 right (+1), 1 half (+2/3),
    # 4 there is none (-1). Sums 1, 0, (1), 1 2/3, 2/3: the best lies between 1 and 4.
    answers = [["x"], [], ["y"], ["z"], []]
    texts = ["x", "no", "y", "z w", "no"]
    null_diffs = [-2.0, 0.0, 1.0, 1.0, 4.0]
    assert metrics.find_threshold(SQUAD_2, answers, texts, null_diffs) == 2.5
    # The order of the questions does not matter.
    assert 2.5 == metrics.find_threshold(
        SQUAD_2, answers[::-1], texts[::-1], null_diffs[::-1]
    )


@pytest.mark.parametrize(
    ("answers", "texts", "threshold"),
    [
        # Best to answer none: one below the lowest.
        ([[], []], ["x", "y"], -4.0),
        # Best to answer all: one above the highest.
        ([["x"], ["y"]], ["x", "y"], 6.0),
        # Wrong answers win nothing.
        ([["x"], []], ["y", "z"], -4.0),
    ],
)
def test_threshold_at_the_ends(answers, texts, threshold):
    found = metrics.find_threshold(SQUAD_2, answers, texts, [-3.0, 5.0])
    assert found == threshold
    assert math.isfinite(found)


def test_definition_follows_the_language():
    chinese, english = ["北京 is 首都，"], ["Paris 巴黎"]
    assert metrics.choose_definition(chinese, False) is CMRC
    assert metrics.choose_definition(chinese, True) is CMRC
    assert metrics.choose_definition(english, False) is SQUAD_1
    assert metrics.choose_definition(english, True) is SQUAD_2
