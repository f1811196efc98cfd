"""The benchmark suite: many fine-tuning runs, and one table of what they reach.

    flags       what the user asks for
    tasks       which data sets there are, and which of them lie in a folder
    model       what is fine-tuned, described in a process of its own
    recipes     the settings of fine-tuning, from flag files
    baselines   the figures of a constant answer
    runs        the commands, one after another; finished ones are kept
    results     the figures of finished runs, their mean and deviation over seeds
    tables      Markdown and CSV
    plot        the same figures as bars

Only `model` imports TensorFlow, in another process; each run is a process of its own.

Why every figure has a baseline beside it: the reference collection reports 69.12 on
CoLA, 68.38 on MRPC and 56.34 on WNLI for its BERT-Mini-CN, and 50.07 and 50.06 on
SQuAD 2.0 for its BERT-Tiny-CN and BERT-Mini-CN. 721 of the 1,043 dev sentences of CoLA
are of one class, 279 of the 408 pairs of MRPC, 40 of the 71 of WNLI; and 5,945 of the
11,873 questions in SQuAD 2.0's dev have no answer (Rajpurkar et al., 2018, table 2). A
model that always gives the same answer reaches the same figures without learning.
"""
