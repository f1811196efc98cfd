"""README and guides: commands, links, two languages alike."""

import json
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

FRONT_PAGES = ("README.md", "README_zh.md")
GUIDES = sorted(str(x.relative_to(REPOSITORY)) for x in REPOSITORY.glob("docs/**/*.md"))
PAGES = [*FRONT_PAGES, *GUIDES]
CORPUS = "data_prep/sample_corpus"
# Parses the command lines that it gets, each a list of arguments.
PARSE = """
import importlib, json, sys
from absl import flags
from data_prep import recipe_files
module, lines = json.load(sys.stdin)
importlib.import_module(module)
for line in lines:
    flags.FLAGS.unparse_flags()
    try:
        given = [module, *(word for word in line if word != "...")]
        flags.FLAGS(recipe_files.expand(given))
    except flags.Error as error:
        # A page may leave flags out, required ones too.
        if "..." in line and isinstance(error, flags.IllegalFlagValueError):
            continue
        print(" ".join(line), error, sep=": ")
    for name in flags.FLAGS:
        flags.FLAGS[name].unparse()
"""


def read(page: str) -> str:
    return (REPOSITORY / page).read_text(encoding="utf-8")


def find_code(page: str) -> list[str]:
    """Return the indented lines of code of a page, broken lines joined."""
    code = [x[4:] for x in read(page).splitlines() if x.startswith("    ")]
    return "\n".join(code).replace("\\\n", " ").splitlines()


def find_commands(pages: list[str]) -> dict[str, list[list[str]]]:
    """Return the arguments of all `python -m MODULE`, by module."""
    commands: dict = {}
    for page in pages:
        for line in find_code(page):
            found = re.search(r"python3? -m ((?:bert_cn|data_prep|tpu)\.\w+)(.*)", line)
            if not found:
                continue
            text = found[2].partition(" #")[0]
            for quote in "'\"":
                # The command stands inside quotes of another.
                if text.count(quote) % 2:
                    text = text.rpartition(quote)[0]
            words = shlex.split(text)
            if "--" in words and found[1].startswith("data_prep"):
                words = words[: words.index("--")]
            commands.setdefault(found[1], []).append(words)
    return commands


COMMANDS = find_commands(PAGES)


def test_commands_are_found():
    assert len(COMMANDS) > 10
    assert sum(map(len, COMMANDS.values())) > 30


@pytest.mark.parametrize("module", sorted(COMMANDS))
def test_commands_of_the_guides_have_flags_that_exist(module):
    lines = [[re.sub(r"\$\w+", "1", word) for word in x] for x in COMMANDS[module]]
    done = subprocess.run(
        [sys.executable, "-c", PARSE],
        input=json.dumps([module, lines]),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stdout


@pytest.mark.parametrize("page", PAGES)
def test_files_that_a_page_names_exist(page):
    names = re.findall(
        r"\b((?:configs|benchmarks|tests|docs)/[\w./-]+\.\w+)", read(page)
    )
    missing = {name for name in names if not (REPOSITORY / name).exists()}
    assert not {name for name in missing if "/NAME." not in name}


def find_anchors(page: pathlib.Path) -> set[str]:
    """Return the anchors of a page's headings as GitHub makes them."""
    heads = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)\s]+)\)|src(?:set)?=\"([^\"]+)\"", read(page))
    for link in (a or b for a, b in links):
        if link.startswith("http"):
            continue
        path, _, anchor = link.partition("#")
        target = (REPOSITORY / page).parent / path if path else REPOSITORY / page
        assert target.exists(), link
        if anchor and anchor not in ("only-light", "only-dark"):
            assert anchor in find_anchors(target), link


def test_guides_build_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict"]
    done = subprocess.run(
        [*command, "--site-dir", str(tmp_path)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        env={"NO_MKDOCS_2_WARNING": "1", "PATH": ""},
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    assert (tmp_path / "index.html").exists()


def test_front_page_is_short_and_the_same_in_both_languages():
    pages = [read(page) for page in FRONT_PAGES]
    for page in pages:
        assert len(page.splitlines()) <= 150
    assert find_code(FRONT_PAGES[0]) == find_code(FRONT_PAGES[1])
    for pattern in (r"^#+ ", r"^\| ", r"^- \*\*", r"srcset="):
        english, chinese = (len(re.findall(pattern, x, re.M)) for x in pages)
        assert english == chinese, pattern


@pytest.mark.parametrize("name", ["data", "pretraining", "is_it_learning", "domain"])
def test_guides_have_the_same_commands_in_both_languages(name):
    english, chinese = find_code(f"docs/{name}.md"), find_code(f"docs/zh/{name}.md")
    assert [x.replace("文件", "FILES") for x in chinese] == english
    heads = [
        len(re.findall(r"^## ", read(page), re.MULTILINE))
        for page in (f"docs/{name}.md", f"docs/zh/{name}.md")
    ]
    assert heads[0] == heads[1]


@pytest.mark.slow
def test_front_page_leads_from_text_to_a_filled_mask(run_command, tmp_path):
    """The commands of "From nothing", few steps, on the sample corpus."""
    vocabulary = tmp_path / "vocab.txt"
    done = run_command(
        "data_prep.build_vocab",
        f"--input_file={CORPUS}",
        f"--output_file={vocabulary}",
        "--vocab_size=3000",
    )
    assert done.returncode == 0, done.stderr
    # As many tokens as Google's vocabulary, and the recipe's model, have.
    tokens = vocabulary.read_text(encoding="utf-8").splitlines()
    unused = [f"[unused{number}]" for number in range(21128 - len(tokens))]
    vocabulary.write_text("\n".join([*tokens, *unused]) + "\n", encoding="utf-8")
    places = {
        "corpus/*.txt": f"{CORPUS}/*.txt",
        "chinese_L-12_H-768_A-12/vocab.txt": str(vocabulary),
        "out/": f"{tmp_path}/out/",
    }
    more = {
        "bert_cn.run_pretraining": ["--num_train_steps=3", "--max_eval_steps=1"],
        "data_prep.create_pretraining_data": ["--max_seq_length=64"],
    }
    lines = [x for x in find_code("README.md") if x.startswith("python -m")]
    begin = next(i for i, x in enumerate(lines) if "create_pretraining_data" in x)
    for line in lines[begin : begin + 4]:
        for there, here in places.items():
            line = line.replace(there, here)
        module, *arguments = shlex.split(line)[2:]
        done = run_command(module, *arguments, *more.get(module, []))
        assert done.returncode == 0, done.stderr
    assert module == "bert_cn.fill_mask"
    assert re.search(r"0\.\d+|\d %", done.stdout), done.stdout
