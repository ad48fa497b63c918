"""Checks a GPU host; not part of the wheel."""
