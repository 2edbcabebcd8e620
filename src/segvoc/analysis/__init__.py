"""Figures and tables of the papers, counted on the networks here."""
