"""Training itself: epochs, schedules, checkpoints, evaluation."""
