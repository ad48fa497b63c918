"""The tests of Signpost."""
