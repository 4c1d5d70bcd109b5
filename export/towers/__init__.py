"""Vision towers, one file a kind."""
