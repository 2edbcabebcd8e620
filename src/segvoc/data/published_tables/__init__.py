"""The papers' tables of scores, one file for each paper."""

from segvoc.data.published_tables.cat_seg import CAT_SEG_ROWS
from segvoc.data.published_tables.err_seg import ERR_SEG_ROWS
from segvoc.data.published_tables.pca_seg import PCA_SEG_ROWS
from segvoc.data.published_tables.rows import PublishedRow
from segvoc.data.published_tables.syn_seg import SYN_SEG_ROWS

PUBLISHED_ROWS: tuple[PublishedRow, ...] = (*PCA_SEG_ROWS, *CAT_SEG_ROWS, *ERR_SEG_ROWS, *SYN_SEG_ROWS)
"""The rows of all tables, paper after paper."""
