"""Runtimes beside each other: how fast they are, and whether their memory comes back."""
