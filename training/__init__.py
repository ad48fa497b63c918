"""Offline training: labelled images in, versions in the store out.

Read in the order of a run: `recipes` (the choices), `options` (what is asked for), `sources`, `class_folders` and
`cache` (files to pixels), `batches` and `augmentation` (pixels to batches), `architectures` and `fit` (batches to
weights), `evaluate` (weights to numbers), `export` (weights to a version), `run` (all of it, in one page).
"""
