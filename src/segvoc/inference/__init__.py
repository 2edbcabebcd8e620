"""From images and words to label maps."""
