"""The parts of a process, made of the settings: engines, gRPC servers, how configurations are put in place."""
