"""Videos: read frame by frame, labeled with optional temporal smoothing, written as an overlay and label maps."""
