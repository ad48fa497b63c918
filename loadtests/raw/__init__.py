"""A load generator that costs nearly nothing, for measuring on one machine; not part of the wheel."""
