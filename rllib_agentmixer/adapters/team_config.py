"""Configuration of algorithms that train a team as one policy, on either API stack of RLlib."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, ClassVar

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.utils.from_config import NotProvided
from ray.tune.registry import ENV_CREATOR, _global_registry

from rllib_agentmixer.adapters.compilation import check_compiler
from rllib_agentmixer.adapters.keywords import keywords
from rllib_agentmixer.core.algorithms.entry import AlgorithmEntry
from rllib_agentmixer.core.algorithms.registry import ALGORITHMS, owners_of
from rllib_agentmixer.core.learners.learner import Learner
from rllib_agentmixer.core.settings.base import TeamSettings
from rllib_agentmixer.core.settings.ranges import integer, number, one_of, optional
from rllib_agentmixer.core.settings.rllib_settings import RLlibSettings
from rllib_agentmixer.envs.construction import listed_agents
from rllib_agentmixer.envs.registry import find_entry
from rllib_agentmixer.envs.team_gym import TeamEnvCreator
from rllib_agentmixer.envs.vector_env import TeamSpec
from rllib_agentmixer.errors import ConfigError, MissingExtraError
from rllib_agentmixer.rollouts.episodes import MOST_EPISODE_STEPS
from rllib_agentmixer.rollouts.team import environment_stamp
from rllib_agentmixer.utils.exact_json import encode
from rllib_agentmixer.utils.suggest import unknown_name

TEAM_REWARDS = one_of(None, "shared", "sum", "mean")

RENAMED = {"lambda_": "lambda"}

LEGACY_SCHEDULES = ("lr", "entropy_coeff")
"""RLlib's settings that have a second one, ``<name>_schedule``, which wins."""


class TeamConfig(AlgorithmConfig):
    """An algorithm's own settings and a team environment, over RLlib's configuration.

    A subclass names its algorithm: ``algorithm = "mappo"``.
    """

    algorithm: ClassVar[str]
    """Name in the registry of algorithms."""

    step_time_limit_s: Any = 300.0  # of configurations of earlier versions

    score_metric: Any = None
    """Path of a nested metric that results repeat under that very name, such as
    ``evaluation/individual/episode_return_mean``: Ray Tune ranks checkpoints by flat names."""

    def set_team_defaults(self) -> None:
        """Defaults of the algorithm's entry, and of what this package adds to RLlib."""
        settings = self.entry.make_settings()
        for source in (settings, self.entry.default_rllib(settings)):
            for name, default in vars(source).items():
                setattr(self, name, default)
        self.framework_str = "torch"
        self.team_reward: Any = None
        self.team_agents: tuple[str, ...] | None = None
        self.step_time_limit_s = type(self).step_time_limit_s
        self.grad_clip_by = "global_norm"
        self.evaluation_duration = 32
        self.evaluation_seed = 0
        self.evaluation_max_steps = MOST_EPISODE_STEPS
        self.torch_compile_worker_dynamo_backend = "inductor"  # RLlib's default is not installed
        self.given_settings: tuple[str, ...] = ()
        self.score_metric = None

    @property
    def entry(self) -> AlgorithmEntry:
        """Entry of the algorithm."""
        return ALGORITHMS[self.algorithm]

    @classmethod
    def own_settings(cls) -> tuple[str, ...]:
        """Names of the settings that the algorithm adds to RLlib's."""
        return ALGORITHMS[cls.algorithm].settings.names()

    def environment(
        self,
        env: Any = NotProvided,
        *,
        team_reward: Any = NotProvided,
        step_time_limit_s: Any = NotProvided,
        **settings: Any,
    ) -> Any:
        """Choose the environment.

        Args:
            env: a name from ``ENVS``, ``"module:function"``, or any function of the
                environment's settings that returns a PettingZoo ParallelEnv.
            team_reward: how the agents' rewards become the team's: ``shared`` (they are
                equal; checked), ``sum`` or ``mean``; None, the default, for the
                environment's default, ``shared`` unless its entry specifies another.
            step_time_limit_s: how long one sub-environment may take for a step or a reset
                before it counts as failed; None: no limit. With
                ``restart_failed_sub_environments`` it is then replaced, else training ends
                with an error that names it.
            **settings: RLlib's own, such as ``env_config``.
        """
        if team_reward is not NotProvided:
            self.team_reward = team_reward
        if step_time_limit_s is not NotProvided:
            self.step_time_limit_s = step_time_limit_s
        super().environment(env, **settings)
        return self

    def unknown_setting(self, kind: str, name: str, known: set[str]) -> ConfigError:
        """Error that names the algorithms with this setting, or the nearest name."""
        owners = owners_of(name)
        if owners:
            return ConfigError(
                f"{name!r} is a setting of {', '.join(owners)}, not of {self.algorithm}"
            )
        return ConfigError(unknown_name(kind, name, known))

    def training(self, **settings: Any) -> Any:
        """Set training options: the algorithm's own here, all others in RLlib.

        Raises:
            ConfigError: the name of a setting is unknown.
        """
        known = keywords(super().training) | keywords(AlgorithmConfig.training)
        names = {*self.own_settings(), *self.entry.rllib.names()} - known
        own = {name: settings.pop(name) for name in names if name in settings}
        for name in settings:
            if name not in known:
                raise self.unknown_setting("training setting", name, known | {*names})
        super().training(**settings)
        for name, value in own.items():
            setattr(self, name, value)
        self.remember_given(*own, *settings)
        return self

    def remember_given(self, *names: str) -> None:
        """Note settings that the user chose: the learner's defaults leave them alone."""
        self.given_settings = tuple(sorted({*self.given_settings, *names}))

    def evaluation(
        self,
        *,
        evaluation_seed: Any = NotProvided,
        evaluation_max_steps: Any = NotProvided,
        **settings: Any,
    ) -> Any:
        """Set evaluation options.

        Args:
            evaluation_seed: seed of evaluation episodes, the same at every evaluation so
                that results differ by policy and not by luck; None draws fresh ones.
            evaluation_max_steps: bound on the steps of one episode. One that reaches it is
                cut, counts with its return so far, and a warning says so. It also bounds
                episodes that are sampled as a whole (``batch_mode="complete_episodes"``, and
                every off-policy algorithm), where it counts as a time limit.
            **settings: RLlib's own.
        """
        if evaluation_seed is not NotProvided:
            self.evaluation_seed = evaluation_seed
        if evaluation_max_steps is not NotProvided:
            self.evaluation_max_steps = evaluation_max_steps
        super().evaluation(**settings)
        return self

    def hyperparameters(self) -> TeamSettings:
        """The algorithm's own settings, checked."""
        # A configuration of an earlier version lacks settings that have come since.
        names = (name for name in self.own_settings() if hasattr(self, name))
        return self.entry.make_settings(**{name: getattr(self, name) for name in names})

    def rllib_settings(self) -> RLlibSettings:
        """RLlib's settings that the algorithm reads, checked."""
        return rllib_settings(self.entry, vars(self))

    @property
    def learner_type(self) -> type[Learner]:
        """The learner that the settings choose."""
        return self.entry.learner(self.hyperparameters())

    def environment_stamp(self, spec: TeamSpec) -> dict[str, Any]:
        """Rules, arguments and reward scale, by which results can be compared."""
        return environment_stamp(self.env, self.env_config, spec)

    def env_creator(self) -> TeamEnvCreator:
        """Creator of the environment on every worker."""
        source: Any = self.env
        if source is None:
            raise ConfigError("no environment chosen; call config.environment(name or function)")
        if isinstance(source, str) and find_entry(source) is None:
            source = self._registered_in_ray(source) or source
        restart = bool(self.restart_failed_sub_environments)
        limit, agents = self.step_time_limit_s, self.team_agents
        return TeamEnvCreator(source, self.team_reward, restart, limit, agents)

    @staticmethod
    def _registered_in_ray(name: str) -> str | Callable[..., Any] | None:
        """The function of ``ray.tune.registry.register_env``, if the name is of one."""
        if not _global_registry.contains(ENV_CREATOR, name):
            return None
        found = _global_registry.get(ENV_CREATOR, name)
        # Algorithms register the creator of their own environment.
        return found.source if isinstance(found, TeamEnvCreator) else found

    def fix_agents(self) -> None:
        """Fix the order of agents before any remote worker builds the environment.

        Raises:
            EnvContractError: the environment cannot be built.
        """
        if not (self.num_env_runners or self.evaluation_num_env_runners):
            return  # the driver's own environment decides
        # Where only the workers have the environment's package, their orders are compared.
        with contextlib.suppress(MissingExtraError):
            source = self.env_creator().source
            self.remember_agents(self.team_agents or listed_agents(source, self.env_config))

    def remember_agents(self, agents: tuple[str, ...] | None) -> None:
        """Note the order of agents; checkpoints keep it. A frozen configuration allows it."""
        vars(self)["team_agents"] = agents

    def check_team(self) -> None:
        """Check every setting before any worker starts.

        Raises:
            ConfigError: names the setting, its value and the values that it may take.
        """
        learner = self.learner_type
        defaults = self.entry.default_rllib()
        for name, value in learner.rllib_defaults.items():
            if name not in self.given_settings and getattr(self, name) == getattr(defaults, name):
                setattr(self, name, value)
        rllib = self.rllib_settings()
        learner.check(self.hyperparameters(), rllib)
        TEAM_REWARDS.check("team_reward", self.team_reward)
        optional(number(0, open_low=True)).check("step_time_limit_s", self.step_time_limit_s)
        integer(1).check("model['max_seq_len']", self.model["max_seq_len"])
        integer(1).check("evaluation_max_steps", self.evaluation_max_steps)
        self.check_env_config()
        if self.is_multi_agent:
            raise ConfigError("multi_agent() is not used: the whole team is one policy")
        check_compiler(self)

    def check_env_config(self) -> None:
        """Check that checkpoints can hold the environment's arguments.

        Raises:
            ConfigError: names the argument and its type.
        """
        if not isinstance(self.env_config, dict):
            raise ConfigError(f"env_config must be a dictionary, got {self.env_config!r}")
        try:
            encode(dict(self.env_config), "env_config")
        except TypeError as error:
            raise ConfigError(
                f"{error}, which a checkpoint cannot hold exactly; pass numbers, text, arrays, "
                "lists, dictionaries, enumerations or importable functions, and build the rest "
                "from them in the environment"
            ) from error


def rllib_settings(entry: AlgorithmEntry, config: Any) -> RLlibSettings:
    """RLlib's settings that an algorithm reads, from a configuration's dictionary, checked."""
    # RLlib's dictionaries of settings, which policies get, call lambda_ by another name.
    names = {name: RENAMED.get(name, name) for name in entry.rllib.names()}
    given = {
        name: config[name if name in config else other]
        for name, other in names.items()
        if name in config or other in config
    }
    for name in LEGACY_SCHEDULES:
        if name in given and config.get(f"{name}_schedule"):
            given[name] = config[f"{name}_schedule"]
    return entry.rllib(**{**entry.rllib_defaults, **given})
