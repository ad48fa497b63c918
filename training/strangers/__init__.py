"""What a model does not know: images of other things, drawn or read, and what tells them from its own."""
