"""gRPC's side of an engine: TF Serving's services, the Open Inference Protocol's, health."""
