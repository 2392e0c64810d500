"""Alerts: the rules of a contract, what they measure, and how others are told."""
