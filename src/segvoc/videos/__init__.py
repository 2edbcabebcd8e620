"""Videos: read frame by frame, labeled with an optional mean over time, written as an overlay and label frames."""
