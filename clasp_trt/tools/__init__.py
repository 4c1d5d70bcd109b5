"""What needs a checkpoint or a whole bundle: each folder is one tool, seen by the command line alone."""
