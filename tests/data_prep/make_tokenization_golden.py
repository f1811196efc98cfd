"""Make golden/hard_lines.json: hard lines and google-research/bert's ids for them.

Google's tokenizer is published on PyPI as bert-tensorflow; its other modules do not
import under TensorFlow 2, tokenization.py does. To make the file again:

    pip download --no-deps bert-tensorflow==1.0.4
    unzip bert_tensorflow-1.0.4-py2.py3-none-any.whl 'bert/*' -d bert_tensorflow
    python tests/data_prep/make_tokenization_golden.py bert_tensorflow/bert

With --vocab_file and more arguments (text or JSON files) it instead compares
data_prep's tokenizer with Google's on each of their lines, cased and uncased.
"""

import argparse
import importlib.util
import json
import pathlib
import sys

from absl import flags

GOLDEN = pathlib.Path(__file__).parent / "golden"

HARD_LINES = (
    "",
    "   ",
    "使用语言模型来预测下一个词的probability。",
    "soft\u00adhyphen",
    "zero\u200bwidth \u200d joiner a\u200db \ufeffmark",
    "replacement \ufffd char a\ufffdb",
    "nul\x00 bell\x07 esc\x1b[0m vt\x0bff\x0c fs\x1c us\x1f nel\x85",
    "２０２１年ＡＢＣ，全角！",
    "cafe\u0301 café CAFÉ naïve Ångström Å",
    "\u0301lone accent 模\u0301型",
    "İstanbul ıI ŞĞ",
    "ΣΑΣ Σ ΟΔΟΣ. ΟΔΟΣa σς",
    "ﬁ ﬂ ß ẞ ǅ",
    "ab\u0345 ᾳ ᾼ",
    "한국어 가각힣",
    "がぎぐ パピプ カタカナ ｶﾞ",
    "𠀀𪛖 𪜀 𫝀 𫠠 豈更 丽",
    "😀👨\u200d👩\u200d👧 🏳️ ☃️",
    "private \ue000 use \U000f0000",
    "a" * 199 + " " + "a" * 200 + " " + "a" * 201,
    "é" * 200 + " " + "e\u0301" * 201,
    "tab\there\u3000ideographic\u00a0nbsp\u2003em\u2028line\u2029para\rcr",
    "[MASK] [CLS] [SEP] [UNK] [PAD] [unused1] <S> <T>",
    "[MASK]模型[SEP]",
    "don't stop-me $5.00 50% a_b ~x~ ^y `z` |",
    "“引号”‘单’—…《书》、。",
    "¿qué? ¡sí! §1 ¶ † · •",
    "; ` ´ ΄ K Ω Å",
    "1e10 3.14 2.4km 1-2 12:30 C++ C# .NET",
    "http://example.com/a?b=c&d=e#f user@example.com",
    "क्षि नमस्ते ไทย עִבְרִית العَرَبِيَّة",
    "\u0f71\u0f72 \u1037 \u302e\u302f \u0bd7",
    "unaffable UNAFFABLE prob probability proba",
    "##ba ## # ###",
)


def main() -> None:
    """Write the golden file, or compare files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("package", help="folder with Google's tokenization.py")
    parser.add_argument("files", nargs="*", help="text files to compare instead")
    parser.add_argument("--vocab_file", default=str(GOLDEN / "vocab.txt"))
    arguments = parser.parse_intermixed_args()
    google = load_google(arguments.package)
    if arguments.files:
        compare(google, arguments.vocab_file, arguments.files)
        return
    cases = []
    for line in HARD_LINES:
        case = {"line": line}
        for name, lower in (("cased", False), ("uncased", True)):
            tokenizer = google.FullTokenizer(arguments.vocab_file, do_lower_case=lower)
            case[name] = tokenizer.convert_tokens_to_ids(tokenizer.tokenize(line))
        cases.append(case)
    text = ",\n".join(json.dumps(case) for case in cases)
    (GOLDEN / "hard_lines.json").write_text(f"[\n{text}\n]\n", encoding="ascii")


def load_google(package: str):
    """Import Google's tokenization.py by its path."""
    path = pathlib.Path(package) / "tokenization.py"
    spec = importlib.util.spec_from_file_location("google_tokenization", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    flags.FLAGS([sys.argv[0]])  # It reads one flag, which is off by default.
    return module


def compare(google, vocab_file: str, files: list[str]) -> None:
    """Print for each file how many lines are equal."""
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
    from data_prep.text import tokenization, vocab

    vocabulary = vocab.load_vocabulary(vocab_file)
    for lower in (False, True):
        theirs = google.FullTokenizer(vocab_file, do_lower_case=lower)
        ours = tokenization.Tokenizer(vocabulary, lower)
        for name in files:
            lines = read_lines(name)
            result = ours.tokenize(lines)
            equal = 0
            for number, line in enumerate(lines):
                wanted = theirs.convert_tokens_to_ids(theirs.tokenize(line))
                start, end = result.line_starts[number : number + 2]
                if result.ids[start:end].tolist() == wanted:
                    equal += 1
                else:
                    print("differs:", ascii(line))
            case = "uncased" if lower else "cased"
            print(f"{name} {case}: {len(lines)} lines, {equal} equal", flush=True)


def read_lines(name: str) -> list[str]:
    """Return a text file's lines, or of a JSON file the lines of all its strings."""
    text = pathlib.Path(name).read_bytes().decode("utf-8")
    if not name.endswith((".json", ".jsonl")):
        return text.split("\n")
    lines: list[str] = []
    whole = [text] if name.endswith(".json") else text.split("\n")
    waiting = [json.loads(part) for part in whole if part.strip()]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            lines += value.split("\n")
        elif isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return lines


if __name__ == "__main__":
    main()
