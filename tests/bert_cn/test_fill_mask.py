"""fill_mask as a user runs it."""

import subprocess
import sys

import pytest

from bert_cn.conversion import formats

COMMAND = "bert_cn.fill_mask"


@pytest.fixture(scope="module")
def folder(build_bert, tmp_path_factory):
    path = tmp_path_factory.mktemp("fill") / "tf1"
    formats.write_checkpoint(sure_bert(build_bert()), "tf1", str(path))
    return path


def sure_bert(bert):
    """A model that answers 北 first and 中 second, whatever it is asked."""
    for name, array in bert.weights.items():
        if name.startswith("cls/predictions"):
            array[:] = 0
    bias = bert.weights["cls/predictions/output_bias"]
    bias[bert.vocabulary.ids["北"]] = 10
    bias[bert.vocabulary.ids["中"]] = 8
    return bert


def test_fillers_are_printed_with_probabilities(run_command, folder):
    done = run_command(
        COMMAND,
        f"--checkpoint={folder}",
        "--top_k=2",
        "首都是[MASK]京。",
        "[MASK][MASK]",
    )

    assert done.returncode == 0, done.stderr
    # exp(10) / (exp(10) + exp(8) + 40) and exp(8) / (...).
    assert done.stdout.splitlines() == [
        "首都是[MASK]京。  (8 tokens)",
        "  [MASK]  1. 北  0.8794",
        "  [MASK]  2. 中  0.1190",
        "  -> 首都是北京。",
        "[MASK][MASK]  (4 tokens)",
        "  [MASK] 1  1. 北  0.8794",
        "  [MASK] 1  2. 中  0.1190",
        "  [MASK] 2  1. 北  0.8794",
        "  [MASK] 2  2. 中  0.1190",
        "  -> 北北",
    ]


def test_text_without_mask_is_refused(assert_refused, folder):
    assert_refused(
        COMMAND,
        f"--checkpoint={folder}",
        "首都是北京。",
        saying=("fill_mask: error: No [MASK] in '首都是北京。'",),
    )


def test_lines_of_standard_input_are_texts(folder):
    done = subprocess.run(
        [sys.executable, "-m", COMMAND, f"--checkpoint={folder}", "--top_k=1"],
        input="首都是[MASK]京。\n\n[MASK]国\n",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "首都是[MASK]京。  (8 tokens)"
    assert lines[3] == "[MASK]国  (4 tokens)"


def test_interactive_asks_on_after_a_mistake(folder):
    done = subprocess.run(
        [
            *(sys.executable, "-m", COMMAND, f"--checkpoint={folder}"),
            *("--interactive", "--joint", "--top_k=1"),
        ],
        input="首都\n[MASK][MASK]\n",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "No [MASK] in '首都'" in done.stderr
    assert "  -> 北北" in done.stdout
