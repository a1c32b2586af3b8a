"""Entry point of ``python -m rllib_agentmixer``, the command ``rllib-agentmixer``."""

from .cli import main

if __name__ == "__main__":
    main()
