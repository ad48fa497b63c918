"""Signpost service: serves SavedModels from a store over HTTP and gRPC."""
