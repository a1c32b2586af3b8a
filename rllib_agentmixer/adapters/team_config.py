"""RLlib configuration of algorithms that train a team as one policy."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import asdict, fields
from typing import Any, ClassVar

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.ppo.ppo import PPOConfig
from ray.rllib.utils.from_config import NotProvided

from rllib_agentmixer.adapters.classic.base_env import TeamBaseEnv
from rllib_agentmixer.adapters.classic.model import MODEL_NAME
from rllib_agentmixer.adapters.classic.worker import TeamRolloutWorker
from rllib_agentmixer.adapters.compilation import check_compiler
from rllib_agentmixer.core.algorithms.registry import HYPERPARAMETERS
from rllib_agentmixer.core.settings.base import TeamSettings
from rllib_agentmixer.core.settings.ranges import boolean, integer, number, one_of, optional
from rllib_agentmixer.core.settings.rllib_settings import INHERITED_DEFAULTS, INHERITED_RANGES
from rllib_agentmixer.envs.team_gym import TeamEnvCreator
from rllib_agentmixer.envs.vector_env import TeamSpec
from rllib_agentmixer.errors import ConfigError
from rllib_agentmixer.utils.suggest import unknown_name

TEAM_REWARDS = one_of(None, "shared", "sum", "mean")

UNSUPPORTED: dict[str, tuple[Any, str]] = {
    "use_critic": (True, "V(s) is part of the method"),
    "use_gae": (True, "advantages are generalised; lambda_=1 gives Monte Carlo returns"),
    "grad_clip_by": ("global_norm", "gradients are clipped by their global norm"),
    "custom_evaluation_function": (None, "evaluate() compares joint and individual policies"),
    "evaluation_duration_unit": ("episodes", "every policy plays whole episodes"),
    "remote_worker_envs": (False, "copies are stepped as arrays inside their worker"),
    "count_steps_by": ("env_steps", "a step is a joint step of the team"),
    "clip_rewards": (None, "scale rewards in the environment"),
    "enable_rl_module_and_learner": (False, "the classic API stack is used"),
    "enable_env_runner_and_connector_v2": (False, "the classic API stack is used"),
    "framework_str": ("torch", "the networks are PyTorch"),
}
"""RLlib setting -> the one value that works here, and why."""


class TeamConfig(PPOConfig):
    """PPO's configuration plus an algorithm's own settings and a team environment."""

    algorithm: ClassVar[str] = "agentmixer"
    """Name in ``HYPERPARAMETERS``: which settings there are besides RLlib's."""

    step_time_limit_s: Any = 300.0  # of configurations from earlier checkpoints

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class)
        self.api_stack(enable_rl_module_and_learner=False, enable_env_runner_and_connector_v2=False)
        self.framework_str = "torch"
        self.env_runner_cls = TeamRolloutWorker
        self.custom_vector_env = TeamBaseEnv
        self.team_env: str | Callable[..., Any] | None = None
        self.team_reward: Any = None
        self.step_time_limit_s: Any = type(self).step_time_limit_s
        self.sample_async: Any = False
        self.grad_clip_by = "global_norm"
        self.evaluation_duration = 32
        self.evaluation_seed = 0
        for name, default in asdict(HYPERPARAMETERS[self.algorithm]()).items():
            setattr(self, name, default)
        for name, default in INHERITED_DEFAULTS.items():
            setattr(self, name, default)
        self.use_kl_loss = False
        self.torch_compile_worker_dynamo_backend = "inductor"  # RLlib's default is not installed

    @classmethod
    def own_settings(cls) -> tuple[str, ...]:
        """Names of the settings that this package adds to RLlib's."""
        return tuple(entry.name for entry in fields(HYPERPARAMETERS[cls.algorithm]))

    def environment(
        self,
        env: Any = NotProvided,
        *,
        team_reward: Any = NotProvided,
        step_time_limit_s: Any = NotProvided,
        **settings: Any,
    ) -> TeamConfig:
        """Choose the environment.

        Args:
            env: a name from ``ENVS``, ``"module:function"``, or any function of the
                environment's settings that returns a PettingZoo ParallelEnv.
            team_reward: how the agents' rewards become the team's: ``shared`` (they are
                equal; checked), ``sum`` or ``mean``; None, the default, for the
                environment's own way, which is ``shared`` unless its row says otherwise.
            step_time_limit_s: how long one copy may take for a step or a reset before it
                counts as failed; None for ever. With ``restart_failed_sub_environments`` it
                is then replaced, else training ends with an error that says where.
            **settings: RLlib's own, such as ``env_config``.
        """
        if env is not NotProvided:
            self.team_env = env
            env = env if isinstance(env, str) or env is None else _name_of(env)
        if team_reward is not NotProvided:
            self.team_reward = team_reward
        if step_time_limit_s is not NotProvided:
            self.step_time_limit_s = step_time_limit_s
        super().environment(env, **settings)
        return self

    def env_runners(self, *, sample_async: Any = NotProvided, **settings: Any) -> TeamConfig:
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

    def unknown_setting(self, kind: str, name: str, known: set[str]) -> ConfigError:
        """An error that says whose setting it is, or which name is nearest."""
        owners = [a for a, own in HYPERPARAMETERS.items() if name in vars(own())]
        if owners:
            return ConfigError(
                f"{name!r} is a setting of {' and '.join(owners)}, not of {self.algorithm}"
            )
        return ConfigError(unknown_name(kind, name, known))

    def training(self, **settings: Any) -> TeamConfig:
        """Set training options: this package's own here, all others in RLlib.

        Raises:
            ConfigError: the name of a setting is unknown.
        """
        names = self.own_settings()
        own = {name: settings.pop(name) for name in names if name in settings}
        known = {*_keywords(PPOConfig.training), *_keywords(AlgorithmConfig.training)}
        for name in settings:
            if name not in known:
                raise self.unknown_setting("training setting", name, known | {*names})
        super().training(**settings)
        for name, value in own.items():
            setattr(self, name, value)
        return self

    def evaluation(self, *, evaluation_seed: Any = NotProvided, **settings: Any) -> TeamConfig:
        """Set evaluation options.

        Args:
            evaluation_seed: seed of evaluation episodes, the same at every evaluation so
                that results differ by policy and not by luck; None draws fresh ones.
            **settings: RLlib's own.
        """
        if evaluation_seed is not NotProvided:
            self.evaluation_seed = evaluation_seed
        super().evaluation(**settings)
        return self

    def hyperparameters(self) -> TeamSettings:
        """This package's own settings, checked."""
        # A configuration from an earlier checkpoint lacks settings that have come since.
        own = {name: getattr(self, name) for name in self.own_settings() if hasattr(self, name)}
        return HYPERPARAMETERS[self.algorithm](**own)

    def environment_stamp(self, spec: TeamSpec) -> dict[str, Any]:
        """What decides whether two results can be compared: rules, arguments, reward scale."""
        return {
            "name": str(self.env),
            "version": spec.version,
            "config": dict(self.env_config),
            "team_reward": spec.team_reward,
        }

    def env_creator(self) -> TeamEnvCreator:
        """What builds the environment on every worker."""
        source: Any = self.team_env if self.team_env is not None else self.env
        if source is None:
            raise ConfigError("no environment chosen; call config.environment(name or function)")
        restart = bool(self.restart_failed_sub_environments)
        return TeamEnvCreator(source, self.team_reward, restart, self.step_time_limit_s)

    def validate(self) -> None:
        """Check every setting before any worker starts.

        Raises:
            ConfigError: names the setting, its value and the values that it may take.
        """
        settings = self.hyperparameters()
        for name, allowed in INHERITED_RANGES.items():
            allowed.check(name, getattr(self, name))
        TEAM_REWARDS.check("team_reward", self.team_reward)
        optional(number(0, open_low=True)).check("step_time_limit_s", self.step_time_limit_s)
        integer(1).check("model['max_seq_len']", self.model["max_seq_len"])
        for name, (value, reason) in UNSUPPORTED.items():
            if getattr(self, name) not in (value, None):
                raise ConfigError(
                    f"{name} must be {value!r} here ({reason}), got {getattr(self, name)!r}"
                )
        if self.num_gpus not in (0, 1):
            raise ConfigError(f"num_gpus must be 0 or 1 (one learner), got {self.num_gpus!r}")
        if self.is_multi_agent:
            raise ConfigError("multi_agent() is not used: the whole team is one policy")
        check_compiler(self)
        self.minibatch_size = self.minibatch_size or self.train_batch_size
        if settings.learner == "a2c":
            self._check_single_pass()
        boolean.check("sample_async", self.sample_async)
        if self.sample_async and not self.in_evaluation:
            self._check_asynchronous(settings)
        self.model["custom_model"] = MODEL_NAME
        self.model["custom_model_config"] = {"algorithm": self.algorithm, **asdict(settings)}
        super().validate()

    def _check_asynchronous(self, settings: TeamSettings) -> None:
        """Somebody must sample meanwhile, one batch ahead, and the loss must know the lag."""
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
        if settings.learner == "a2c":
            raise ConfigError(
                "sample_async=True samples with the policy of before the last update, and "
                "learner='a2c' has no ratio that accounts for it; set learner='ppo' or "
                "sample_async=False"
            )

    def _check_single_pass(self) -> None:
        """A2C's gradient is that of the policy which acted: one step for each batch."""
        if self.num_epochs != 1 or self.minibatch_size < self.train_batch_size:
            raise ConfigError(
                "learner='a2c' learns from each batch once and as a whole: set num_epochs=1 and "
                f"minibatch_size=None, got num_epochs={self.num_epochs!r} and "
                f"minibatch_size={self.minibatch_size!r} of {self.train_batch_size!r} steps"
            )


def _keywords(function: Callable[..., Any]) -> set[str]:
    parameters = inspect.signature(function).parameters.values()
    return {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}


def _name_of(env: Any) -> str:
    module = getattr(env, "__module__", "custom")
    return f"{module}:{getattr(env, '__qualname__', type(env).__name__)}"
