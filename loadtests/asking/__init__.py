"""Asks a running service for what is known beforehand, by several clients at once, and compares the answers."""
