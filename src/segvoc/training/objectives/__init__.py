"""Training objectives: losses for label maps, for parts and for captions."""
