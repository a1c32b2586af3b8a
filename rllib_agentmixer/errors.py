"""Errors that the package raises at its interfaces.

Each message gives the problem, the offending value, and a remedy. The
command line prints the message alone and exits with status 2.
"""


class AgentMixerError(Exception):
    """Base of all errors that a user can cause and fix."""


class ConfigError(AgentMixerError, ValueError):
    """A setting is unknown, out of its range, or does not fit another one."""


class EnvContractError(AgentMixerError, ValueError):
    """An environment broke the PettingZoo contract or the package's own."""


class LearningError(AgentMixerError, ArithmeticError):
    """An update met non-finite values; the weights are unchanged."""


class CheckpointError(AgentMixerError):
    """A checkpoint is missing, damaged, or belongs to another run, algorithm or environment."""


class ExportError(AgentMixerError):
    """An export folder could not be written, read, or proved equal to its checkpoint."""


class MissingExtraError(AgentMixerError, ImportError):
    """An optional package is not installed; the message names the extra that installs it."""


def user_error(error: BaseException | None) -> AgentMixerError | None:
    """The package's own error, also from inside one that Ray wrapped around a worker's."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, AgentMixerError):
            return error
        seen.add(id(error))
        inner = getattr(error, "cause", None)
        error = inner if isinstance(inner, BaseException) else error.__cause__ or error.__context__
    return None
