"""The command line ``rllib-agentmixer``: its group of commands, and how errors reach the user.

Ray is imported only by what needs it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from rllib_agentmixer import __version__
from rllib_agentmixer.commands.check_env import check_env
from rllib_agentmixer.commands.compare import compare
from rllib_agentmixer.commands.demo import demo
from rllib_agentmixer.commands.evaluate import evaluate
from rllib_agentmixer.commands.export import export
from rllib_agentmixer.commands.listing import list_all
from rllib_agentmixer.commands.register import register
from rllib_agentmixer.commands.sync import sync
from rllib_agentmixer.commands.train import train
from rllib_agentmixer.commands.tune import tune
from rllib_agentmixer.errors import user_error
from rllib_agentmixer.runs.local_ray import keep_ray_private


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__)
def cli() -> None:
    """AgentMixer on RLlib: train a team together, deploy its members apart."""


COMMANDS = (
    *(train, tune, evaluate, export, register, compare, sync),
    *(list_all, check_env, demo),
)

for command in COMMANDS:
    cli.add_command(command)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; errors that the user can fix are one line and status 2."""
    keep_ray_private()
    # A module:function may lie in the current folder; last, so that it hides no library.
    sys.path.append(str(Path.cwd()))
    try:
        cli.main(args=arguments, prog_name="rllib-agentmixer", standalone_mode=False)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except click.Abort:
        sys.exit(130)
    except Exception as error:
        known = user_error(error)
        if known is None and isinstance(error, OSError) and error.filename is not None:
            known = f"{error.filename}: {error.strerror}; choose another path"
        if known is None:
            raise
        click.echo(f"error: {known}", err=True)
        sys.exit(2)
