"""From files to arrays: where images come from, how they are split, drawn and augmented."""
