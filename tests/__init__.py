"""The tests mirror the tree; what several of them share lies beside this file."""
