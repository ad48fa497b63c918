"""Whose requests may share a batch: found out before a signature serves, and looked at again later."""
