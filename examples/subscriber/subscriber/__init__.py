"""A subscriber of the connector: it exchanges the code of each confirmed authorization once."""
