"""Label Studio's contract of an ML backend: labels of a project are the words, and predictions are masks."""
