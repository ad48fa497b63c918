"""What stands in for object storage in tests: a real server of its protocol, and a network that fails."""
