import pytest

from data_prep.text import fields


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        (
            "天气很好。我们出去！好吗？好；走",
            ["天气很好。", "我们出去！", "好吗？", "好；", "走"],
        ),
        ("他说：“走吧。”我们走了……", ["他说：“走吧。”", "我们走了……"]),
        ("「真的？！」（对。）是", ["「真的？！」", "（对。）", "是"]),
        ('He said "go!" Then; ok?', ['He said "go!"', "Then;", "ok?"]),
        ("第一行\n第二行\r\n\n  第三行 ", ["第一行", "第二行", "第三行"]),
        ("3.5元", ["3.5元"]),
        ("。", ["。"]),
    ],
)
def test_sentences_end_after_marks_and_closing_quotes(text, sentences):
    assert fields.break_into_sentences(text).split("\n") == sentences


def test_several_fields_are_joined_and_missing_values_left_out():
    content = {"title": "题", "body": "文。尾", "none": None}
    names = ("title", "none", "body")
    assert fields.join_fields(content, names, "here") == "题\n文。\n尾"
    with pytest.raises(ValueError, match="here has no field 'x', only body, none, tit"):
        fields.join_fields(content, ("title", "x"), "here")
    with pytest.raises(ValueError, match="here has no text but NoneType in the field"):
        fields.join_fields(content, ("none",), "here")


def test_thousands_of_names_are_not_all_shown():
    content = dict.fromkeys((f"{number:05d}" * 20 for number in range(9000)), "")
    with pytest.raises(ValueError, match="and 8992 more") as caught:
        fields.join_fields(content, ("text",), "here")
    assert len(str(caught.value)) < 500
