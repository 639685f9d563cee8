"""A subscriber of the pair's events: it exchanges the code of each confirmed pair, at most once."""
