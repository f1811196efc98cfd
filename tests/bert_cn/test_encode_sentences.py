"""encode_sentences as a user runs it."""

import os

import numpy as np
import pytest

from bert_cn.conversion import formats, pretrained
from bert_cn.finetuning.sentences import encoding

COMMAND = "bert_cn.encode_sentences"
# Out of order by length; one is blank, one stands twice, one is cut to 8 tokens.
LINES = ["国", "使用语言模型来预测下一个词", "", "北京是中国的首都", "国", "中国"]


@pytest.fixture(scope="module")
def folder(build_bert, tmp_path_factory):
    path = tmp_path_factory.mktemp("encoding")
    options = pretrained.WriteOptions(normalize=True, max_seq_length=8)
    formats.write_checkpoint(
        build_bert(), "sentence_transformers", str(path / "best"), options=options
    )
    (path / "lines.txt").write_text("\n".join(LINES) + "\n", encoding="utf-8")
    (path / "empty.txt").write_text("")
    return path


@pytest.fixture(scope="module")
def run(run_command, folder):
    def run(*flags):
        usual = (f"--checkpoint={folder}/best", f"--input_file={folder}/lines.txt")
        return run_command(
            COMMAND, *usual, *(each.replace("{0}", str(folder)) for each in flags)
        )

    return run


def test_vectors_are_those_of_sentence_transformers_in_the_order_of_lines(run, folder):
    pytest.importorskip("torch", reason="pip install 'bert_cn[torch]'")
    library = pytest.importorskip(
        "sentence_transformers", reason="pip install 'bert_cn[torch]'"
    )
    done = run("--output_file={0}/vectors.npy", "--batch_size=2")
    assert done.returncode == 0, done.stderr
    assert "lines.txt: 6 lines, 2 of them cut to 8 tokens; 0.00% of the" in done.stdout
    assert "vectors.npy, float32 [6, 12]" in done.stdout

    vectors = np.load(folder / "vectors.npy")
    model = library.SentenceTransformer(str(folder / "best"), device="cpu")
    np.testing.assert_allclose(vectors, model.encode(LINES), atol=1e-5)
    np.testing.assert_allclose(vectors[0], vectors[4], atol=1e-6)
    assert np.abs(vectors[0] - vectors[1]).max() > 0.01
    assert not [name for name in os.listdir(folder) if "partial" in name]


def test_half_precision_is_written_and_neighbours_are_printed(run, folder):
    done = run(
        *("--output_file={0}/half.npy", "--dtype=float16", "--nearest=2"),
        *("--query=国", "--query=北京是中国的首都"),
    )
    assert done.returncode == 0, done.stderr
    assert np.load(folder / "half.npy").dtype == np.float16
    printed = done.stdout[done.stdout.index("国\n") :].splitlines()
    assert printed[:3] == ["国", "  1.0000  国  (line 1)", "  1.0000  国  (line 5)"]
    assert printed[3:5] == [
        "北京是中国的首都",
        "  1.0000  北京是中国的首都  (line 4)",
    ]
    assert len(printed) == 6


def test_failed_write_leaves_the_earlier_file(tmp_path):
    path = tmp_path / "vectors.npy"
    path.write_bytes(b"earlier")
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        encoding.write_vectors(str(path), np.array([None]))
    assert path.read_bytes() == b"earlier"
    assert os.listdir(tmp_path) == ["vectors.npy"]


REFUSED = {
    "no checkpoint": (("--checkpoint=",), "--checkpoint is empty: name the folder"),
    "no input": (("--input_file=",), "--input_file is empty: name a file with"),
    "nothing to do": (
        (),
        "Nothing to do: name a file for the vectors by --output_file",
    ),
    "empty query": (("--query=",), "--query is empty: write a sentence, or leave it"),
    "empty file": (
        ("--input_file={0}/empty.txt", "--query=国"),
        "empty.txt is empty: put a sentence on each line.",
    ),
    "missing file": (
        ("--input_file={0}/none.txt", "--query=国"),
        "none.txt cannot be read (its folder holds best, empty.txt",
    ),
    "missing folder": (
        ("--output_file={0}/none/vectors.npy",),
        "there is no folder '{0}/none'; make it, or name another.",
    ),
    "no room": (
        ("--query=国", "--max_seq_length=2"),
        "--max_seq_length=2 leaves no token beside [CLS] and [SEP]: raise it.",
    ),
    "too few positions": (
        ("--query=国", "--max_seq_length=17"),
        "--max_seq_length=17 is over the model's 16 positions",
    ),
    "unknown characters": (
        ("--query=Жэ",),
        "--query: 100.00% of the tokens are [UNK], which the model cannot tell apart",
    ),
    "no checkpoint there": (
        ("--checkpoint={0}", "--query=国"),
        "No checkpoint is recognised at",
    ),
}


@pytest.mark.parametrize(("flags", "message"), REFUSED.values(), ids=REFUSED)
def test_bad_command_line_is_refused(flags, message, run, folder):
    done = run(*flags)
    assert done.returncode == 1, done.stderr
    assert message.replace("{0}", str(folder)) in done.stderr
    assert "Traceback" not in done.stderr
