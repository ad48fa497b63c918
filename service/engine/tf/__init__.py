"""TensorFlow: SavedModels read, loaded, tried and run."""
