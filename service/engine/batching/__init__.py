"""Requests that run as one batch: the queue, how large batches are, when they run."""
