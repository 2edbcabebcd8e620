"""Label Studio ML backend: a project's labels are the words, and predictions are masks."""
