"""What a third party adds to pave."""
