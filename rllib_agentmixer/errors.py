"""Errors that the package raises at its borders.

Each message says what was wrong, the offending value, and what to do about it. The
command line prints the message alone and exits with status 2.
"""


class AgentMixerError(Exception):
    """Base of all errors that a user can cause and mend."""


class ConfigError(AgentMixerError, ValueError):
    """A setting is unknown, out of its range, or does not fit another one."""


class EnvContractError(AgentMixerError, ValueError):
    """An environment broke the PettingZoo contract or the package's own."""


class CheckpointError(AgentMixerError):
    """A checkpoint is missing, damaged, or belongs to something else."""


class ExportError(AgentMixerError):
    """An export folder could not be written, read, or proved equal to its checkpoint."""


class MissingExtraError(AgentMixerError, ImportError):
    """An optional package is not installed; the message names the extra that brings it."""
