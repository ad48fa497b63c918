"""The engine that holds the models in this process: versions loaded, swapped and given up."""
