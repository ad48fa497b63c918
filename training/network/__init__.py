"""Networks: their layers, how they begin, what they look at."""
