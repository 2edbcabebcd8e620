"""Words learned from labeled examples: small classifiers on a frozen encoder's features, beside the text."""
