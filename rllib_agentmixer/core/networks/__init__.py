"""Network parts: encoders, individual policies, policy modifier, critics."""
