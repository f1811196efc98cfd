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
collection were reported with 69.12 on CoLA, 68.38 on MRPC, 56.34 on WNLI (the second)
and 50.07 and 50.06 on SQuAD 2.0. 721 of the 1,043 dev sentences of CoLA are of one
class, 279 of the 408 pairs of MRPC, 40 of the 71 of WNLI; and 5,945 of the 11,873
questions in SQuAD 2.0's dev have no answer (Rajpurkar et al., 2018, table 2). Whoever
always says the same reaches as much without having learned anything.
"""
