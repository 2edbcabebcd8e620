"""The report of an evaluation: JSON, CSV, Markdown and an HTML page."""
