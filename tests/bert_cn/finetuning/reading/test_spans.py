import numpy as np
import pytest
import scipy.special

from bert_cn.finetuning.reading import spans

CONTEXT = "北京 是\u3000首都。"  # Tokens: 北 京 是 首 都 。
CHAR_STARTS = np.array([0, 1, 3, 5, 6, 7])
CHAR_ENDS = CHAR_STARTS + 1
# Tokens 0 to 3, and 2 to 5: each of 2 and 3 sees more in one of them. Left and right
# of token 2 are 2 and 1 tokens, then 0 and 3; of token 3, 3 and 0, then 1 and 2.
FIRST = spans.Window(
    0,
    np.array([1.0, 4.0, 2.0, 90.0], np.float32),
    np.array([9.0, 0.0, 3.0, 1.0], np.float32),
    3.0,
    1.0,
)
SECOND = spans.Window(
    2,
    np.array([80.0, 2.5, 1.0, 0.0], np.float32),
    np.array([70.0, 0.0, 3.5, 0.0], np.float32),
    1.0,
    1.5,
)


def predict(n_best_size, max_answer_length):
    return spans.predict(
        CONTEXT,
        CHAR_STARTS,
        CHAR_ENDS,
        [FIRST, SECOND],
        n_best_size,
        max_answer_length,
    )


def test_best_spans_are_slices_of_the_context():
    found = predict(n_best_size=3, max_answer_length=3)

    # Starts 90 and 80 stand where their window sees less. 北 with itself 1 + 9, 京 是
    # 4 + 3, 首都 2.5 + 3.5; 京 是 首 (4 + 1) is fourth. White space between tokens
    # stays.
    assert [(span.text, span.score) for span in found.spans] == [
        ("北", 10.0),
        ("京 是", 7.0),
        ("首都", 6.0),
    ]
    assert [CONTEXT[span.start : span.end] for span in found.spans] == [
        span.text for span in found.spans
    ]
    # The window with the lower score of [CLS] counts: 2.5, not 4.
    assert found.null.score == 2.5
    assert found.null_diff == -7.5
    assert found.best_text == "北"


def test_full_width_space_inside_an_answer_stays():
    found = predict(n_best_size=50, max_answer_length=6)
    assert "京 是\u3000首" in [span.text for span in found.spans]


def test_longer_answers_than_the_maximum_are_not_predicted():
    texts = [span.text for span in predict(50, 1).spans]
    # One token each: 10, 5, 4.5, 4, 2.5 and 0.
    assert [text for text in texts if len(text) > 1] == []
    assert texts[:3] == ["北", "是", "都"]


def test_threshold_decides_for_no_answer():
    found = predict(1, 3)
    assert found.decide(None) == "北"
    assert found.decide(-7.5) == "北"
    assert found.decide(-7.51) == ""


def test_n_best_entries_are_googles():
    entries = predict(20, 3).describe(with_null=True, n_best_size=2)

    assert [entry["text"] for entry in entries] == ["北", "京 是", ""]
    shares = scipy.special.softmax([10.0, 7.0, 2.5])
    assert [entry["probability"] for entry in entries] == pytest.approx(shares.tolist())
    assert entries[1] == {
        "text": "京 是",
        "start": 1,
        "end": 4,
        "start_logit": 4.0,
        "end_logit": 3.0,
        "probability": pytest.approx(shares[1]),
    }
    without = predict(20, 3).describe(with_null=False, n_best_size=2)
    assert [entry["text"] for entry in without] == ["北", "京 是"]


def test_repeated_text_is_listed_once_with_its_best_score():
    ones = np.zeros(2, np.float32)
    window = spans.Window(0, ones + [1, 0], ones, 0.0, 0.0)
    found = spans.predict("国国", np.array([0, 1]), np.array([1, 2]), [window], 9, 1)
    assert [(span.text, span.start, span.score) for span in found.spans] == [
        ("国", 0, 1.0)
    ]


def test_context_without_tokens_has_no_answer():
    nothing = np.zeros(0, np.float32)
    window = spans.Window(0, nothing, nothing, 0.5, 0.5)
    found = spans.predict(" ", nothing, nothing, [window], 20, 30)
    assert found.best_text == ""
    assert found.null_diff == 1 + 1e6
    entries = found.describe(with_null=False, n_best_size=20)
    assert [(entry["text"], entry["probability"]) for entry in entries] == [("", 1)]


def test_every_pair_of_start_and_end_is_looked_at():
    rng = np.random.default_rng(0)
    length, longest = 40, 7
    window = spans.Window(
        0,
        rng.normal(size=length).astype(np.float32),
        rng.normal(size=length).astype(np.float32),
        0.0,
        0.0,
    )
    text = "".join(chr(ord("一") + number) for number in range(length))
    offsets = np.arange(length)
    found = spans.predict(text, offsets, offsets + 1, [window], 25, longest)
    pairs = sorted(
        (
            (float(window.start_logits[a]) + float(window.end_logits[b]), a, b)
            for a in range(length)
            for b in range(a, min(length, a + longest))
        ),
        reverse=True,
    )
    assert [(span.start, span.end) for span in found.spans] == [
        (first, last + 1) for _, first, last in pairs[:25]
    ]
