"""The papers' figures, tables and ablations as scripts in a clone; see README.md."""
