"""Read the set that sentence embeddings are measured or trained on."""

from bert_cn.finetuning import tables, warm_start
from bert_cn.finetuning.classification import data as classification_data
from bert_cn.finetuning.classification import tasks
from bert_cn.finetuning.classification.flags import LABEL, TEXT_A, TEXT_B
from bert_cn.finetuning.sentences import data, objectives
from bert_cn.finetuning.sentences.flags import NEGATIVE, SentenceArgs, Source
from bert_cn.finetuning.sentences.objectives import Objective


def read_training_pairs(args: SentenceArgs) -> tuple[data.Pairs, Objective]:
    """Read what is trained on, as the objective takes it.

    Raises:
        ValueError: the set does not suit the objective, or its files are bad.
    """
    name = args.objective
    settings = {
        name: getattr(args, name)
        for name in ("scale", "matryoshka_dims", "mini_batch_size")
    }
    if name == objectives.SIMCSE:
        return data.read_lines(args.train_lines), Objective(name, **settings)
    source = args.trained
    task = find_task(source, name)
    if name in objectives.SCORED:
        read = data.read_scored(task, source.data_dir, [tables.TRAIN])
        split = read[tables.TRAIN]
        if name != objectives.COSINE:
            return data.keep_scores(split), Objective(name, **settings)
        max_score = args.max_score or _find_max_score(task)
        return data.scale_scores(split, max_score), Objective(name, **settings)
    read = classification_data.read_tables(task, source.data_dir, [tables.TRAIN])
    table = read[tables.TRAIN]
    if name == objectives.SOFTMAX:
        pairs, num_labels = data.number_classes(task, table)
        return pairs, Objective(name, num_labels)
    if NEGATIVE in source.columns:
        pairs = data.take_triples(table)
    else:
        pairs = data.select_positives(table)
    return pairs, Objective(name, **settings)


def fit_objective(objective: Objective, start: warm_start.StartingPoint) -> Objective:
    """Return the objective as it suits a model.

    Raises:
        ValueError: a width of --matryoshka_dims is larger than the model's, or the
            model has no dropout, without which `objectives.SIMCSE` learns nothing.
    """
    config = start.config
    rates = (config.hidden_dropout_prob, config.attention_probs_dropout_prob)
    if objective.name == objectives.SIMCSE and not any(rates):
        raise ValueError(
            f"The model of {start.source!r} has no dropout, and --objective=simcse "
            "tells a line from itself by dropout alone: set hidden_dropout_prob in its "
            "configuration to 0.1."
        )
    return objectives.complete_widths(objective, config.hidden_size)


def read_measured(
    args: SentenceArgs, pairs: data.Pairs | None
) -> dict[str, classification_data.Split]:
    """Read the splits that are measured, and the training texts to compare them with.

    Args:
        args: which set and which splits.
        pairs: what is trained on, or None.

    Raises:
        ValueError: the set has no scores, or its files are bad.
    """
    if not args.measures:
        return {}
    source = args.scored
    task = find_task(source, objectives.COSINE)
    wanted = {tables.DEV: args.do_eval, tables.TEST: args.do_predict}
    names = [name for name, is_wanted in wanted.items() if is_wanted]
    found = data.read_scored(task, source.data_dir, names)
    seen = None
    if pairs is not None:
        seen = classification_data.Split(tables.TRAIN, pairs.table, None)
    elif not args.train_task_name:
        seen = classification_data.read_seen(task, source.data_dir)
    return found if seen is None else {**found, tables.TRAIN: seen}


def list_texts(
    args: SentenceArgs,
    splits: dict[str, classification_data.Split],
    pairs: data.Pairs | None,
) -> list[str]:
    """Return the training sentences, each once, in their order.

    Args:
        args: which lines, if nothing is trained on.
        splits: those of `read_measured`.
        pairs: what is trained on, or None.

    Raises:
        ValueError: there are none.
    """
    if pairs is not None:
        table = pairs.table
    elif args.train_lines:
        table = data.read_lines(args.train_lines).table
    elif tables.TRAIN in splits:
        table = splits[tables.TRAIN].table
    else:
        raise ValueError(
            "--whitening is fitted to training sentences, and there is no training "
            "file: name lines by --train_lines, or a --data_dir that has one."
        )
    return list(dict.fromkeys([*table.texts, *table.pairs]))


def find_task(source: Source, objective: str) -> tasks.Task:
    """Return the task of a set, built from columns if it is the user's own.

    Raises:
        ValueError: the set is unknown or does not suit the objective.
    """
    if tasks.is_own(source.task_name):
        columns = source.columns
        label = columns.get(NEGATIVE, columns.get(LABEL))
        where = tables.Columns(columns[TEXT_A], columns[TEXT_B], label)
        return tasks.build_own_task(source.task_name, where, source.files)
    task = tasks.find_task(source.task_name)
    is_scored = objective in objectives.SCORED
    known = objectives.MAX_SCORES if is_scored else objectives.CLASSIFIED
    if task.name not in known:
        raise ValueError(
            f"--{source.prefix}task_name={source.task_name} does not suit "
            f"--objective={objective}: name one of {', '.join((*known, *tasks.OWN))}."
        )
    return task


def _find_max_score(task: tasks.Task) -> float:
    if task.name not in objectives.MAX_SCORES:
        raise ValueError(
            "--max_score is missing: name the score of two texts that mean the same, "
            "which a cosine of 1 stands for."
        )
    return objectives.MAX_SCORES[task.name]
