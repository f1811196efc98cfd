"""Fine-tuning: one core, and modules for each kind of task.

The core knows nothing of a task:

    command, command_flags   what the commands share: flags, checks, where they write
    starting_point           a checkpoint of any format, or random weights -> encoder
    features                 texts -> token ids in flat arrays; the cache of them
    batches                  features -> padded numpy batches, similar lengths together
    heads                    dropout and dense layers on the encoder
    training                 the step, the loop and prediction, under any strategy
    best_weights, curves     measure while training: keep the best weights, TensorBoard
    export                   encoder and head -> a folder that transformers loads

A kind of task brings its data, a model on the encoder with the loss of each example of
a batch and its outputs, and a reporter that measures them:

    run_classifier      tasks (the table of data sets), tables (TSV and JSONL), splits;
                        classification; classification_results, metrics (GLUE's)
    run_squad           squad_files, windows; reading_comprehension; spans,
                        answer_metrics, reading_results
    run_sentence_bert   sentence_sources, sentence_data; sentence_embedding;
                        sentence_results
    run_ner             tagged_text; token_classification; tagging_results

`classification` is the smallest model. A command then goes

    start = starting_point.load_starting_point(...)
    features = features.load_or_encode(...)
    with strategy.scope():
        classifier = classification.Classifier(start, labels)
    trainer = training.Trainer(strategy, classifier.build_learner())
    training.train(trainer, features, shape, recipe, keeper)
    outputs = training.predict(trainer, dev_features, eval_shape)
"""
