"""Crash-safe files: atomic writes, journals, digests, locks."""
