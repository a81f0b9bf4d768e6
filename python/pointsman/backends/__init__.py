"""Where calls can run. Each backend is imported when it is first chosen."""
