"""The report of an evaluation: JSON, CSV, Markdown and a page."""
