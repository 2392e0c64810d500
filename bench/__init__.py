"""What is claimed about speed, runnable: every figure is a ratio of rounds taken in turn on one machine in one run."""
