"""One suite for every shape of a service: what a client sees must not depend on where the models run."""
