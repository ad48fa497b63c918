"""The engine that asks others over gRPC."""
