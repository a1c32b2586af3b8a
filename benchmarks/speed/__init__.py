"""How fast the package is: measured cases, their goals, and one report.

    python -m benchmarks.speed [CASE ...] [--quick]

A case is a module with one subject, cut into parts that can be measured alone. What it
measures are rows: one number each, with its unit, its settings, the versions that took part
and, where there is one, the goal. Rows go to ``docs/results/speed.json``; the page
``docs/results/speed.md`` and the pictures ``docs/images/speed_*.png`` are made from that file
alone.

Numbers are processor time of this process on one torch thread, unless a row says otherwise.
Absolute values depend on the machine; the ratios within one run are what to compare.
"""
