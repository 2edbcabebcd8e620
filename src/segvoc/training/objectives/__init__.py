"""What a step minimises: losses of labels, of parts and of captions."""
