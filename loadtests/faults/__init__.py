"""Attacks Signpost itself, and does to it what goes wrong in the field; not part of the wheel."""
