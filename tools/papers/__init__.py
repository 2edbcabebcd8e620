"""The rows of the papers' tables and figures: `python -m tools.make_tables_page` writes their page."""
