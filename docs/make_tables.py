"""Writes what the package knows of itself into its pages: python docs/make_tables.py [--check]."""

from __future__ import annotations

import sys
from pathlib import Path

from rllib_agentmixer.envs import ENVS
from rllib_agentmixer.envs.entry import EnvEntry

PAGE = Path(__file__).parent / "environments.md"
BEGIN, END = "<!-- environments: begin -->", "<!-- environments: end -->"


def environment_table() -> str:
    """One row for each constructor in the registry; names that fix its arguments share it."""
    lines = [
        "| name | what | extra | actions | state | team reward | seed | version |",
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


def page_with_table(text: str) -> str:
    """The page with the table of today's registry."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{environment_table()}\n{END}{after}"


def main(arguments: list[str]) -> int:
    """Rewrite the page, or with ``--check`` only say whether it is up to date."""
    text = PAGE.read_text(encoding="utf-8")
    wanted = page_with_table(text)
    if "--check" in arguments:
        return int(text != wanted)
    PAGE.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
