"""Small data sets, a model's description, and commands that are not run."""

import json

import pytest

from bert_cn.suite import model, results, runs


@pytest.fixture
def data_dir(tmp_path):
    """MRPC, CoLA, ChnSentiCorp and SQuAD 2.0 in a few rows, as they are published."""
    folder = tmp_path / "data"
    mrpc = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n"
    rows = [f"{label}\t1\t2\tA {label}{n}\tB" for n, label in enumerate("1101")]
    _write(folder / "glue" / "MRPC" / "train.tsv", mrpc + "\n".join(rows))
    _write(folder / "glue" / "MRPC" / "dev.tsv", mrpc + "\n".join(rows))
    cola = [f"x\t{label}\t\tText {n}" for n, label in enumerate("11101")]
    _write(folder / "glue" / "CoLA" / "train.tsv", "\n".join(cola))
    _write(folder / "glue" / "CoLA" / "dev.tsv", "\n".join(cola))
    names = "label\ttext_a\n"
    _write(folder / "chnsenticorp" / "train.tsv", names + "1\t好\n0\t不好\n")
    _write(folder / "chnsenticorp" / "dev.tsv", names + "1\t很好\n0\t坏\n0\t差\n")
    # Three of five are new; of these two are 0, of all five three are 1.
    test = "1\t好\n1\t好\n0\t坏\n0\t很坏\n1\t真好\n"
    _write(folder / "chnsenticorp" / "test.tsv", names + test)
    squad = {
        "data": [
            {
                "paragraphs": [
                    {
                        "context": "Cat b.",
                        "qas": [
                            _ask("1", [{"text": "Cat", "answer_start": 0}]),
                            *(_ask(name, []) for name in "23"),
                        ],
                    }
                ]
            }
        ]
    }
    for name in ("train-v2.0.json", "dev-v2.0.json"):
        _write(folder / "squad" / name, json.dumps(squad))
    return folder


def _write(path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.rstrip("\n") + "\n", encoding="utf-8")


def _ask(name: str, answers: list) -> dict:
    impossible = not answers
    return {
        "id": name,
        "question": "What?",
        "answers": answers,
        "is_impossible": impossible,
    }


@pytest.fixture
def described():
    """A model whose vocabulary has no capitals though it keeps case."""
    return model.Model("{}\n", b"[PAD]\n", False, False, 3_200_000, "abc")


@pytest.fixture
def row(described):
    return model.build_row("tiny", described, "out/tiny", "", "")


@pytest.fixture
def make_runner():
    """Build a runner that writes results instead of training."""

    def make(values: dict[str, float], commands: list, code: int = 0, lines=()):
        def run(command, show) -> int:
            commands.append(list(command))
            for line in lines:
                show(line)
            flags = dict(each.split("=", 1) for each in command if "=" in each)
            folder = flags["--output_dir"]
            if code == 0:
                with open(f"{folder}/eval_results.txt", "w") as file:
                    file.writelines(f"{k} = {v}\n" for k, v in values.items())
            return code

        return run

    return make


@pytest.fixture
def make_result():
    """Build a finished run's result."""

    def make(row, task, seed, values, baselines, minutes=1.0):
        identity = {
            "command": "bert_cn.run_classifier",
            "flags": ["--learning_rate=2e-5", f"--random_seed={seed}"],
            "model_sha256": "abc",
            "data_sha256": "def",
        }
        return results.Result(row, task, seed, identity, values, baselines, minutes)

    return make


@pytest.fixture
def seeds():
    return runs.list_seeds(2)
