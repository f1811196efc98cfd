"""Read questions about texts: JSON files of SQuAD, CMRC 2018 and DRCD.

All three share one layout, data > paragraphs > context and qas; CMRC 2018's is the one
in its folder squad-style-data.
"""

import collections
import dataclasses
from collections.abc import Iterator

from bert_cn.finetuning import tables
from bert_cn.finetuning.reading import flags
from data_prep import storage

# The most questions that a line of output names.
_SHOWN = 3


@dataclasses.dataclass(frozen=True)
class Answer:
    """An answer as its file gives it.

    Attributes:
        text: of the answer.
        start: offset of its first character in the context, which may be wrong.
    """

    text: str
    start: int


@dataclasses.dataclass(frozen=True)
class Question:
    """A question about a context.

    Attributes:
        id: unique in its file.
        text: of the question.
        context: number of its context in `Dataset.contexts`.
        answers: one or more that are right; empty for a question that its context does
            not answer; None where the file does not say, as test sets do not.
    """

    id: str
    text: str
    context: int
    answers: tuple[Answer, ...] | None


@dataclasses.dataclass(frozen=True)
class Dataset:
    """The questions of one file.

    Attributes:
        path: of the file.
        data: its bytes.
        contexts: the texts that hold the answers, as the file has them.
        questions: in the order of the file.
    """

    path: str
    data: bytes
    contexts: list[str]
    questions: list[Question]

    @property
    def has_answers(self) -> bool:
        """Whether every question says how it is answered."""
        return all(question.answers is not None for question in self.questions)


@dataclasses.dataclass(frozen=True)
class Target:
    """The answer that is learned for one question.

    Attributes:
        start: offset of the answer's first character in the context; -1 if the context
            does not answer the question.
        end: offset after its last character; -1 without an answer.
        text: the answer as the file spells it; "" without an answer.
        problem: what is wrong with the file's offset; "" if it is right.
    """

    start: int
    end: int
    text: str
    problem: str = ""


def read_files(
    args: flags.ReaderArgs,
) -> tuple[dict[str, Dataset], list[Target | None] | None]:
    """Read all files; return path -> dataset, and the targets of the training file.

    Raises:
        ValueError: a file is bad, or does not hold the answers that it is read for.
    """
    paths = set(args.held_out_files.values())
    if args.do_train:
        paths.add(args.train_file)
    datasets = {
        path: read_dataset(path, args.version_2_with_negative) for path in sorted(paths)
    }
    if args.do_eval and not datasets[args.dev_file].has_answers:
        raise ValueError(
            f"{args.dev_file} has questions that do not say their answers, so "
            "--do_eval cannot measure on it: name another --dev_file, or leave "
            "--do_eval out."
        )
    if not args.do_train:
        return datasets, None
    return datasets, find_targets(datasets[args.train_file], args.skip_bad_answers)


def read_dataset(path: str, with_negative: bool) -> Dataset:
    """Read a file and print what it holds.

    Args:
        path: local or any that `tf.io.gfile` opens.
        with_negative: keep questions that their context does not answer, as SQuAD 2.0
            has them; without it they are left out.

    Raises:
        ValueError: the file is missing or is not laid out like SQuAD, or nothing in it
            can be used.
    """
    data = tables.read_bytes(path)
    contexts: list[str] = []
    questions: list[Question] = []
    for place, context, entries in _iterate_contexts(_parse(data, path), path):
        for number, entry in enumerate(entries):
            questions.append(
                _parse_question(entry, len(contexts), f"{place}.qas[{number}]")
            )
        contexts.append(context)
    if not questions:
        raise ValueError(f"{path} holds no question: give a file with some.")
    _check_ids(questions, path)
    kept = questions
    if not with_negative:
        kept = [question for question in questions if question.answers != ()]
    if not kept:
        raise ValueError(
            f"{path} holds only questions that their context does not answer: pass "
            "--version_2_with_negative."
        )
    unanswered = sum(question.answers == () for question in questions)
    fate = "" if with_negative or not unanswered else ", which are left out"
    print(
        f"{path}: {len(questions)} questions on {len(contexts)} contexts, "
        f"{unanswered} without an answer{fate}.",
        flush=True,
    )
    return Dataset(path, data, contexts, kept)


def find_targets(dataset: Dataset, skip_bad_answers: bool) -> list[Target | None]:
    """Find the place of each question's answer, for training.

    The first answer that the context has at its offset is taken. If there is none, the
    first answer is searched for in the context, and the place nearest to its offset is
    taken.

    Args:
        dataset: all its questions have answers.
        skip_bad_answers: leave out questions whose answer their context does not hold.

    Returns:
        One target for each question; None for one that is left out.

    Raises:
        ValueError: a question has no answer, its context does not hold it, or none
            is left.
    """
    targets: list[Target | None] = []
    for question in dataset.questions:
        if question.answers is None:
            raise ValueError(
                f"{dataset.path}, question {question.id!r}: there are no answers to "
                "learn from; a test set can only be predicted (--predict_file)."
            )
        targets.append(_find_target(dataset.contexts[question.context], question))
    lost = [
        question
        for question, target in zip(dataset.questions, targets, strict=True)
        if target is None
    ]
    if lost and (not skip_bad_answers or len(lost) == len(targets)):
        raise ValueError(
            f"{dataset.path}, question {lost[0].id!r}: its context does not hold the "
            f"answer {lost[0].answers[0].text!r} ({len(lost)} of {len(targets)} "
            "questions are like this); correct the file, or leave such questions out "
            "by --skip_bad_answers."
        )
    return targets


def list_problems(
    dataset: Dataset, targets: list[Target | None]
) -> list[tuple[str, str, int, str]]:
    """Return (question's id, answer, offset in the file, what was done) and print some.

    Args:
        dataset: a training file.
        targets: from `find_targets`.
    """
    problems = []
    for question, target in zip(dataset.questions, targets, strict=True):
        done = "left out: its context does not hold it" if target is None else None
        if done or target.problem:
            answer = question.answers[0]
            row = (question.id, answer.text, answer.start, done or target.problem)
            problems.append(row)
    if problems:
        shown = ", ".join(row[0] for row in problems[:_SHOWN])
        rest = ", ..." if len(problems) > _SHOWN else ""
        left_out = sum(target is None for target in targets)
        print(
            f"{dataset.path}: {len(problems)} answers are not at their offset; "
            f"{len(problems) - left_out} were found elsewhere in their context, "
            f"{left_out} are left out ({shown}{rest}).",
            flush=True,
        )
    return problems


def _find_target(context: str, question: Question) -> Target | None:
    if not question.answers:
        return Target(-1, -1, "")
    for answer in question.answers:
        end = answer.start + len(answer.text)
        if answer.start >= 0 and context[answer.start : end] == answer.text:
            return Target(answer.start, end, answer.text)
    answer = question.answers[0]
    starts = list(_find_all(context, answer.text))
    if not starts:
        return None
    start = min(starts, key=lambda start: abs(start - answer.start))
    return Target(start, start + len(answer.text), answer.text, f"found at {start}")


def _find_all(context: str, text: str) -> Iterator[int]:
    start = context.find(text)
    while start >= 0:
        yield start
        start = context.find(text, start + 1)


def _parse(data: bytes, path: str) -> list:
    """Return the articles of a file."""
    if not data.strip():
        raise ValueError(f"{path} is empty: give a file in SQuAD's layout.")
    try:
        values = storage.parse_json(data.decode("utf-8-sig"))
    except ValueError as error:
        raise ValueError(
            f"{path} is no JSON file ({error}): give a file in SQuAD's layout."
        ) from error
    if not isinstance(values, dict) or not isinstance(values.get("data"), list):
        found = f"its keys are {', '.join(values)}" if isinstance(values, dict) else ""
        raise ValueError(
            f'{path} has no list "data" ({found or f"it is a {_name_type(values)}"}): '
            "give a file in SQuAD's layout; CMRC 2018 has them in squad-style-data."
        )
    return values["data"]


def _iterate_contexts(articles: list, path: str) -> Iterator[tuple[str, str, list]]:
    """Yield (place, context, its questions)."""
    for number, article in enumerate(articles):
        place = f"{path}, data[{number}]"
        for index, paragraph in enumerate(_get(article, "paragraphs", list, place)):
            inside = f"{place}.paragraphs[{index}]"
            context = _get(paragraph, "context", str, inside)
            yield inside, context, _get(paragraph, "qas", list, inside)


def _parse_question(entry, context: int, place: str) -> Question:
    name = _get(entry, "id", (str, int), place)
    text = _get(entry, "question", str, place)
    answers = None
    if "is_impossible" in entry and _get(entry, "is_impossible", bool, place):
        answers = ()
    elif "answers" in entry:
        answers = tuple(
            _parse_answer(each, f"{place}.answers[{number}]")
            for number, each in enumerate(_get(entry, "answers", list, place))
        )
    return Question(str(name), text, context, answers)


def _parse_answer(entry, place: str) -> Answer:
    text = _get(entry, "text", str, place)
    if not text.strip():
        raise ValueError(
            f"{place}: the answer is empty; a question without an answer has an empty "
            "list of answers."
        )
    return Answer(text, _get(entry, "answer_start", int, place))


def _get(values, key: str, kind, place: str):
    """Return values[key], which must be there and be of a type."""
    if not isinstance(values, dict):
        raise ValueError(
            f"{place}: an object with {key!r} is needed, found a "
            f"{_name_type(values)}: correct the file."
        )
    if key not in values:
        raise ValueError(
            f"{place} has no {key!r} (its keys are {', '.join(values) or 'none'}): "
            "correct the file, which must be in SQuAD's layout."
        )
    if not isinstance(values[key], kind):
        raise ValueError(
            f"{place}: {key!r} is a {_name_type(values[key])}, which it cannot be in "
            "SQuAD's layout: correct the file."
        )
    return values[key]


def _name_type(value) -> str:
    names = {
        dict: "object",
        list: "list",
        str: "text",
        bool: "true or false",
        type(None): "null",
    }
    return names.get(type(value), "number")


def _check_ids(questions: list[Question], path: str) -> None:
    name, count = collections.Counter(q.id for q in questions).most_common(1)[0]
    if count > 1:
        raise ValueError(
            f"{path} has {count} questions with the id {name!r}, but predictions are "
            "filed under it: give each question an id of its own."
        )
