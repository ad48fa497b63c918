"""Tests of the gateway, over an engine without TensorFlow."""
