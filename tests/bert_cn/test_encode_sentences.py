import numpy as np
import pytest

from bert_cn.conversion import formats, pretrained

MODULE = "bert_cn.encode_sentences"
LINES = ["国中国北京首都是", "", "使用", "语言模型来预测下一个词的。" * 4, "国", "使用"]


@pytest.fixture
def folder(build_bert, tmp_path):
    """A small random model that cuts sentences to 12 tokens."""
    path = tmp_path / "model"
    options = pretrained.WriteOptions(max_seq_length=12, pooling="max")
    formats.write_checkpoint(
        build_bert(), "sentence_transformers", str(path), options=options
    )
    return path


@pytest.fixture
def lines(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_bytes("\r\n".join(LINES).encode() + b"\n")
    return path


def test_vectors_are_those_of_sentence_transformers_in_the_order_of_lines(
    run_command, folder, lines, tmp_path
):
    library = pytest.importorskip(
        "sentence_transformers", reason="pip install 'bert_cn[torch]'"
    )
    done = run_command(
        MODULE,
        f"--checkpoint={folder}",
        f"--input_file={lines}",
        f"--output_file={tmp_path / 'vectors.npy'}",
        "--batch_size=2",
    )
    assert done.returncode == 0, done.stderr
    assert "1 of 6 lines are cut to 12 tokens." in done.stdout
    vectors = np.load(tmp_path / "vectors.npy")
    assert vectors.dtype == np.float32
    theirs = library.SentenceTransformer(str(folder), device="cpu").encode(LINES)
    np.testing.assert_allclose(vectors, theirs, atol=1e-4)
    assert {path.name for path in tmp_path.iterdir()} == {
        "model",
        "lines.txt",
        "vectors.npy",
    }


def test_nearest_lines_of_a_sentence_are_printed(run_command, folder, lines, tmp_path):
    done = run_command(
        MODULE,
        f"--checkpoint={folder}",
        f"--input_file={lines}",
        f"--output_file={tmp_path / 'half.npy'}",
        "--dtype=float16",
        "--query=使用",
        "--nearest=3",
    )
    assert done.returncode == 0, done.stderr
    assert np.load(tmp_path / "half.npy").dtype == np.float16
    shown = done.stdout.split("使用\n", 1)[1].splitlines()
    assert shown[0] == "  1.0000  line 3: 使用"
    assert shown[1].startswith("  1.0000  line 6: 使用")
    assert len(shown) == 3


@pytest.mark.parametrize(
    ("flags", "saying"),
    [
        ((), ("Nothing to do: pass --output_file",)),
        (("--output_file={}/a.bin",), ("must end with .npy",)),
        (("--output_file={}/old.npy",), ("old.npy exists", "--overwrite")),
        (("--query=国", "--max_seq_length=2"), ("leaves no room for text",)),
        (("--query=国", "--max_seq_length=999"), ("over the model's", "lower it")),
        (("--query=国", "--input_file={}/empty.txt"), ("holds no line",)),
    ],
)
def test_what_cannot_work_is_refused(
    assert_refused, folder, lines, tmp_path, flags, saying
):
    (tmp_path / "old.npy").write_bytes(b"old")
    (tmp_path / "empty.txt").write_text("")
    assert_refused(
        MODULE,
        f"--checkpoint={folder}",
        f"--input_file={lines}",
        *(flag.format(tmp_path) for flag in flags),
        saying=saying,
    )
    assert (tmp_path / "old.npy").read_bytes() == b"old"
