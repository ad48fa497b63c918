"""Signpost load tests: Locust users, shapes and reports."""
