"""Pictures in: read, and made into what the vision graph takes."""
