"""Every recipe of the papers in small, from the downloads' archives to verdicts: `python -m papers.rehearsal`."""
