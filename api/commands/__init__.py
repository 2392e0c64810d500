"""`python -m api …`: what operators type. Each command works while the service runs and while it does not."""
