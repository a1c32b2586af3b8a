"""Construction of Ray Tune tuners from search plans, for new and resumed searches."""

from __future__ import annotations

import math
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rllib_agentmixer.errors import MissingExtraError
from rllib_agentmixer.search.plan import STEPS, SearchPlan
from rllib_agentmixer.search.spaces import config_path, param_space, stay_inside

if TYPE_CHECKING:
    from ray import tune

    from rllib_agentmixer.adapters.classic.config import ClassicConfig

CHECKPOINTS_PER_TRIAL = 10
SECONDS_BETWEEN_SNAPSHOTS = "1"
TRIAL_PREFIX = "trial_"


def prepare_tune(search: str) -> None:
    """Set the environment variables that Ray Tune reads; the user's own values take precedence.

    Trials keep the working directory, so that relative paths in settings stay valid. The
    search's state is saved every second, so that a killed search repeats no finished work.
    """
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", SECONDS_BETWEEN_SNAPSHOTS)
    # Ray's reporters print tables of every setting; SearchProgress replaces them.
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    # The traceback is in the trial's error.txt, to which the progress refers.
    os.environ.setdefault("TUNE_PRINT_ALL_TRIAL_ERRORS", "0")
    if search == "optuna":
        _quiet_optuna()


def _quiet_optuna() -> None:
    try:
        import optuna
    except ImportError as error:
        raise MissingExtraError(
            "--search optuna needs Optuna: pip install 'rllib_agentmixer[tune]'"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def fresh_tuner(
    plan: SearchPlan, config: ClassicConfig, folder: Path, callbacks: list[tune.Callback]
) -> tune.Tuner:
    """Tuner of a new search.

    Args:
        plan: plan of the search.
        config: configuration shared by all trials; not validated, since validation fixes
            settings that are derived from others.
        folder: folder of the search; its subfolders are the trials.
        callbacks: driver-side callbacks, such as progress and MLflow.
    """
    from ray import tune

    iterations = math.ceil(plan.steps / config.rllib_settings().train_batch_size)
    return tune.Tuner(
        config.algo_class,
        param_space=param_space(config, plan.space) | {"score_metric": plan.metric},
        tune_config=tune.TuneConfig(
            metric=None if plan.scheduler == "pbt" else plan.metric,
            mode=None if plan.scheduler == "pbt" else "max",
            num_samples=plan.samples,
            search_alg=_searcher(plan),
            scheduler=_scheduler(plan),
            max_concurrent_trials=plan.concurrent,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
        ),
        run_config=tune.RunConfig(
            name=folder.name,
            storage_path=str(folder.absolute().parent),
            stop={STEPS: plan.steps},
            callbacks=callbacks,
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=plan.max_failures),
            checkpoint_config=_retention(plan, iterations),
        ),
    )


def resumed_tuner(plan: SearchPlan, config: ClassicConfig, folder: Path) -> tune.Tuner:
    """Tuner of a resumed search: unfinished trials continue from their checkpoints."""
    from ray import tune

    return tune.Tuner.restore(
        str(folder.absolute()),
        trainable=config.algo_class,  # type: ignore[arg-type]
        param_space=param_space(config, plan.space),
        resume_unfinished=True,
        resume_errored=True,
    )


def trial_name(trial_id: str) -> str:
    """Display name: ``trial_00003`` of a numbered trial, else the whole id, as for Optuna."""
    return f"{TRIAL_PREFIX}{trial_id.rpartition('_')[2]}"


def _trial_name(trial: Any) -> str:
    """Short trial name; Tune's default contains every setting."""
    return trial_name(trial.trial_id)


def _retention(plan: SearchPlan, iterations: int) -> tune.CheckpointConfig:
    from ray import tune

    # PBT fails trials whose donor's checkpoint was removed.
    is_pbt = plan.scheduler == "pbt"
    return tune.CheckpointConfig(
        checkpoint_frequency=max(1, iterations // CHECKPOINTS_PER_TRIAL),
        checkpoint_at_end=True,
        num_to_keep=None if is_pbt else 2,
        checkpoint_score_attribute=plan.metric,
        checkpoint_score_order="max",
    )


def _searcher(plan: SearchPlan) -> Any:
    if plan.search == "random":
        from ray.tune.search.basic_variant import BasicVariantGenerator

        return BasicVariantGenerator(
            random_state=plan.seed, max_concurrent=plan.concurrent or 0, constant_grid_search=True
        )
    from ray.tune.search.optuna import OptunaSearch

    return OptunaSearch(metric=plan.metric, mode="max", seed=plan.seed)


def _scheduler(plan: SearchPlan) -> Any:
    from ray.tune import schedulers

    if plan.scheduler == "asha":
        return schedulers.ASHAScheduler(
            time_attr=STEPS, max_t=plan.steps, grace_period=plan.interval, reduction_factor=3
        )
    if plan.scheduler == "pbt":
        return schedulers.PopulationBasedTraining(
            time_attr=STEPS,
            metric=plan.metric,
            mode="max",
            perturbation_interval=plan.interval,
            hyperparam_mutations={
                config_path(name)[0]: found.to_mutation() for name, found in plan.space.items()
            },
            custom_explore_fn=partial(stay_inside, space=plan.space),
            log_config=True,
        )
    return schedulers.FIFOScheduler()
