"""Entry of an algorithm: everything that the rest of the package knows about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Literal, get_args

from rllib_agentmixer.core.data.sizes import ActionKind, TeamSizes
from rllib_agentmixer.core.learners.learner import Learner
from rllib_agentmixer.core.settings.base import TeamSettings
from rllib_agentmixer.core.settings.rllib_names import RESERVED_NAMES
from rllib_agentmixer.core.settings.rllib_settings import OnPolicySettings, RLlibSettings
from rllib_agentmixer.core.teams.team_module import TeamModule
from rllib_agentmixer.errors import ConfigError

Data = Literal["on_policy", "replay"]
Execution = Literal["individual", "sequential"]

BOTH_KINDS: frozenset[ActionKind] = frozenset(get_args(ActionKind))


@dataclass(frozen=True, kw_only=True, repr=False)
class AlgorithmEntry:
    """Entry of an algorithm: its settings, team and learners.

    Attributes:
        name: in configurations, checkpoints and on the command line.
        summary: one line for listings, without the name.
        class_name: of its RLlib classes, such as ``MAPPO`` (and ``MAPPOConfig``).
        settings: the algorithm's own settings.
        defaults: where this algorithm's defaults differ from those of ``settings``.
        team: builds what is trained.
        learners: by name; the setting ``learner`` chooses where there are several. The first
            one is the default.
        rllib: RLlib's settings that the learners read, with the package's defaults.
        rllib_defaults: where this algorithm's defaults of RLlib's settings differ from those.
        data: ``on_policy`` learns from each batch once it is sampled; ``replay`` from whole
            episodes that are stored.
        execution: ``individual`` if each agent acts on its own observation alone;
            ``sequential`` if it needs the actions of others.
        action_kinds: ``discrete``, ``continuous`` or both.
        search_space: setting -> range in Ray Tune's notation, for searches.

    Raises:
        ConfigError: a part is missing, of the wrong type, or does not fit the others.
    """

    name: str
    class_name: str
    summary: str
    settings: type[TeamSettings]
    team: Callable[[TeamSizes, Any], TeamModule]
    learners: Mapping[str, type[Learner]]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    rllib: type[RLlibSettings] = OnPolicySettings
    rllib_defaults: Mapping[str, Any] = field(default_factory=dict)
    data: Data = "on_policy"
    execution: Execution = "individual"
    action_kinds: frozenset[ActionKind] = BOTH_KINDS
    search_space: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for part in ("name", "class_name"):
            given: Any = getattr(self, part)
            if not (isinstance(given, str) and given.isidentifier()):
                raise ConfigError(
                    f"the {part} of an algorithm has letters, digits and underscores, got {given!r}"
                )
        self._check_types()
        self._check_settings()
        self._check_learners()
        self._check_choices()

    def __repr__(self) -> str:
        return f"AlgorithmEntry({self.name!r})"

    def _wrong(self, message: str) -> ConfigError:
        return ConfigError(f"algorithm {self.name!r}: {message}")

    def _check_types(self) -> None:
        summary: Any = self.summary
        if not (isinstance(summary, str) and summary):
            raise self._wrong(f"summary must be one line of text, got {summary!r}")
        for part, parent in (("settings", TeamSettings), ("rllib", RLlibSettings)):
            kind = getattr(self, part)
            if not (isinstance(kind, type) and issubclass(kind, parent) and is_dataclass(kind)):
                raise self._wrong(
                    f"{part} must be a dataclass derived from {parent.__name__}, got {kind!r}"
                )
        if not callable(self.team):
            raise self._wrong(
                f"team must be a function of (sizes, settings) that returns a TeamModule, got "
                f"{self.team!r}"
            )

    def _check_settings(self) -> None:
        own = {entry.name for entry in fields(self.settings)}
        clashes = sorted(own & (RESERVED_NAMES | set(self.rllib.names())))
        if clashes:
            raise self._wrong(
                f"its settings {', '.join(clashes)} are names of RLlib's configuration; rename "
                "them, or use RLlib's (rllib=, rllib_defaults=)"
            )
        rllib = set(self.rllib.names())
        known = {"defaults": own, "rllib_defaults": rllib, "search_space": own | rllib}
        for part, names in known.items():
            unknown = sorted(set(getattr(self, part)) - names)
            if unknown:
                raise self._wrong(f"{part} names unknown settings: {', '.join(unknown)}")
        try:
            self.make_settings()
            self.rllib(**self.rllib_defaults)
        except TypeError as error:
            raise self._wrong(f"every setting needs a default ({error})") from error

    def _check_learners(self) -> None:
        if not self.learners:
            raise self._wrong("it has no learner; give learners={'name': a subclass of Learner}")
        learners: Mapping[str, Any] = self.learners
        for name, kind in learners.items():
            if not (isinstance(kind, type) and issubclass(kind, Learner)):
                raise self._wrong(f"learner {name!r} must be a subclass of Learner, got {kind!r}")
            if kind.__abstractmethods__:
                missing = ", ".join(sorted(kind.__abstractmethods__))
                raise self._wrong(f"learner {name!r} lacks {missing}")
            unknown = sorted(set(kind.rllib_defaults) - set(self.rllib.names()))
            if unknown:
                raise self._wrong(
                    f"rllib_defaults of learner {name!r} names unknown settings: "
                    f"{', '.join(unknown)}"
                )
        chosen = getattr(self.make_settings(), "learner", None)
        if len(self.learners) > 1 and chosen not in self.learners:
            raise self._wrong(
                f"it has the learners {', '.join(self.learners)}, so its settings need `learner` "
                f"with one of them as default, got {chosen!r}"
            )

    def _check_choices(self) -> None:
        for part, choices in (("data", get_args(Data)), ("execution", get_args(Execution))):
            if getattr(self, part) not in choices:
                raise self._wrong(
                    f"{part} must be one of {list(choices)}, got {getattr(self, part)!r}"
                )
        if not self.action_kinds or not set(self.action_kinds) <= BOTH_KINDS:
            raise self._wrong(
                f"action_kinds must be some of {sorted(BOTH_KINDS)}, got {self.action_kinds!r}"
            )

    def make_settings(self, **given: Any) -> TeamSettings:
        """Settings of this algorithm: its defaults, updated by given values."""
        return self.settings(**{**self.defaults, **given})

    def learner(self, settings: TeamSettings) -> type[Learner]:
        """The learner that the settings choose.

        Raises:
            ConfigError: this algorithm has no such learner.
        """
        name = getattr(settings, "learner", next(iter(self.learners)))
        if name not in self.learners:
            raise ConfigError(
                f"learner must be one of {list(self.learners)} for {self.name}, got {name!r}"
            )
        return self.learners[name]

    def default_rllib(self, settings: TeamSettings | None = None) -> RLlibSettings:
        """Defaults of RLlib's settings, under the learner of the given settings."""
        own = {} if settings is None else self.learner(settings).rllib_defaults
        return self.rllib(**{**self.rllib_defaults, **own})

    def check_sizes(self, sizes: TeamSizes) -> None:
        """Reject a team whose actions this algorithm does not support.

        Raises:
            ConfigError: names the kind of its actions and those that are known.
        """
        if sizes.action_kind not in self.action_kinds:
            raise ConfigError(
                f"{self.name} is for {' and '.join(sorted(self.action_kinds))} actions; this "
                f"environment's are {sizes.action_kind}"
            )
