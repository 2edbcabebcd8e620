"""The papers' figures, tables and ablations as scripts in a clone: `python -m papers.NAME --help`.

docs/papers/tables.md has every row with its command, made from `tables.toml` by `tables.py`. `view_options.py` has the
options shared by single-image scripts, `drawing.py` helpers for figures and Markdown tables; `rehearsal` runs every
recipe in small. The scripts use segvoc's names, and nothing in segvoc imports them.
"""
