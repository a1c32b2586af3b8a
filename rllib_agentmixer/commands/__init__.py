"""One module per command of ``rllib-agentmixer``; each imports what is heavy when it runs."""
