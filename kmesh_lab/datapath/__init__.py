"""One node of the mesh in the kernel: its programs, the rows of its maps, and what the programs report."""
