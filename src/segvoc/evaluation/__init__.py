"""Metrics, the evaluation loop and the report."""
