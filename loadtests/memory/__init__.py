"""What a service takes of the memory, and what for."""
