"""Generator of the tables in the documentation: python docs/make_tables.py [--check]."""

from __future__ import annotations

import sys
from pathlib import Path

from rllib_agentmixer.core.algorithms.registry import ALGORITHMS
from rllib_agentmixer.envs import ENVS
from rllib_agentmixer.envs.entry import EnvEntry
from rllib_agentmixer.search.spaces import PERTURBABLE

DOCS = Path(__file__).parent


def environment_table() -> str:
    """One row for each constructor in the registry; names that fix its arguments share it."""
    lines = [
        "| name | task | extra | actions | state | team reward | seed | version |",
        "|---|---|---|---|---|---|---|---|",
    ]
    groups: dict[object, list[EnvEntry]] = {}
    for entry in ENVS.values():
        groups.setdefault(entry.constructor, []).append(entry)
    for entries in groups.values():
        first = entries[0]
        names = ", ".join(f"`{entry.name}`" for entry in entries)
        rewards = ", ".join(dict.fromkeys(entry.team_reward for entry in entries))
        seed = "yes" if all(entry.is_reproducible for entry in entries) else "no"
        extra = "the game" if first.install else f"`{first.extra}`" if first.extra else ""
        cells = (names, first.summary, extra, first.actions, first.state, rewards, seed)
        lines.append(f"| {' | '.join(cells)} | {first.version} |")
    return "\n".join(lines)


def space_table() -> str:
    """One row for each setting in a default search space."""
    spaces = {name: entry.search_space for name, entry in ALGORITHMS.items()}
    names = dict.fromkeys(name for space in spaces.values() for name in space)
    lines = [f"| setting | {' | '.join(spaces)} | `pbt` |", "|---" * (len(spaces) + 2) + "|"]
    for name in names:
        cells = [f"`{space[name]}`" if name in space else "" for space in spaces.values()]
        perturbed = "yes" if name in PERTURBABLE else ""
        lines.append(f"| `{name}` | {' | '.join(cells)} | {perturbed} |")
    return "\n".join(lines)


TABLES = {
    "environments.md": ("environments", environment_table),
    "tuning.md": ("spaces", space_table),
}
"""Page -> name in its two markers, and function that builds the text between them."""


def page_with_table(name: str, text: str) -> str:
    """The page with its table regenerated."""
    mark, make = TABLES[name]
    begin, end = f"<!-- {mark}: begin -->", f"<!-- {mark}: end -->"
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n{make()}\n{end}{after}"


def main(arguments: list[str]) -> int:
    """Rewrite the pages, or with ``--check`` only report whether they are up to date."""
    is_old = False
    for name in TABLES:
        text = (DOCS / name).read_text(encoding="utf-8")
        wanted = page_with_table(name, text)
        is_old |= text != wanted
        if "--check" not in arguments:
            (DOCS / name).write_text(wanted, encoding="utf-8")
    return int(is_old and "--check" in arguments)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
