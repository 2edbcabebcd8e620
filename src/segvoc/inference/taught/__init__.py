"""Few-shot learning of words: small classifiers on a frozen encoder's features, in addition to the text."""
