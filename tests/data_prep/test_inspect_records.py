import re

import pytest
import tensorflow as tf

from data_prep.records import render, schema, viewer
from data_prep.text import segmentation

COMMAND = "data_prep.inspect_records"
# 使用 语言 模型 probability 。: [MASK] for 语, 言 replaced by 。, 型 kept.
TOKENS = "[CLS] 使 用 [MASK] 。 模 型 [SEP] pro ##ba 。 [SEP] [PAD]".split()


@pytest.fixture
def vocabulary(make_vocabulary):
    return make_vocabulary(*"使用语言模型。", "pro", "##ba")


@pytest.fixture
def write_records(tmp_path, vocabulary):
    def write(names="google", **changes) -> str:
        values = {
            schema.INPUT_IDS: [vocabulary.ids[token] for token in TOKENS],
            schema.INPUT_MASK: [1] * 12 + [0],
            schema.SEGMENT_IDS: [0] * 8 + [1] * 4 + [0],
            schema.MASKED_LM_POSITIONS: [3, 4, 6, 0],
            schema.MASKED_LM_IDS: [vocabulary.ids[t] for t in "语言型"] + [0],
            schema.MASKED_LM_WEIGHTS: [1.0, 1.0, 1.0, 0.0],
            schema.NEXT_SENTENCE_LABELS: [1],
            **changes,
        }
        example = tf.train.Example()
        for name, row in values.items():
            feature = example.features.feature[schema.RECORD_NAMES[names][name]]
            if name in schema.FLOAT_FEATURES:
                feature.float_list.value.extend(row)
            else:
                feature.int64_list.value.extend(row)
        path = str(tmp_path / "some.tfrecord")
        with tf.io.TFRecordWriter(path) as writer:
            writer.write(example.SerializeToString())
        return path

    return write


def view(path, vocabulary):
    segmenter = segmentation.build_segmenter("rjieba")
    (sequence,) = viewer.read_sequences(path, 3, vocabulary, segmenter)
    return sequence


@pytest.mark.parametrize("names", ["google", "v2"])
def test_lines_show_words_labels_and_sides(write_records, vocabulary, names):
    sequence = view(write_records(names), vocabulary)
    assert list(render.write_lines(sequence, 7, 80, False)) == [
        "7  12 tokens, 3 masked, next_sentence_labels 1 (random next)",
        "  A [CLS] 使用 {语}{言|。} 模{型=} [SEP]",
        "  B proba 。 [SEP]",
    ]


def test_colours_take_no_columns(write_records, vocabulary):
    sequence = view(write_records(), vocabulary)
    plain = re.compile("\033\\[[0-9]*m")
    lines = list(render.write_lines(sequence, 1, 16, True))
    assert [plain.sub("", line) for line in lines[1:5]] == [
        "  A [CLS] 使用",  # 14 columns; the next word takes 11 more.
        "    {语}{言|。}",
        "    模{型=}",
        "    [SEP]",
    ]
    assert "\033[31m{语}\033[0m" in lines[2]
    assert "\033[33m{言|。}\033[0m" in lines[2]
    assert "\033[32m{型=}\033[0m" in lines[3]


def test_fates_are_counted(write_records, vocabulary):
    sequence = view(write_records(), vocabulary)
    expected = (
        "6 masked pieces: 33.3 % [MASK], 33.3 % another token, 33.3 % the label itself"
    )
    assert list(render.write_all([sequence] * 2, 1, 80, False))[-1] == expected
    assert f"<h2>{expected}</h2>" in render.write_html([sequence] * 2, "a")


def test_labels_mean_what_the_records_task_says(write_records, vocabulary):
    segmenter = segmentation.build_segmenter("none")
    (sequence,) = viewer.read_sequences(
        *(write_records(), 1, vocabulary, segmenter), sentence_task="sop"
    )
    assert render.describe(sequence).endswith("next_sentence_labels 1 (swapped)")


def test_wide_characters_count_twice():
    assert render.count_columns("语言ab，") == 8
    assert render.count_columns("e\u0301") == 1


def test_page_escapes_and_needs_no_other_file(write_records, vocabulary):
    page = render.write_html([view(write_records(), vocabulary)], "<a>")
    assert "<title>&lt;a&gt;</title>" in page
    assert '<ruby class="masked">[M]<rt>语</rt></ruby>' in page
    assert '<ruby class="replaced">。<rt>言</rt></ruby>' in page
    assert '<ruby class="kept">型<rt>型</rt></ruby>' in page
    assert "http" not in page
    assert "src=" not in page


def test_record_without_masks_is_shown(write_records, vocabulary):
    path = write_records(masked_lm_weights=[0.0] * 4)
    sequence = view(path, vocabulary)
    assert sequence.num_masked == 0
    assert [word[0].text for word in sequence.sides[0][1][:2]] == ["[CLS]", "使"]


def test_later_record_is_shown_under_its_number(
    run_command, write_records, write_vocabulary
):
    vocab_file = write_vocabulary(*"使用语言模型。", "pro", "##ba")
    path = write_records()
    with open(path, "rb") as file:
        record = file.read()
    with open(path, "ab") as file:
        file.write(record * 2)
    flags = (f"--vocab_file={vocab_file}", "--num_records=5")
    done = run_command(COMMAND, path, *flags, "--first_record=3")
    assert done.returncode == 0, done.stderr
    assert re.findall("^(\\d+)  12 tokens", done.stdout, re.MULTILINE) == ["3"]
    done = run_command(COMMAND, path, *flags, "--first_record=4")
    assert "holds no record 4: name another one" in done.stderr


def test_id_outside_the_vocabulary_is_refused(write_records, make_vocabulary):
    small = make_vocabulary("使")
    with pytest.raises(ValueError, match=r"holds id 13, but .* has 6 tokens"):
        view(write_records(), small)


def test_text_file_is_refused(tmp_path, vocabulary):
    path = tmp_path / "text.txt"
    path.write_text("no records here, only some text")
    with pytest.raises(ValueError, match="is not a TFRecord file"):
        view(str(path), vocabulary)


def test_empty_file_is_refused(tmp_path, vocabulary):
    path = tmp_path / "empty.tfrecord"
    path.touch()
    with pytest.raises(ValueError, match="holds no record"):
        view(str(path), vocabulary)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (b"", r"without input_ids \(found: nothing\)"),
        (b"\xff\xff", "are not tf.train.Example"),
    ],
)
def test_other_records_are_refused(tmp_path, vocabulary, record, message):
    path = str(tmp_path / "other.tfrecord")
    with tf.io.TFRecordWriter(path) as writer:
        writer.write(record)
    with pytest.raises(ValueError, match=message):
        view(path, vocabulary)


def test_command_prints_without_colour_to_a_pipe(
    run_command, write_records, write_vocabulary
):
    vocab_file = write_vocabulary(*"使用语言模型。", "pro", "##ba")
    done = run_command(COMMAND, write_records(), f"--vocab_file={vocab_file}")
    assert done.returncode == 0, done.stderr
    assert "  A [CLS] 使用 {语}{言|。} 模{型=} [SEP]" in done.stdout
    assert "\033" not in done.stdout
    assert done.stderr == ""


def test_command_writes_a_page(run_command, write_records, write_vocabulary, tmp_path):
    vocab_file = write_vocabulary(*"使用语言模型。", "pro", "##ba")
    page = tmp_path / "page.html"
    done = run_command(
        COMMAND, write_records(), f"--vocab_file={vocab_file}", f"--html={page}"
    )
    assert done.returncode == 0, done.stderr
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_command_refuses_bad_input(assert_refused, write_records):
    assert_refused(COMMAND, saying=("Name one record file, found 0",))
    assert_refused(COMMAND, "/none", saying=("'/none' does not exist",))
    path = write_records()
    assert_refused(COMMAND, path, saying=("No manifest beside",))
    assert_refused(COMMAND, path, "--num_records=0", saying=("--num_records=0",))


def test_words_are_those_of_the_records_dictionary_and_simplified_text(
    run_command, tmp_path, write_vocabulary
):
    text = "使用全詞掩碼模型預訓練\n資訊科技的頭髮\n"
    (tmp_path / "text.txt").write_text(text * 20, encoding="utf-8")
    (tmp_path / "words.txt").write_text("全詞掩碼模型 9\n", encoding="utf-8")
    done = run_command(
        "data_prep.create_pretraining_data",
        *(f"--input_file={tmp_path}/text.txt", f"--user_dict={tmp_path}/words.txt"),
        *(f"--output_file={tmp_path}/t.tfrecord", "--do_whole_word_mask"),
        f"--vocab_file={write_vocabulary(*sorted(set(text) - {chr(10)}))}",
        *("--sentence_task=none", "--max_seq_length=64"),
    )
    assert done.returncode == 0, done.stderr
    shown = run_command(COMMAND, f"{tmp_path}/t.tfrecord", "--num_records=20")
    assert shown.returncode == 0, shown.stderr
    assert shown.stderr == ""
    words = re.sub(r"[|=][^}]*\}|[{}]", "", shown.stdout).split()
    assert "全詞掩碼模型" in words
    assert "資訊科技" in words
    assert "頭髮" in words

    (tmp_path / "words.txt").unlink()
    lost = run_command(COMMAND, f"{tmp_path}/t.tfrecord")
    assert lost.returncode == 0, lost.stderr
    assert "Words are found without --user_dict: --user_dict=" in lost.stderr
