"""All studies by name."""

from __future__ import annotations

from benchmarks.studies.cells import Study
from benchmarks.studies.grids import correlation

STUDIES: dict[str, Study] = {
    study.name: study for module in (correlation,) for study in module.STUDIES
}
"""Name on the command line -> study."""
