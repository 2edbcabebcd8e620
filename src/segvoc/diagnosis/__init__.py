"""What a bug report needs to know about a machine, and the usual problems of an installation."""
