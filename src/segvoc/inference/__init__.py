"""From pictures and words to label maps."""
