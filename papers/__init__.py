"""The papers' figures, tables and ablations as scripts of a clone: `python -m papers.NAME --help`.

docs/papers/tables.md has every row with its command, made from `tables.toml` by `tables.py`. `view_options.py` has what
the scripts of one image share, `drawing.py` what figures and Markdown tables share; `rehearsal` runs every recipe in
small. The scripts use segvoc's names, and nothing in segvoc imports them.
"""
