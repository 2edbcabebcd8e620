"""What a user's own machine does: time and memory of models by words and settings, and which settings to take."""
