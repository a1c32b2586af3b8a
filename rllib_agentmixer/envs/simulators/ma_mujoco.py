"""Multi-agent MuJoCo: one robot whose joints are partitioned among agents.

Robots, partitions and observations are those of gymnasium-robotics' ``mamujoco_v1``
(robotics.farama.org/envs/MaMuJoCo). The differences are in form: float32 observations, bounds
and a state space, an info dictionary for each agent, a global state, snapshots, and speed:
where an agent's observation is a part of the robot's, it is sliced instead of recomputed.

Known fault of the package, kept so that results compare: in ManySegmentAnt (its 1.4.2) agents see
the positions and velocities of other segments' joints, and some see the torso's, because its
table of joints counts from the wrong end.

References: Peng et al., "FACMAC", 2021, arXiv:2003.06709 (the task); Li et al., "AgentMixer",
2025, arXiv:2401.08728 (each agent sees its own joints alone).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv

from rllib_agentmixer.envs.simulators import ma_mujoco_robots as robots
from rllib_agentmixer.envs.simulators.ma_mujoco_partitions import Joints, resolve_partition
from rllib_agentmixer.envs.simulators.ma_mujoco_views import AgentViews, Views
from rllib_agentmixer.envs.vector_env import FloatArray
from rllib_agentmixer.errors import ConfigError, EnvContractError


def ma_mujoco(
    *,
    scenario: str,
    partition: str | Joints,
    observation: Literal["own", "package"] = "own",
    agent_obsk: Any = "preset",
    local_categories: Sequence[Sequence[str]] | None = None,
    global_categories: Any = "preset",
    standardize: bool = False,
    max_steps: int | None = None,
    render_mode: str | None = None,
    **settings: Any,
) -> MAMujoco:
    """One robot as a team.

    Args:
        scenario: ``Ant``, ``HalfCheetah``, ``Hopper``, ``Humanoid``, ``HumanoidStandup``,
            ``Pusher``, ``Reacher``, ``Swimmer``, ``Walker2d``, ``ManySegmentAnt`` or
            ``ManySegmentSwimmer``.
        partition: joints of each agent: ``"2x3"`` for 2 agents with 3 joints each, ``"9|8"``;
            ``"<agents>x<segments each>"`` for robots made of segments; or lists of the names
            of each agent's joints.
        observation: what agents see. ``own``: their own joints alone, as in the paper.
            ``package``: gymnasium-robotics' default, the torso and the joints next to theirs.
        agent_obsk: how many joints away agents see; replaces the preset's 0 or 1.
        local_categories: what they see of joints at each distance, ``agent_obsk`` + 1 lists
            such as ``[["qpos", "qvel"], ["qpos"]]``; None for the package's.
        global_categories: what all see of the torso, such as ``["qpos", "qvel"]``; replaces
            the preset's.
        standardize: make the numbers of each observation have mean 0 and deviation 1 among
            themselves, as HARL does (a constant one becomes zeros). Of two numbers only their
            order is left. Networks with ``input_layer_norm`` do the same themselves.
        max_steps: truncates the episode; None for the task's own limit, mostly 1000.
        render_mode: None, ``"rgb_array"``, or ``"human"`` for a window.
        settings: any other argument of the robot in Gymnasium, such as
            ``reset_noise_scale``.

    Raises:
        ConfigError: unknown scenario or partition, or ``agent_obsk=None``.
    """
    if observation not in ("own", "package"):
        raise ConfigError(f"observation must be 'own' or 'package', got {observation!r}")
    shows_torso = observation == "package"
    if agent_obsk is None:
        raise ConfigError(
            "agent_obsk=None makes the package build ONE agent that sees and moves everything; "
            "give the number of joints, and observation='package' to see the torso too"
        )
    torso = ("qpos", "qvel") if shows_torso else ()
    views = Views(
        depth=int(shows_torso) if agent_obsk == "preset" else agent_obsk,
        local=local_categories,
        torso=torso if global_categories == "preset" else global_categories,
        standardize=standardize,
        is_preset=local_categories is None and global_categories == "preset" and not settings,
    )
    if max_steps is not None and max_steps < 1:
        raise ConfigError(f"max_steps must be None or at least 1, got {max_steps!r}")
    views.check(scenario)
    return MAMujoco(scenario, partition, views, max_steps, render_mode, settings)


class MAMujoco(ParallelEnv):
    """A robot controlled by several agents; arguments as of :func:`ma_mujoco`.

    The state is the robot's whole observation in Gymnasium.
    """

    metadata = {  # noqa: RUF012  PettingZoo declares it as a plain class attribute
        "name": "ma_mujoco",
        "render_modes": ["human", "rgb_array"],
        "is_parallelizable": True,
        "render_fps": 20,
    }

    def __init__(
        self,
        scenario: str,
        partition: str | Joints,
        views: Views,
        max_steps: int | None,
        render_mode: str | None,
        settings: dict[str, Any],
    ) -> None:
        modes = self.metadata["render_modes"]
        if render_mode is not None and render_mode not in modes:
            raise ConfigError(f"render_mode must be None or one of {modes}, got {render_mode!r}")
        self._arguments = (scenario, partition, views, max_steps, render_mode, settings)
        self.render_mode = render_mode
        resolved = resolve_partition(scenario, partition)
        self._robot, limit = robots.build(scenario, resolved, render_mode, settings)
        self._max_steps = limit if max_steps is None else max_steps
        package = robots.partitioned(scenario, resolved, views, self._robot)
        self._views = AgentViews(package, scenario, views)
        self.possible_agents: list[str] = list(package.possible_agents)
        self.agents: list[str] = []
        parts = package.agent_action_partitions
        self._joints = [np.array([node.act_ids for node in part], np.intp) for part in parts]
        self._make_spaces()
        self._whole = np.zeros(self.state_space.shape)
        self._num_steps = 0
        # State before the last step, and its actions: they keep snapshots small.
        self._before: np.ndarray | None = None
        self._action = np.zeros(self._robot.action_space.shape)

    def _make_spaces(self) -> None:
        low, high = self._robot.action_space.low, self._robot.action_space.high
        self.action_spaces = {
            name: spaces.Box(low[joints], high[joints], dtype=np.float32)
            for name, joints in zip(self.possible_agents, self._joints, strict=True)
        }
        self.observation_spaces = {
            name: spaces.Box(-np.inf, np.inf, (size,), np.float32)
            for name, size in zip(self.possible_agents, self._views.sizes, strict=True)
        }
        shape = self._robot.observation_space.shape
        self.state_space = spaces.Box(-np.inf, np.inf, shape, np.float32)

    def observation_space(self, agent: str) -> spaces.Space:
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space:
        return self.action_spaces[agent]

    def state(self) -> FloatArray:
        """The robot's whole observation."""
        return self._whole.astype(np.float32)

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, FloatArray], dict[str, dict[str, Any]]]:
        """Start an episode; a seed determines all randomness from here on."""
        self._whole, info = self._robot.reset(seed=seed, options=options)
        self.agents = list(self.possible_agents)
        self._num_steps = 0
        self._before = None
        return self._observations(), {name: dict(info) for name in self.possible_agents}

    def step(self, actions: dict[str, Any]) -> tuple[dict, dict, dict, dict, dict]:
        if not self.agents:
            raise EnvContractError("ma_mujoco: the episode is over; call reset() before step()")
        for name, joints in zip(self.possible_agents, self._joints, strict=True):
            if name not in actions:
                raise EnvContractError(f"ma_mujoco: no action for {name!r}")
            self._action[joints] = actions[name]
        self._before = robots.get_state(self._robot)
        self._whole, reward, terminated, _, info = self._robot.step(self._action)
        self._num_steps += 1
        truncated = self._num_steps >= self._max_steps
        if terminated or truncated:
            self.agents = []
        names = self.possible_agents
        return (
            self._observations(),
            dict.fromkeys(names, float(reward)),
            dict.fromkeys(names, bool(terminated)),
            dict.fromkeys(names, truncated),
            {name: dict(info) for name in names},
        )

    def render(self) -> np.ndarray | None:
        """RGB picture of the robot, or None without ``render_mode``."""
        if self.render_mode is None:
            return None
        try:
            return self._robot.render()
        except Exception as error:  # each graphics library raises its own errors
            raise ConfigError(
                f"MuJoCo cannot render on this machine ({error!r}); without a display, set the "
                "environment variable MUJOCO_GL to 'egl' or 'osmesa', whichever is installed"
            ) from error

    def close(self) -> None:
        self._robot.close()

    def _observations(self) -> dict[str, FloatArray]:
        return dict(zip(self.possible_agents, self._views.of(self._whole), strict=True))

    def __getstate__(self) -> dict[str, Any]:
        """A small state: the arguments, and the state before the last step."""
        return {
            "arguments": self._arguments,
            "agents": self.agents,
            "num_steps": self._num_steps,
            "generator": self._robot.np_random.bit_generator.state,
            "now": robots.get_state(self._robot),
            "before": self._before,
            "action": self._action,
        }

    def __setstate__(self, snapshot: dict[str, Any]) -> None:
        self.__init__(*snapshot["arguments"])
        self.agents = snapshot["agents"]
        self._num_steps = snapshot["num_steps"]
        self._before, self._action = snapshot["before"], snapshot["action"]
        self._robot.reset()
        if self._before is None:
            robots.set_state(self._robot, snapshot["now"])
        else:
            # Some rewards read what MuJoCo leaves behind from the beginning of the step before
            # theirs: taking that step again brings it back.
            robots.set_state(self._robot, self._before)
            self._robot.step(self._action)
        self._whole = self._robot._get_obs()
        self._robot.np_random.bit_generator.state = snapshot["generator"]
