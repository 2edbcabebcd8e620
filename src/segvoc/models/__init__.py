"""The table of models; building, loading and converting them."""
