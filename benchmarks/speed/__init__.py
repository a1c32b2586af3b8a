"""Speed benchmarks: measured cases, their goals, and one report.

    python -m benchmarks.speed [CASE ...] [--quick]

A case is a module with one subject, divided into parts that can be measured separately. Its
results are rows: one number each, with its unit, settings, package versions and, optionally, a
goal. Rows are stored in ``docs/results/speed.json``; the page ``docs/results/speed.md`` and the
figures ``docs/images/speed_*.png`` are generated from that file alone.

Numbers are CPU time of this process on one torch thread, unless a row says otherwise.
Absolute values depend on the machine; compare the ratios within one run.
"""
