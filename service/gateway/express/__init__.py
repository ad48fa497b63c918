"""Posted images answered several at a time, without Flask."""
