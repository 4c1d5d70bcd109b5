"""What runs graphs: one interface, one file or folder for each backend."""
