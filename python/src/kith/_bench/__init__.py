# SPDX-License-Identifier: Apache-2.0
"""kith bench, sweep and plot: how fast an index answers at which recall, beside other libraries.

    workload    rows, queries and true neighbours, and what counts as found
    sweep       which settings of a search are tried
    contenders  kith's indexes; peers has other libraries, made alike
    measure     the loop that times all of them
    record      the JSON document: what was measured, on which machine, with which versions
    report      tables, fronts, and ratios at equal recall
    plot        pictures of a document
"""
