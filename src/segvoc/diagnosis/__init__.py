"""What a bug report needs to know of a machine, and the usual mistakes of an installation."""
