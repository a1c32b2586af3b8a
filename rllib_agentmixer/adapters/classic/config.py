"""Configurations on RLlib's classic API stack."""

from __future__ import annotations

from typing import Any

from ray.rllib.algorithms.ppo.ppo import PPOConfig
from ray.rllib.utils.from_config import NotProvided

from rllib_agentmixer.adapters.classic.base_env import TeamBaseEnv
from rllib_agentmixer.adapters.classic.model import MODEL_NAME
from rllib_agentmixer.adapters.classic.worker import TeamRolloutWorker
from rllib_agentmixer.adapters.team_config import UNSUPPORTED, TeamConfig
from rllib_agentmixer.core.settings.ranges import boolean, integer
from rllib_agentmixer.errors import ConfigError

ALGORITHM_CLASSES: dict[type, type] = {}
"""Configuration class -> algorithm class. Not attributes of each other: Ray's export of an actor
class follows those endlessly."""


class ClassicConfig(TeamConfig):
    """Configuration of the classic stack, common to on-policy learning and replay."""

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

    def choose_model(self) -> None:
        """Let RLlib build the team's networks."""
        self.model["custom_model"] = MODEL_NAME
        # The entry itself: that of a user's script is not registered on remote workers.
        self.model["custom_model_config"] = {
            "algorithm": self.entry,
            **vars(self.hyperparameters()),
        }


class ReplayConfig(ClassicConfig):
    """Configuration of algorithms that learn from replayed episodes.

    ``train_batch_size`` counts episodes; ``rollout_fragment_length`` steps of each
    sub-environment between two rounds of learning.
    """

    unsupported = UNSUPPORTED | {
        "observation_filter": ("NoFilter", "replayed rows are not standardised"),
        "output": (None, "episodes are sent whole, not as RLlib's rows"),
        "compress_observations": (False, "episodes are sent whole, not as RLlib's rows"),
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
        self.check_team()
        integer(1).check("rollout_fragment_length", self.rollout_fragment_length)
        if self.batch_mode != "truncate_episodes" and not self.in_evaluation:
            raise ConfigError(
                "batch_mode must be 'truncate_episodes' here (episodes continue in the next "
                f"round and are stored whole in any case), got {self.batch_mode!r}"
            )
        self.choose_model()
        super().validate()


class OnPolicyConfig(ClassicConfig, PPOConfig):
    """Configuration of algorithms that learn from each batch once it is sampled."""

    unsupported = UNSUPPORTED | {
        "use_critic": (True, "the critic is part of the method"),
        "use_gae": (True, "advantages are generalised; lambda_=1 gives Monte Carlo returns"),
    }

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
        self.check_team()
        self.minibatch_size = self.minibatch_size or self.train_batch_size
        boolean.check("sample_async", self.sample_async)
        if self.sample_async and not self.in_evaluation:
            self._check_asynchronous()
        self.choose_model()
        super().validate()

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
