"""Films: read frame by frame, labelled with an optional mean over time, written as an overlay film and label frames."""
