"""Checkpoints of one training run: the newest few, the best one, and their integrity."""

from __future__ import annotations

import json
import logging
import math
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from rllib_agentmixer.errors import CheckpointError, ConfigError
from rllib_agentmixer.utils.files import recover_interrupted, write_atomically
from rllib_agentmixer.utils.manifests import MANIFEST, verify
from rllib_agentmixer.utils.untrusted import read_json


class Saveable(Protocol):
    """Interface of an algorithm that a run saves."""

    @property
    def iteration(self) -> int: ...

    @property
    def num_env_steps(self) -> int: ...

    def save_checkpoint(self, checkpoint_dir: str, /) -> None: ...


logger = logging.getLogger(__name__)

FOLDER = "checkpoints"
BEST = "best.json"
PREFIX = "iteration_"
DAMAGED = ".damaged"
BEST_OF_SEARCH = Path("best", "checkpoint")
"""Checkpoint of a search's best trial, below its folder."""


@dataclass(frozen=True)
class BestCheckpoint:
    """The checkpoint whose weights had the highest value of a metric.

    Attributes:
        name: folder beside the other checkpoints.
        metric: key in the rows of ``progress.jsonl``.
        value: of the metric, measured with these weights.
        env_steps: joint environment steps at that time.
    """

    name: str
    metric: str
    value: float
    env_steps: int


class RunCheckpoints:
    """Saves, keeps and finds the checkpoints in ``<run folder>/checkpoints``.

    Every checkpoint is a folder ``iteration_<number>`` that appears whole or not at all.

    Args:
        run_folder: folder of the run.
        keep_checkpoints_num: how many of the newest are kept; None keeps all. The best one is
            kept in any case.
    """

    def __init__(self, run_folder: Path, keep_checkpoints_num: int | None = None) -> None:
        if keep_checkpoints_num is not None and keep_checkpoints_num < 1:
            raise ConfigError(
                f"keep_checkpoints_num must be at least 1, got {keep_checkpoints_num}; omit it "
                "to keep all"
            )
        self.folder = run_folder / FOLDER
        self.keep = keep_checkpoints_num
        self._recover()

    def _recover(self) -> None:
        """Restore a checkpoint that a killed process was replacing."""
        for aside in self.folder.glob(f".{PREFIX}*-old-*/{PREFIX}*"):
            recover_interrupted(self.folder / aside.name)

    def remove_leftovers(self) -> None:
        """Remove what a killed process did not finish or no longer removed.

        For the run's owner only: incomplete checkpoints, and superseded ones beyond
        ``keep_checkpoints_num``, of which every kill between a save and its removal leaves one.
        """
        whole = {path.name for path in self.all}
        for pattern in (f".{PREFIX}*", f"{PREFIX}*"):
            for path in self.folder.glob(pattern):
                if path.name not in whole and path.suffix != DAMAGED:
                    shutil.rmtree(path, ignore_errors=True)
        self._remove_superfluous()

    @property
    def all(self) -> list[Path]:
        """Every whole checkpoint, the newest last."""
        found = [p for p in self.folder.glob(f"{PREFIX}*") if (p / MANIFEST).is_file()]
        return sorted((p for p in found if _iteration(p) >= 0), key=_iteration)

    @property
    def newest(self) -> Path | None:
        """The checkpoint of the highest iteration; its files are not verified."""
        return self.all[-1] if self.all else None

    @property
    def best(self) -> BestCheckpoint | None:
        """The best checkpoint, if its metric was ever measured and it still exists."""
        try:
            best = BestCheckpoint(**read_json(self.folder / BEST))
            is_ours = Path(best.name).name == best.name and math.isfinite(best.value)
        except (OSError, ValueError, TypeError):
            return None
        return best if is_ours and (self.folder / best.name / MANIFEST).is_file() else None

    def is_improvement(self, metric: str, value: float | None) -> bool:
        """Whether a metric's value is higher than that of the best checkpoint."""
        if value is None or not math.isfinite(value):
            return False
        best = self.best
        return best is None or best.metric != metric or value > best.value

    @staticmethod
    def name_of(algorithm: Saveable) -> str:
        """Name of the folder that a checkpoint of an algorithm, as it is now, has."""
        return f"{PREFIX}{algorithm.iteration:06d}"

    def save(self, algorithm: Saveable, metric: str = "", value: float | None = None) -> Path:
        """Write a checkpoint, note whether it is the best, and remove superseded ones.

        Args:
            algorithm: what is saved.
            metric: by which checkpoints are compared.
            value: of the metric with the algorithm's weights; None where it was not measured.

        Raises:
            CheckpointError: it could not be written; those before are untouched.
        """
        target = self.folder / self.name_of(algorithm)
        algorithm.save_checkpoint(str(target))
        if value is not None and self.is_improvement(metric, value):
            entry = BestCheckpoint(target.name, metric, value, algorithm.num_env_steps)
            try:
                write_atomically(self.folder / BEST, json.dumps(asdict(entry)))
            except OSError as error:
                raise CheckpointError(f"cannot write {self.folder / BEST}: {error}") from error
        self._remove_superfluous()
        return target

    def _remove_superfluous(self) -> None:
        if self.keep is None:
            return
        best = self.best
        for path in self.all[: -self.keep]:
            if best is None or path.name != best.name:
                # Without a manifest a half-removed folder is not a checkpoint.
                (path / MANIFEST).unlink()
                shutil.rmtree(path, ignore_errors=True)

    def newest_good(self, *, fall_back: bool) -> Path:
        """The checkpoint to continue from.

        Args:
            fall_back: where the newest is damaged, take the one before; the damaged one steps
                aside as ``<name>.damaged``. Without it damage is an error.

        Raises:
            CheckpointError: no checkpoint, or damage.
        """
        if not self.all:
            raise CheckpointError(
                f"nothing to resume: {self.folder} holds no checkpoint; train without --resume "
                "first, or name the folder of a run with --out"
            )
        for path in reversed(self.all):
            try:
                verify(path)
            except CheckpointError as error:
                if not fall_back:
                    raise CheckpointError(
                        f"{error}. Add --fall-back to continue from the last good checkpoint"
                    ) from error
                logger.warning("%s; falling back to the checkpoint before", error)
                path.rename(path.with_name(path.name + DAMAGED))
            else:
                return path
        raise CheckpointError(
            f"every checkpoint in {self.folder} is damaged; start again in another --out"
        )


def find_checkpoint(path: Path, *, best: bool = False) -> Path:
    """The checkpoint that a user means by a folder: itself, or one of the run in it.

    Args:
        path: a checkpoint, or the folder of a run or of a search, which stands for its best.
        best: of a run, the best checkpoint instead of the newest.

    Raises:
        CheckpointError: there is none.
    """
    recover_interrupted(path)
    for folder in (path, path / BEST_OF_SEARCH):
        if (folder / MANIFEST).is_file():
            return folder
    if not path.is_dir():
        raise CheckpointError(f"{path} does not exist; give the folder that training wrote")
    checkpoints = RunCheckpoints(path)
    chosen = checkpoints.best if best else None
    if chosen is not None:
        return checkpoints.folder / chosen.name
    newest = checkpoints.newest
    if newest is None:
        raise CheckpointError(
            f"{path} holds no checkpoint of this package (neither {MANIFEST} nor "
            f"{FOLDER}/{PREFIX}*); give the folder that training wrote"
        )
    if best:
        raise CheckpointError(f"{path} has no best checkpoint: nothing was evaluated; omit --best")
    return newest


def _iteration(path: Path) -> int:
    digits = path.name.removeprefix(PREFIX)
    return int(digits) if digits.isdecimal() else -1
