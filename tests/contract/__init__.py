"""One suite for every engine: what the gateway may rely on."""
