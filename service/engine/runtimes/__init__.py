"""Ways to run a frozen signature beside TensorFlow's session, the reference: each one file, opened on demand."""
