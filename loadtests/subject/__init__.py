"""What is put under load: the service, its host, its models, images for it."""
