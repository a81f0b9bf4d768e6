"""What lets other libraries run their calls here. Each is imported by name, when somebody wants it."""
