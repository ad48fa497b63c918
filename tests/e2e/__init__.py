"""Tests with real processes on real sockets."""
