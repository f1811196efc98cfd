"""Fine-tuning: one core, and a folder for each kind of task.

The core knows no kind of task:

    flags                    the flags of all commands, as one value
    command                  one run: checks, devices, training, results
    tables                   names of splits; rows of TSV and JSONL files
    warm_start               a checkpoint of any format, or random weights -> encoder
    features                 texts -> token ids in flat arrays, and a cache of them
    batches                  features -> padded NumPy batches of similar lengths
    heads, headed_model      dropout and a dense layer on the encoder
    training                 the step, the loop and prediction, under any strategy
    best_weights, curves     measure while training: keep the best weights, TensorBoard
    metrics, results         GLUE's metrics; measure, print, write predictions
    output_folder            the run's folder, and its model, which transformers loads

Each kind of task has flags; data, which reads and encodes its files; a model, which is
the encoder with a head, a loss for each example, and outputs; and results, the reporter
that measures those outputs:

    classification/   run_classifier      also tasks (the table of data sets)
    sentences/        run_sentence_bert   also objectives, sources; uses the data sets
                                          and the reporter of classification
    tagging/          run_ner
    reading/          run_squad           also windows, spans, metrics

`classification` has the smallest model. The main of each command is

    args = flags.read_flags()
    with command.open_run(args) as run:
        start = run.load_start(run.find_checkpoint())
        features = {split name: data.encode_split(...), ...}
        classifier, trainer = run.build_trainer(lambda: model.Classifier(start, labels))
        reporter = results.Reporter(trainer, ..., features, run.output_dir)
        run.train_and_report(trainer, classifier, features, reporter)
"""
