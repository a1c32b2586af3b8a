"""Learning studies: grids of configurations over seeds, each with one command and one report.

    python -m benchmarks.studies NAME

A study is a list of cells; a cell is one configuration of an algorithm on an environment.
Every finished run is one line of ``docs/results/<study>.jsonl``; the table
``docs/results/<study>.md`` and the figure ``docs/images/study_<study>.png`` are
generated from those lines alone.
"""
