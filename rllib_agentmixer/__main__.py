"""``python -m rllib_agentmixer`` is the command ``rllib-agentmixer``."""

from .cli import main

if __name__ == "__main__":
    main()
