"""The commands of the shell, each in a file of its own."""
