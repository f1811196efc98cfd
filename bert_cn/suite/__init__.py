"""The benchmark suite: many fine-tuning runs, and one table of what they reach.

    tasks       which data sets there are, and which of them lie in a folder
    model       what is fine-tuned, described in a process of its own
    recipes     the settings of fine-tuning, from flag files
    baselines   what always giving the same answer reaches
    runs        the commands, one after the other; what is finished is kept
    results     reading what is kept, mean and deviation over seeds
    tables      Markdown and CSV
    plot        the same as bars

Nothing here imports TensorFlow, `model` apart: a run is a process of its own.

Why every figure has a baseline beside it: BERT-Tiny-CN and BERT-Mini-CN of the seed
collection were reported with 69.12 on CoLA, 68.38 on MRPC, 56.34 on WNLI and 50.06 on
SQuAD 2.0. These are the shares of the commonest class in those dev files, and of
questions without an answer: a model that has learned nothing reaches them by always
saying the same.
"""
