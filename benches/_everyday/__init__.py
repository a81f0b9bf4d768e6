"""What the benches call: one module for each kind of work, since a worker imports all that a module imports."""
