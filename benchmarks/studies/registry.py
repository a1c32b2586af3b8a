"""All studies by name."""

from __future__ import annotations

from benchmarks.studies.cells import Study
from benchmarks.studies.grids import (
    asymmetric_failure,
    correlation,
    learner,
    memory,
    modifier_ablation,
    simple_spread,
)

MODULES = (correlation, modifier_ablation, asymmetric_failure, simple_spread, memory, learner)

STUDIES: dict[str, Study] = {study.name: study for module in MODULES for study in module.STUDIES}
"""Name on the command line -> study."""
