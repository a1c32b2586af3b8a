"""Environments: a registry, and a vectorized form of each that steps a team as arrays.

| name | agents | actions | task |
|---|---|---|---|
| matrix_game | 2 (permutation: N) | 3 (N) | any of the games below by ``game=`` |
| climbing | 2 | 3 | leave the safe equilibrium 7 for the optimum 11 |
| penalty, penalty_<k> | 2 | 3 | agree on one of two optima; disagreeing costs k |
| nonmonotonic | 2 | 3 | an optimum that no monotonic value factorisation finds |
| permutation | 4 | 4 | all agents choose differently: N! modes |
| predator_prey | 2, 4, 8 | 5 | meet at the prey without seeing each other |
| continuous_game | 2 | Box 1 | continuous actions, coupled reward, known optimum |
| bridge | 2 | 2 | agree who goes first although the right of way is hidden |
| memory_game | 2 | 4 | answer with a cue that was seen k steps ago |
| skirmish, skirmish_<n>v<n> | 3, 5, 10 | 5 + enemies | win a battle of unlike units; agents die |
| halfcheetah_2x3, ant_4x2, ..; ma_mujoco | 2 to 17 | Box | move one robot (extra ``mamujoco``) |
| vmas_balance, vmas_navigation, ..; vmas | 2 to 4 | Box 2 | robots in the plane (extra ``vmas``) |
| lbf_8x8_2p_2f_coop, ..; lbf | 2, 3 | 6 | load food together (extra ``lbf``) |
| rware_tiny_2ag, ..; rware | 2, 4 | 5 | fetch shelves (extra ``rware``) |
| coop_box_pushing; open_spiel | 2 | 4 | push the large box together (extra ``openspiel``) |
| smacv2_terran_5v5, ..; smacv2 | 5 to 20 | 11 to 29 | SMACv2; the user installs the game |
| simple_spread | 3 | 5 | cover landmarks (mpe2; extra ``mpe``) |
| simple_reference | 2 | 50 | communicate each other's goal (``mpe``) |
| simple_speaker_listener | 2 | 3, 5 | one sees, the other moves (``mpe``) |
| simple_tag | 3 | 5 | catch a scripted prey (``mpe``) |
| multiwalker | 3 | Box 4 | carry a package (extra ``sisl``) |
| pursuit | 8 | 5 | surround evaders; images (``sisl``) |
| knights_archers_zombies | 4 | 6 | agents die one by one (extra ``butterfly``) |

``make_env`` returns one environment as a PettingZoo ``ParallelEnv``, ``make_vector_env``
B sub-environments as arrays; ``register_env`` adds a name. Importing this package imports no
third-party package.
"""

from __future__ import annotations

from rllib_agentmixer.envs.construction import make_env, make_vector_env
from rllib_agentmixer.envs.entry import EnvEntry
from rllib_agentmixer.envs.registry import ENVS, find_entry, register_env

__all__ = ["ENVS", "EnvEntry", "find_entry", "make_env", "make_vector_env", "register_env"]
