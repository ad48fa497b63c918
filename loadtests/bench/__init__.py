"""Measures Signpost itself; not part of the wheel."""
