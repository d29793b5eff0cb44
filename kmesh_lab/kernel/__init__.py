"""Linux as a lab needs it: C compiled and loaded, maps, cgroups, namespaces. It has never heard of a mesh."""
