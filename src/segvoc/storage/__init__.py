"""Files that are whole at any moment: atomic writes, journals, digests, locks."""
