"""Configurations on RLlib's classic API stack."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache
from typing import Any, ClassVar

import ray
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.callbacks import make_multi_callbacks
from ray.rllib.algorithms.ppo.ppo import PPOConfig
from ray.rllib.utils.from_config import NotProvided

from rllib_agentmixer.adapters.classic.base_env import TeamBaseEnv
from rllib_agentmixer.adapters.classic.callbacks import overrides
from rllib_agentmixer.adapters.classic.model import MODEL_NAME
from rllib_agentmixer.adapters.classic.rllib_support import check_rllib_settings
from rllib_agentmixer.adapters.classic.worker import TeamRolloutWorker
from rllib_agentmixer.adapters.team_config import TeamConfig
from rllib_agentmixer.core.settings.ranges import boolean, integer
from rllib_agentmixer.errors import AgentMixerError, ConfigError

ALGORITHM_CLASSES: dict[type, type] = {}
"""Configuration class -> algorithm class. Not attributes of each other: Ray's export of an actor
class follows those endlessly."""


class ClassicConfig(TeamConfig):
    """Configuration of the classic stack, common to on-policy learning and replay."""

    unsupported: ClassVar[dict[str, str]] = {}
    """RLlib's settings without effect in an algorithm, though in others, with the reason."""

    @classmethod
    def algorithm_class(cls) -> type | None:
        """The algorithm whose ``config_class`` this is, or one of its parents."""
        known = (ALGORITHM_CLASSES.get(kind) for kind in cls.mro())
        return next((kind for kind in known if kind is not None), None)

    def set_classic_defaults(self) -> None:
        """Worker and model of the classic stack."""
        self.api_stack(enable_rl_module_and_learner=False, enable_env_runner_and_connector_v2=False)
        self.env_runner_cls = TeamRolloutWorker
        self.custom_vector_env = TeamBaseEnv

    def check_rllib(self) -> None:
        """Check RLlib's settings, which it would check later or not at all.

        Raises:
            ConfigError: a setting has no effect, is out of range, or of another kind.
        """
        # RLlib itself lets evaluation sample whole episodes.
        unsupported = {} if self.in_evaluation else self.unsupported
        check_rllib_settings(self, _fresh(type(self)), unsupported)
        self._check_classes()
        if self.num_gpus not in (0, 1):
            raise ConfigError(f"num_gpus must be 0 or 1 (one learner), got {self.num_gpus!r}")
        if self.num_gpus and not has_gpu():
            raise ConfigError(
                "num_gpus=1, but neither PyTorch nor a running Ray finds a GPU; set num_gpus=0"
            )

    def _check_classes(self) -> None:
        kinds = {"algo_class": Algorithm, "env_runner_cls": TeamRolloutWorker}
        for name, kind in kinds.items():
            value = getattr(self, name)
            if value is not None and not (isinstance(value, type) and issubclass(value, kind)):
                raise ConfigError(f"{name} must be a subclass of {kind.__name__}, got {value!r}")
        given = self.callbacks_class
        for value in given if isinstance(given, (list, tuple)) else [given]:
            # RLlib combines several by a function that makes the object.
            if not callable(value):
                raise ConfigError(
                    "callbacks_class must be a subclass of RLlibCallback or a list of such, "
                    f"got {value!r}"
                )
        if isinstance(given, (list, tuple)):
            self.callbacks_class = make_multi_callbacks(list(given))

    def validate_as_rllib(self, validate: Callable[[], None]) -> None:
        """RLlib's own validation, with its errors as this package's.

        Raises:
            ConfigError: RLlib refuses a setting.
        """
        try:
            validate()
        except AgentMixerError:
            raise
        except (ValueError, TypeError, AttributeError, NotImplementedError) as error:
            raise ConfigError(" ".join(str(error).split()) or repr(error)) from error

    def choose_model(self) -> None:
        """Let RLlib build the team's networks."""
        self.model["custom_model"] = MODEL_NAME
        # The entry itself: that of a user's script is not registered on remote workers.
        self.model["custom_model_config"] = {
            "algorithm": self.entry,
            **vars(self.hyperparameters()),
        }


@lru_cache
def _fresh(kind: type[ClassicConfig]) -> ClassicConfig:
    """A configuration as it is made, whose settings are the defaults."""
    return kind()


def has_gpu() -> bool:
    """Whether this process, or the Ray cluster that it has joined, has a GPU."""
    if torch.cuda.is_available():
        return True
    if ray.is_initialized():
        return ray.cluster_resources().get("GPU", 0) > 0
    return bool(os.environ.get("RAY_ADDRESS"))  # of a cluster that is joined later


HOOKS_ON_BATCHES = ("on_postprocess_trajectory", "on_sample_end", "on_learn_on_batch")
"""Methods of RLlib's callbacks that read a batch of steps."""


class ReplayConfig(ClassicConfig):
    """Configuration of algorithms that learn from replayed episodes.

    ``train_batch_size`` counts episodes; ``rollout_fragment_length`` steps of each
    sub-environment between two rounds of learning.
    """

    unsupported: ClassVar[dict[str, str]] = {
        "observation_filter": "replayed rows are not standardised",
        "output": "episodes are sent whole, not as RLlib's rows",
        "compress_observations": "episodes are sent whole, not as RLlib's rows",
        "batch_mode": "episodes continue in the next round and are stored whole in any case",
    }

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or self.algorithm_class())
        # The team explores on its own; without an entry RLlib warns that there is none.
        self.exploration_config = {"type": "StochasticSampling"}
        self.set_classic_defaults()
        self.set_team_defaults()
        self.rollout_fragment_length = 25

    def validate(self) -> None:
        """Check every setting before any worker starts.

        Raises:
            ConfigError: names the setting, its value and the values that it may take.
        """
        self.check_rllib()
        self.check_team()
        integer(1).check("rollout_fragment_length", self.rollout_fragment_length)
        for hook in HOOKS_ON_BATCHES:
            if overrides(self.callbacks_class(), hook):
                raise ConfigError(
                    f"{hook} is not called by {self.algorithm}: episodes are replayed whole, not "
                    "as RLlib's batches; use another of RLlib's callbacks"
                )
        self.choose_model()
        self.validate_as_rllib(super().validate)


class OnPolicyConfig(ClassicConfig, PPOConfig):
    """Configuration of algorithms that learn from each batch once it is sampled."""

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or self.algorithm_class())
        self.set_classic_defaults()
        self.sample_async: Any = False
        self.set_team_defaults()

    def env_runners(self, *, sample_async: Any = NotProvided, **settings: Any) -> Any:
        """Set sampling options.

        Args:
            sample_async: let remote workers sample the next batch while the driver learns
                from this one. Batches are then one update older than the policy that
                learns from them; the ratio of probabilities accounts for it.
            **settings: RLlib's own, such as ``num_env_runners``.
        """
        if sample_async is not NotProvided:
            self.sample_async = sample_async
        super().env_runners(**settings)
        return self

    def validate(self) -> None:
        """Check every setting before any worker starts.

        Raises:
            ConfigError: names the setting, its value and the values that it may take.
        """
        self.check_rllib()
        self.check_team()
        self.minibatch_size = self.minibatch_size or self.train_batch_size
        boolean.check("sample_async", self.sample_async)
        if self.sample_async and not self.in_evaluation:
            self._check_asynchronous()
        self._check_sizes()
        self.choose_model()
        self.validate_as_rllib(super().validate)

    def _check_sizes(self) -> None:
        if self.minibatch_size > self.train_batch_size and not self.in_evaluation:
            raise ConfigError(
                f"minibatch_size={self.minibatch_size} must be at most "
                f"train_batch_size={self.train_batch_size}; None takes the whole batch"
            )

    def _check_asynchronous(self) -> None:
        """Check that remote workers sample one batch ahead and that the loss accounts for it."""
        if not self.num_env_runners:
            raise ConfigError(
                "sample_async=True lets remote workers sample while the driver learns, but there "
                f"are none (num_env_runners={self.num_env_runners!r}); set num_env_runners=1 or "
                "more, or sample_async=False"
            )
        if self.max_requests_in_flight_per_env_runner != 1:
            raise ConfigError(
                "max_requests_in_flight_per_env_runner must be 1 with sample_async=True (batches "
                f"are one update old), got {self.max_requests_in_flight_per_env_runner!r}"
            )
        if not self.learner_type.accepts_stale_batches:
            chosen = getattr(self, "learner", self.algorithm)
            raise ConfigError(
                "sample_async=True samples with the policy before the last update, and "
                f"learner={chosen!r} has no ratio that accounts for it; set another learner or "
                "sample_async=False"
            )
