"""Checks of command lines in the cluster files, by the parsers of the called programs."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from typing import Any

import click

from rllib_agentmixer.errors import AgentMixerError

OURS = (["rllib-agentmixer"], ["python", "-m", "rllib_agentmixer"])
SHARED_FOLDER = "/runs"


def parsed(command: Any, name: str, arguments: Sequence[str]) -> tuple[click.Context | None, str]:
    """Parsed arguments of a click command, or the error message."""
    try:
        return command.make_context(name, list(arguments)), ""
    except click.exceptions.Exit:  # --help, --version
        return None, ""
    except click.ClickException as error:
        return None, error.format_message()


def own_arguments(words: Sequence[str]) -> list[str] | None:
    """Arguments of this project's command, without ``env`` and assignments; None for others."""
    rest = list(words)
    while rest and (rest[0] == "env" or re.match(r"\w+=", rest[0])):
        rest = rest[1:]
    for start in OURS:
        if rest[: len(start)] == start:
            return rest[len(start) :]
    return None


def check_own(words: Sequence[str]) -> Iterator[str]:
    """Check a command line of this project: flags, values and settings."""
    from rllib_agentmixer.cli import cli

    arguments = own_arguments(words)
    if arguments is None:
        yield f"not a command of this project: {shlex.join(words)}"
        return
    if not arguments or arguments[0].startswith("-"):
        _, problem = parsed(cli, "rllib-agentmixer", arguments or ["--help"])
    elif arguments[0] not in cli.commands:
        problem = f"no command {arguments[0]!r}"
    else:
        command = cli.commands[arguments[0]]
        context, problem = parsed(command, arguments[0], arguments[1:])
        if context is not None and arguments[0] in ("train", "tune"):
            problem = settings_problem(arguments[0], context.params)
    if problem:
        yield f"{shlex.join(words)}: {problem}"


def settings_problem(verb: str, values: dict[str, Any]) -> str:
    """Configuration error of algorithm, environment, settings or ranges; empty if valid."""
    from rllib_agentmixer.commands.common import make_config
    from rllib_agentmixer.commands.tune import new_plan

    if ":" in values["env"]:  # of the user's own
        return ""
    try:
        if verb == "tune":
            new_plan(values["env"], values["settings"], values)
        else:
            names = ("env", "algo", "seed", "workers", "settings")
            make_config(*(values[name] for name in names))
    except (AgentMixerError, ValueError, TypeError) as error:
        return str(error)
    return ""


def check_restartable(words: Sequence[str], shared: str = SHARED_FOLDER) -> Iterator[str]:
    """Check that a command resumes when rerun after a failure, from a shared folder."""
    if "--resume-if-possible" not in words:
        yield "a command that is run again needs --resume-if-possible"
    out = words[words.index("--out") + 1] if "--out" in words[:-1] else ""
    if not out.startswith(shared):
        yield f"--out {out!r} is not in the shared folder {shared}"


def joined(text: str) -> str:
    """Shell script with continuation lines joined and comments removed."""
    lines = [line for line in text.replace("\\\n", " ").splitlines() if not _is_comment(line)]
    return "\n".join(lines)


def _is_comment(line: str) -> bool:
    return line.lstrip().startswith("#")


def simple_commands(text: str) -> Iterator[list[str]]:
    """Words of every simple command of a shell script, split at line ends and operators."""
    for line in joined(text).splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|()")
        lexer.whitespace_split = True
        lexer.commenters = "#"
        words: list[str] = []
        for word in lexer:
            if set(word) <= set(";&|()"):
                yield words
                words = []
            else:
                words.append(word)
        yield words


def ray_calls(text: str, verb: str) -> Iterator[list[str]]:
    """Arguments of every ``ray VERB`` in a shell script."""
    for words in simple_commands(text):
        for index, word in enumerate(words[:-1]):
            if word.rpartition("/")[2] == "ray" and words[index + 1] == verb:
                yield words[index + 2 :]


def check_ray_start(arguments: Sequence[str]) -> Iterator[str]:
    """Check flags of ``ray start`` with Ray's parser, and the address of its dashboard."""
    from ray.scripts.scripts import start

    context, problem = parsed(start, "start", arguments)
    if problem:
        yield f"ray start {shlex.join(arguments)}: {problem}"
    if context is not None and context.params["head"]:
        host = context.params["dashboard_host"]
        if host not in ("127.0.0.1", "localhost"):
            yield f"the dashboard listens on {host}, not on 127.0.0.1"


def check_symmetric_run(arguments: Sequence[str]) -> Iterator[str]:
    """Check ``ray symmetric-run``: its flags, those of ``ray start``, and the entrypoint."""
    from ray.scripts.symmetric_run import symmetric_run

    if "--" not in arguments:
        yield "ray symmetric-run needs -- before the command"
        return
    end = list(arguments).index("--")
    # All shell variables here are numbers.
    known = [re.sub(r"\$\w+", "1", word) for word in arguments[:end]]
    context, problem = parsed(symmetric_run, "symmetric-run", known)
    if context is None:
        yield f"ray symmetric-run: {problem}"
        return
    yield from check_ray_start(context.params["ray_args_and_entrypoint"])
    yield from check_own(arguments[end + 1 :])


def check_job_submit(arguments: Sequence[str]) -> Iterator[str]:
    """Check ``ray job submit`` and its entrypoint."""
    from ray.dashboard.modules.job.cli import submit

    context, problem = parsed(submit, "submit", arguments)
    if context is None:
        yield f"ray job submit: {problem}"
        return
    yield from check_own(list(context.params["entrypoint"]))
