"""Bodies of requests turned into tensors and images, and back."""
